//! Where breakers went on after their actor had died, as one line of text for the record: without it nobody could tell what
//! the new actor's breakers knew.

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::Moment;
use crate::health::{Published, Reason, State};

/// `gpt-4o=open,false,3,91000000,81000000,probe_failed,20000000`: of each breaker that isn't as new the model (empty: the
/// provider's own), then state, whether an operator holds it, epoch, the end of its open period and its own beginning (in
/// microseconds), its reason and its period. Empty where all are new.
pub fn resumed_line<'a>(breakers: impl Iterator<Item = (&'a str, Published)>) -> String {
    let mut line = String::new();
    for (model, p) in breakers.filter(|(_, p)| p.epoch > 0 || p.held || p.state != State::Closed) {
        let blank = if line.is_empty() { "" } else { " " };
        let (until, since) = (p.until.map_or(0, Moment::micros), p.since.micros());
        let (reason, period) = (p.reason.map_or("", Reason::name), p.period.as_micros());
        // Writing to a String can't fail.
        let _ = write!(line, "{blank}{model}={},{},{},{until},{since},{reason},{period}", p.state.name(), p.held, p.epoch);
    }
    line
}

/// The breakers that [`resumed_line`] wrote; None where a word can't be read.
pub(super) fn read(line: &str) -> Option<Vec<(&str, Published)>> {
    line.split(' ').filter(|word| !word.is_empty()).map(breaker).collect()
}

fn breaker(word: &str) -> Option<(&str, Published)> {
    let (model, rest) = word.rsplit_once('=')?;
    let mut parts = rest.split(',');
    let mut next = || parts.next();
    let (state, held, epoch) = (State::named(next()?)?, next()?.parse().ok()?, next()?.parse().ok()?);
    let (until, since): (u64, u64) = (next()?.parse().ok()?, next()?.parse().ok()?);
    let reason = match next()? {
        "" => None,
        name => Some(Reason::named(name)?),
    };
    let period = Duration::from_micros(next()?.parse().ok()?);
    let until = (until > 0).then(|| Moment::from_micros(until));
    Some((model, Published { state, held, epoch, until, since: Moment::from_micros(since), reason, period }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(state: State, epoch: u32) -> Published {
        let until = (state != State::Closed).then(|| Moment::from_millis(91));
        let reason = (epoch > 0).then_some(Reason::ProbeFailed);
        Published { state, held: false, epoch, until, since: Moment::from_millis(81), reason, period: Duration::from_millis(20) }
    }

    #[test]
    fn what_went_on_is_read_and_what_was_new_is_left_out() {
        let all = [("", published(State::Open, 3)), ("a=b", published(State::Closed, 0)), ("c=d", published(State::HalfOpen, 1))];
        let line = resumed_line(all.into_iter());
        assert_eq!(read(&line), Some(vec![all[0], all[2]]));
        assert_eq!(read(""), Some(Vec::new()));
        assert_eq!(read("a=open,false,3"), None);
    }
}
