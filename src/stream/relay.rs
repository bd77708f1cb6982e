//! The relay: whether an event is held, forwarded or the stream's end, and what a failure still allows.
//!
//! `Holding` until the first content: a failure until then moves on to the next target and nobody notices. `Flowing` after
//! it: a failure is told to the caller. `Done` only by a terminal event: no cut stream ever looks like success.

use crate::health::Failure;

/// Where a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing was sent to the caller.
    Holding,
    /// Content was sent.
    Flowing,
    /// The terminal event came.
    Done,
    /// It failed.
    Broken,
}

/// What came, as far as the relay must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A comment, a blank line, an event without content.
    Idle,
    /// Content or a finish reason; choices as bits by their index.
    Content {
        /// Choices that say something.
        spoke: u64,
        /// Choices that end with this event.
        finished: u64,
    },
    /// `[DONE]`.
    Terminal,
    /// An error event.
    Error,
    /// An event that isn't JSON.
    NotJson,
    /// An event that isn't text.
    NotText,
    /// An event over the limit.
    TooLarge,
    /// The body ended.
    Eof,
    /// The connection was reset.
    Reset,
    /// Nothing came for too long.
    Silence,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keep it; content may follow.
    Hold,
    /// Send what was held, and this.
    Commit,
    /// Send it.
    Forward,
    /// Forget it, and count that.
    Drop,
    /// The stream is whole: send it where it is the terminal event, else add one; then end.
    Finish {
        /// The upstream left its terminal event out.
        add_terminal: bool,
    },
    /// Nothing was sent: another target may be tried.
    TryNext(Failure),
    /// Content was sent: tell the caller, then end without a terminal event.
    Fail(Failure),
    /// The stream is over; nothing more is sent.
    Ignore,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Relay {
    phase: Phase,
    choices: u32,
    /// Choices that have their finish reason and said nothing since, as bits by their index.
    finished: u64,
    /// One went on after its finish reason: here that proves no end.
    went_on: bool,
}

impl Relay {
    /// Of a stream with `choices` answers (`n` of the request).
    pub fn new(choices: u32) -> Self {
        Self { phase: Phase::Holding, choices: choices.max(1), finished: 0, went_on: false }
    }

    /// Where the stream stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether every choice has its finish reason, so that only the terminal event is missing.
    pub fn finished(&self) -> bool {
        !self.went_on && self.finished.count_ones() >= self.choices
    }

    /// Decides.
    pub fn on(&mut self, input: Input) -> Step {
        match self.phase {
            Phase::Done | Phase::Broken => Step::Ignore,
            Phase::Holding | Phase::Flowing => self.decide(input),
        }
    }

    fn decide(&mut self, input: Input) -> Step {
        let holding = self.phase == Phase::Holding;
        match input {
            Input::Idle if holding => Step::Hold,
            Input::Idle => Step::Forward,
            Input::Content { spoke, finished } => {
                // Some upstreams write a finish reason on every event: such a stream ends by its terminal event alone.
                self.went_on |= self.finished & spoke != 0;
                self.finished = self.finished & !spoke | finished;
                self.phase = Phase::Flowing;
                if holding { Step::Commit } else { Step::Forward }
            }
            Input::NotJson => Step::Drop,
            // An answer without a word and without a finish reason is no answer.
            Input::Terminal if holding => self.broken(Failure::Truncated),
            Input::Terminal => self.done(false),
            Input::Eof | Input::Reset | Input::Silence if self.finished() => self.done(true),
            Input::Eof => self.broken(Failure::Truncated),
            Input::Reset => self.broken(Failure::ResetInBody),
            Input::Silence if holding => self.broken(Failure::FirstTokenTimeout),
            Input::Silence => self.broken(Failure::IdleTimeout),
            Input::Error => self.broken(Failure::ErrorBody),
            Input::NotText => self.broken(Failure::Malformed),
            Input::TooLarge => self.broken(Failure::TooLarge),
        }
    }

    fn done(&mut self, add_terminal: bool) -> Step {
        self.phase = Phase::Done;
        Step::Finish { add_terminal }
    }

    fn broken(&mut self, failure: Failure) -> Step {
        let holding = self.phase == Phase::Holding;
        self.phase = Phase::Broken;
        if holding { Step::TryNext(failure) } else { Step::Fail(failure) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WORD: Input = Input::Content { spoke: 1, finished: 0 };
    const LAST: Input = Input::Content { spoke: 0, finished: 1 };

    fn steps(inputs: &[Input]) -> Vec<Step> {
        let mut relay = Relay::new(1);
        inputs.iter().map(|input| relay.on(*input)).collect()
    }

    #[test]
    fn holds_until_the_first_content_then_forwards() {
        use Step::{Commit, Finish, Forward, Hold, Ignore};
        let got = steps(&[Input::Idle, Input::Idle, WORD, Input::Idle, LAST, Input::Terminal, Input::Terminal, WORD]);
        assert_eq!(got, [Hold, Hold, Commit, Forward, Forward, Finish { add_terminal: false }, Ignore, Ignore]);
    }

    #[test]
    fn every_failure_before_content_tries_the_next_and_after_it_fails() {
        for (input, before, after) in [
            (Input::Eof, Failure::Truncated, Failure::Truncated),
            (Input::Reset, Failure::ResetInBody, Failure::ResetInBody),
            (Input::Silence, Failure::FirstTokenTimeout, Failure::IdleTimeout),
            (Input::Error, Failure::ErrorBody, Failure::ErrorBody),
            (Input::NotText, Failure::Malformed, Failure::Malformed),
            (Input::TooLarge, Failure::TooLarge, Failure::TooLarge),
        ] {
            assert_eq!(steps(&[Input::Idle, input])[1], Step::TryNext(before), "{input:?}");
            assert_eq!(steps(&[WORD, input])[1], Step::Fail(after), "{input:?}");
        }
    }

    #[test]
    fn a_missing_terminal_event_is_added_only_after_a_finish_reason() {
        for end in [Input::Eof, Input::Reset, Input::Silence] {
            assert_eq!(steps(&[WORD, LAST, Input::Idle, end])[3], Step::Finish { add_terminal: true }, "{end:?}");
        }
        let mut two = Relay::new(2);
        two.on(LAST);
        two.on(LAST);
        assert_eq!(two.clone().on(Input::Eof), Step::Fail(Failure::Truncated), "one of two choices is still open");
        two.on(Input::Content { spoke: 2, finished: 2 });
        assert_eq!(two.on(Input::Eof), Step::Finish { add_terminal: true });
        assert_eq!(steps(&[WORD, LAST, WORD, Input::Eof])[3], Step::Fail(Failure::Truncated), "it went on after its finish reason");
    }

    #[test]
    fn a_finish_reason_on_every_event_proves_no_end() {
        const BOTH: Input = Input::Content { spoke: 1, finished: 1 };
        for end in [Input::Eof, Input::Reset, Input::Silence] {
            assert_eq!(steps(&[BOTH, end])[1], Step::Finish { add_terminal: true }, "the whole answer in one event, {end:?}");
            assert!(matches!(steps(&[BOTH, BOTH, LAST, end])[3], Step::Fail(_)), "{end:?}");
        }
        assert_eq!(steps(&[BOTH, BOTH, Input::Terminal])[2], Step::Finish { add_terminal: false });
    }

    #[test]
    fn an_empty_answer_with_a_terminal_event_is_no_answer() {
        assert_eq!(steps(&[Input::Idle, Input::Terminal])[1], Step::TryNext(Failure::Truncated));
    }

    #[test]
    fn what_is_not_json_is_dropped_before_and_after() {
        assert_eq!(steps(&[Input::NotJson, WORD, Input::NotJson]), [Step::Drop, Step::Commit, Step::Drop]);
    }

    fn inputs() -> impl Strategy<Value = Vec<Input>> {
        let one = prop_oneof![
            4 => Just(Input::Idle), 6 => (0u64..4, 0u64..4).prop_map(|(spoke, finished)| Input::Content { spoke, finished }), 1 => Just(Input::Terminal), 1 => Just(Input::Error),
            1 => Just(Input::NotJson), 1 => Just(Input::NotText), 1 => Just(Input::TooLarge), 1 => Just(Input::Eof),
            1 => Just(Input::Reset), 1 => Just(Input::Silence)
        ];
        proptest::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn in_any_order_it_never_lies(inputs in inputs(), choices in 0u32..4) {
            let mut relay = Relay::new(choices);
            let (mut sent, mut ended, mut open, mut went_on) = (false, false, vec![true; 2], false);
            for input in inputs {
                let step = relay.on(input);
                if let Input::Content { spoke, finished } = input {
                    for (index, open) in open.iter_mut().enumerate() {
                        went_on |= !*open && spoke & (1 << index) != 0;
                        *open = (*open || spoke & (1 << index) != 0) && finished & (1 << index) == 0;
                    }
                }
                match step {
                    Step::Commit => { prop_assert!(!sent); sent = true; }
                    Step::Forward => prop_assert!(sent && !ended),
                    Step::Hold => prop_assert!(!sent),
                    Step::TryNext(_) => { prop_assert!(!sent, "never behind the caller's back"); ended = true; }
                    Step::Fail(_) => { prop_assert!(sent); ended = true; }
                    Step::Finish { add_terminal } => {
                        prop_assert!(sent && !ended);
                        prop_assert!(add_terminal == (input != Input::Terminal));
                        let finished = open.iter().filter(|open| !**open).count();
                        prop_assert!(!add_terminal || !went_on && finished >= choices.max(1) as usize, "a cut stream never looks like success");
                        ended = true;
                    }
                    Step::Drop => prop_assert!(!ended),
                    Step::Ignore => prop_assert!(ended),
                }
            }
        }
    }
}
