//! What the simulated upstream does and when: its pace, its words, and the faults to play.
//!
//! A script is written as TOML or JSON and can be swapped while the simulator runs. `reading` turns what was written into
//! these types and names every key that is wrong at once; after that nothing here can be invalid.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// One valid script. `Default` is a healthy, brisk upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub struct Script {
    /// Time to the head, and so to a plain answer.
    #[serde(serialize_with = "span")]
    pub latency: Duration,
    /// Time from a stream's head to its first content.
    #[serde(serialize_with = "span")]
    pub first_token: Duration,
    /// Time between the words of a stream; zero sends them all at once. Below a millisecond it's rounded up by the timer.
    #[serde(serialize_with = "span")]
    pub pace: Duration,
    /// How far each wait strays from what is written, 0 to 1: 0.2 is up to a fifth shorter or longer.
    pub jitter: f64,
    /// How many words an answer has; left out, as many as its text. The text is repeated or cut to fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<u64>,
    /// What every answer says; left out, that this is a rehearsal, and an echo of the question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What goes wrong. For each call the first fault that applies is played, and only that one.
    pub faults: Vec<Fault>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(20),
            first_token: Duration::ZERO,
            pace: Duration::from_millis(15),
            jitter: 0.0,
            words: None,
            text: None,
            faults: Vec::new(),
        }
    }
}

/// One thing that goes wrong, and for which calls.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// What happens.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Begins this long after the script was set.
    #[serde(serialize_with = "span")]
    pub from: Duration,
    /// Is over this long after the script was set; left out, never.
    #[serde(serialize_with = "span_or_none", skip_serializing_if = "Option::is_none")]
    pub to: Option<Duration>,
    /// The share of calls that it strikes, 0 to 1.
    pub ratio: f64,
    /// So many calls pass before it begins.
    pub after: u64,
    /// It strikes so many calls and no more; left out, no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Only calls for this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only calls with this bearer key: one key of a pool may be bad.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What goes wrong. `events` counts a stream's events from its first; of a plain answer half the body is sent instead.
/// A stream shorter than `events` is struck before its `[DONE]`, so that a fault never misses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// An answer with this status and OpenAI's error body for it, or the body given.
    Status {
        /// 200 to 599; a 200 comes with an error body all the same.
        status: u16,
        /// Sent as `retry-after`, and as `retry-after-ms` where it isn't whole seconds.
        #[serde(serialize_with = "span_or_none", skip_serializing_if = "Option::is_none")]
        retry_after: Option<Duration>,
        /// In place of the usual error body.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// Everything takes this many times as long.
    Slow {
        /// Above 0; below 1 is faster.
        factor: f64,
    },
    /// Never answers.
    Hang,
    /// The body stalls and never ends.
    HangAfter {
        /// After so many events.
        events: u64,
    },
    /// The body stops short of its end.
    Cut {
        /// After so many events.
        events: u64,
        /// How the connection looks then.
        end: CutEnd,
    },
    /// An error in the stream, then its end without `[DONE]`; a plain answer is a 200 whose body is the error.
    ErrorEvent {
        /// After so many events.
        events: u64,
        /// Whose error body it is.
        status: u16,
        /// In place of the usual error body; JSON on one line.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// A 200 with a page of HTML.
    Garbage {
        /// In place of the usual page.
        #[serde(skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// A 200 with no bytes.
    Empty,
}

/// How a body that was cut looks on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CutEnd {
    /// The connection is closed without the body's end mark.
    Fin,
    /// The connection is reset.
    Reset,
    /// The body ends as it should by HTTP's rules; only what it says is short.
    Clean,
}

impl Script {
    /// From a TOML document.
    pub fn from_toml(text: &str) -> Result<Self, InvalidScript> {
        let tree: serde_json::Value =
            toml::from_str(text).map_err(|e| InvalidScript::one(format!("not TOML: {}", e.to_string().trim())))?;
        Self::try_from(tree)
    }

    /// From a JSON document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, InvalidScript> {
        let tree: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| InvalidScript::one(format!("not JSON: {e}")))?;
        Self::try_from(tree)
    }
}

/// Why a script was refused: one sentence for each key that is wrong, with its path and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidScript {
    problems: Vec<String>,
}

impl InvalidScript {
    pub(super) fn new(problems: Vec<String>) -> Self {
        Self { problems }
    }

    fn one(problem: String) -> Self {
        Self::new(vec![problem])
    }

    /// The sentences.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

impl fmt::Display for InvalidScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for InvalidScript {}

/// As a script is written, to the microsecond: `80ms`.
fn span<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let us = span.as_micros();
    if us.is_multiple_of(1000) { to.collect_str(&format_args!("{}ms", us / 1000)) } else { to.collect_str(&format_args!("{us}us")) }
}

fn span_or_none<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => span(time, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(Script::from_toml("").unwrap(), Script::default());
        assert_eq!(Script::from_json(b"{}").unwrap(), Script::default());
        assert_eq!(serde_json::from_str::<Script>("{}").unwrap(), Script::default());
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = r#"
            latency = "80ms"
            first_token = "1.5s"
            pace = "0"
            jitter = 0.25
            words = 12
            faults = [
              { kind = "status", status = 429, retry_after = "2s", from = "1s", to = "1m", ratio = 0.5, after = 3, count = 4 },
              { kind = "cut", events = 7, end = "reset", model = "gpt-4o", key = "sk-a" },
            ]"#;
        let json = br#"{"latency": "80ms", "first_token": "1.5s", "pace": "0", "jitter": 0.25, "words": 12, "faults": [
            {"kind": "status", "status": 429, "retry_after": "2s", "from": "1s", "to": "1m", "ratio": 0.5, "after": 3, "count": 4},
            {"kind": "cut", "events": 7, "end": "reset", "model": "gpt-4o", "key": "sk-a"}]}"#;
        let script = Script::from_toml(toml).unwrap();
        assert_eq!(script, Script::from_json(json).unwrap());
        assert_eq!(script.first_token, Duration::from_millis(1500));
        assert_eq!(script.faults[0].to, Some(Duration::from_secs(60)));
        assert_eq!(script.faults[1].kind, FaultKind::Cut { events: 7, end: CutEnd::Reset });
    }

    fn any_kind() -> impl Strategy<Value = FaultKind> {
        let body = proptest::option::of("[a-z{}\" ]{0,12}");
        prop_oneof![
            (200u16..600, proptest::option::of(0u64..9_999_999), body.clone()).prop_map(|(status, wait, body)| FaultKind::Status {
                status,
                retry_after: wait.map(Duration::from_micros),
                body
            }),
            (1u32..8000).prop_map(|eighths| FaultKind::Slow { factor: f64::from(eighths) / 8.0 }),
            Just(FaultKind::Hang),
            (0u64..99).prop_map(|events| FaultKind::HangAfter { events }),
            (0u64..99, prop_oneof![Just(CutEnd::Fin), Just(CutEnd::Reset), Just(CutEnd::Clean)])
                .prop_map(|(events, end)| FaultKind::Cut { events, end }),
            (0u64..99, 400u16..600).prop_map(|(events, status)| FaultKind::ErrorEvent { events, status, body: None }),
            body.prop_map(|body| FaultKind::Garbage { body }),
            Just(FaultKind::Empty),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_out_reads_back(kinds in proptest::collection::vec(any_kind(), 0..4), us in 0u64..9_999_999, eighths in 0u32..=8) {
            // Numbers that JSON writes and reads without a last digit's doubt.
            let (time, jitter) = (Duration::from_micros(us), f64::from(eighths) / 8.0);
            let faults = kinds.into_iter().map(|kind| Fault {
                kind, from: time, to: Some(time * 2 + Duration::from_millis(1)), ratio: jitter, after: us, count: Some(us), model: None, key: Some("k".into()),
            }).collect();
            let script = Script { latency: time, pace: time, jitter, words: Some(5), text: Some("a b".into()), faults, ..Script::default() };
            let json = serde_json::to_vec(&script).unwrap();
            prop_assert_eq!(Script::from_json(&json).unwrap(), script);
        }
    }
}
