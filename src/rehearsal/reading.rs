//! From what was written to a [`Script`]: every wrong key at once, each with its path and what to write instead.
//!
//! By hand rather than by serde's derive, because a derived error can't say which key of which fault it is about, and stops
//! at the first.

use std::time::Duration;

use serde_json::{Map, Value};

use super::script::{CutEnd, Fault, FaultKind, InvalidScript, Script};

/// An answer longer than this is a slip of the pen, and would be held in memory whole.
const MOST_WORDS: u64 = 1_000_000;

/// After how many events a stream is struck where the fault doesn't say: the role and two words are out by then.
const EVENTS: u64 = 3;

impl TryFrom<Value> for Script {
    type Error = InvalidScript;

    fn try_from(tree: Value) -> Result<Self, InvalidScript> {
        let mut problems = Vec::new();
        let Some(mut table) = Table::open("", tree, &mut problems) else { return Err(InvalidScript::new(problems)) };
        let usual = Script::default();
        let written = table.faults();
        let mut script = Script {
            latency: table.time("latency").unwrap_or(usual.latency),
            first_token: table.time("first_token").unwrap_or(usual.first_token),
            pace: table.time("pace").unwrap_or(usual.pace),
            jitter: table.share("jitter").unwrap_or(usual.jitter),
            words: table.whole("words", 0, MOST_WORDS),
            text: table.text("text"),
            faults: Vec::new(),
        };
        table.close("a script");
        for (at, tree) in written.into_iter().enumerate() {
            script.faults.extend(Table::open(&format!("faults[{at}]."), tree, &mut problems).and_then(fault));
        }
        if problems.is_empty() { Ok(script) } else { Err(InvalidScript::new(problems)) }
    }
}

fn fault(mut table: Table<'_>) -> Option<Fault> {
    let (name, kind) = kind(&mut table)?;
    let fault = Fault {
        kind,
        from: table.time("from").unwrap_or_default(),
        to: table.time("to"),
        ratio: table.share("ratio").unwrap_or(1.0),
        after: table.whole("after", 0, u64::MAX).unwrap_or(0),
        count: table.whole("count", 0, u64::MAX),
        model: table.text("model"),
        key: table.text("key"),
    };
    if fault.to.is_some_and(|to| to <= fault.from) {
        table.problem("to", "isn't later than `from`: such a fault never happens; both count from when the script was set");
    }
    table.close(&format!("a `{name}` fault"));
    Some(fault)
}

/// The kind with its own keys.
fn kind(table: &mut Table<'_>) -> Option<(String, FaultKind)> {
    const KINDS: &str = "status, slow, hang, hang_after, cut, error_event, garbage, empty";
    let Some(name) = table.text("kind") else {
        table.missing("kind", &format!("say which of {KINDS}"));
        return None;
    };
    let kind = match name.as_str() {
        "status" => FaultKind::Status {
            status: table.whole("status", 200, 599).map_or(500, |status| status as u16),
            retry_after: table.time("retry_after"),
            body: table.body(),
        },
        "slow" => FaultKind::Slow { factor: table.factor() },
        "hang" => FaultKind::Hang,
        "hang_after" => FaultKind::HangAfter { events: table.events() },
        "cut" => FaultKind::Cut { events: table.events(), end: table.end() },
        "error_event" => FaultKind::ErrorEvent {
            events: table.events(),
            status: table.whole("status", 400, 599).map_or(500, |status| status as u16),
            body: table.body(),
        },
        "garbage" => FaultKind::Garbage { body: table.body() },
        "empty" => FaultKind::Empty,
        _ => {
            table.problem("kind", &format!("{name:?} isn't a fault; write one of {KINDS}"));
            return None;
        }
    };
    Some((name, kind))
}

/// A table being read: keys are taken out as they are understood, and what is left over at the end was a mistake.
struct Table<'a> {
    path: String,
    keys: Map<String, Value>,
    known: Vec<&'static str>,
    problems: &'a mut Vec<String>,
}

impl<'a> Table<'a> {
    fn open(path: &str, tree: Value, problems: &'a mut Vec<String>) -> Option<Self> {
        match tree {
            Value::Object(keys) => Some(Self { path: path.to_owned(), keys, known: Vec::new(), problems }),
            other => {
                let place = if path.is_empty() { "the script" } else { path.trim_end_matches('.') };
                problems.push(format!("{place}: {} isn't a table; write keys and values", shown(&other)));
                None
            }
        }
    }

    fn close(self, what: &str) {
        for key in self.keys.keys() {
            self.problems.push(format!("{}{key}: not a key of {what}; it takes {}", self.path, self.known.join(", ")));
        }
    }

    fn problem(&mut self, key: &str, what: &str) {
        self.problems.push(format!("{}{key}: {what}", self.path));
    }

    /// A key that must be there; one that was there and wrong has been told already.
    fn missing(&mut self, key: &str, fix: &str) {
        let told = format!("{}{key}:", self.path);
        if !self.problems.iter().any(|problem| problem.starts_with(&told)) {
            self.problem(key, &format!("is missing; {fix}"));
        }
    }

    fn take<T>(&mut self, key: &'static str, want: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        self.known.push(key);
        let value = self.keys.remove(key).filter(|value| !value.is_null())?;
        let found = read(&value);
        if found.is_none() {
            self.problem(key, &format!("{} isn't {want}", shown(&value)));
        }
        found
    }

    fn time(&mut self, key: &'static str) -> Option<Duration> {
        self.take(key, "a time; write a number and its unit in quotes, such as \"80ms\" or \"2s\"", |value| time(value.as_str()?))
    }

    fn share(&mut self, key: &'static str) -> Option<f64> {
        self.take(key, "a share; write a number from 0 to 1", |value| value.as_f64().filter(|share| (0.0..=1.0).contains(share)))
    }

    fn whole(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let want =
            if most == u64::MAX { "a count; write a whole number".to_owned() } else { format!("a whole number from {least} to {most}") };
        self.take(key, &want, |value| value.as_u64().filter(|n| (least..=most).contains(n)))
    }

    fn text(&mut self, key: &'static str) -> Option<String> {
        self.take(key, "a text; put it in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// A body may be written as the JSON that it is.
    fn body(&mut self) -> Option<String> {
        self.take("body", "a body; write a text in quotes, or a table", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Object(_) => Some(value.to_string()),
            _ => None,
        })
    }

    fn events(&mut self) -> u64 {
        self.whole("events", 0, u64::MAX).unwrap_or(EVENTS)
    }

    fn factor(&mut self) -> f64 {
        self.take("factor", "a factor; write a number above 0, such as 10", |value| value.as_f64().filter(|f| *f > 0.0 && *f <= 1e6))
            .unwrap_or(10.0)
    }

    fn end(&mut self) -> CutEnd {
        let end = self.take("end", "an end; write \"fin\", \"reset\" or \"clean\"", |value| match value.as_str()? {
            "fin" => Some(CutEnd::Fin),
            "reset" => Some(CutEnd::Reset),
            "clean" => Some(CutEnd::Clean),
            _ => None,
        });
        end.unwrap_or(CutEnd::Fin)
    }

    fn faults(&mut self) -> Vec<Value> {
        self.take("faults", "a list; write faults = [ { kind = \"status\", status = 500 } ]", |value| value.as_array().cloned())
            .unwrap_or_default()
    }
}

/// `80ms`, `1.5s`, `0`.
fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit);
    let micros = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        "h" => 3600e6,
        _ => return None,
    };
    let number: f64 = number.trim_end().parse().ok()?;
    let micros = (number * micros).round();
    // A year: nothing waits longer, and no sum of such times can overflow.
    (0.0..=31_536_000e6).contains(&micros).then(|| Duration::from_micros(micros as u64))
}

/// A wrong value, short enough for a sentence.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(toml: &str) -> Vec<String> {
        Script::from_toml(toml).unwrap_err().problems().to_vec()
    }

    #[test]
    fn every_wrong_key_is_named_with_its_fix() {
        let told = problems(
            r#"
            latancy = "80ms"
            pace = 15
            jitter = 2
            faults = [ { kind = "status", status = 99, factor = 2 }, { kind = "explode" }, { from = "1s" }, { kind = "cut", end = "soft", from = "2s", to = "1s" }, 5 ]"#,
        );
        let begins = [
            "pace: 15 isn't a time; write a number and its unit in quotes",
            "jitter: 2 isn't a share; write a number from 0 to 1",
            "latancy: not a key of a script; it takes faults, latency,",
            "faults[0].status: 99 isn't a whole number from 200 to 599",
            "faults[0].factor: not a key of a `status` fault; it takes kind, status, retry_after, body, from,",
            "faults[1].kind: \"explode\" isn't a fault; write one of status, slow,",
            "faults[2].kind: is missing; say which of status,",
            "faults[3].end: \"soft\" isn't an end; write \"fin\", \"reset\" or \"clean\"",
            "faults[3].to: isn't later than `from`",
            "faults[4]: 5 isn't a table",
        ];
        for begin in begins {
            assert!(told.iter().any(|problem| problem.starts_with(begin)), "{begin}\nnot in\n{told:#?}");
        }
        assert_eq!(told.len(), begins.len(), "{told:#?}");
    }

    #[test]
    fn what_is_not_a_document_says_so() {
        assert!(problems("pace = ").concat().starts_with("not TOML: "));
        assert!(Script::from_json(b"{").unwrap_err().to_string().starts_with("not JSON: "));
        assert!(Script::from_json(b"[]").unwrap_err().to_string().starts_with("the script: [] isn't a table"));
    }

    #[test]
    fn a_wrong_kind_is_told_once() {
        assert_eq!(problems("faults = [ { kind = 7 } ]").len(), 1);
    }

    #[test]
    fn times() {
        for (text, us) in [
            ("80ms", 80_000),
            ("0", 0),
            ("1.5s", 1_500_000),
            ("100us", 100),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
            (" 3 s", 3_000_000),
        ] {
            assert_eq!(time(text), Some(Duration::from_micros(us)), "{text}");
        }
        for text in ["", "ms", "-1s", "1", "1d", "1e400s", "infs", "NaNms", "99999h", "1s2"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_body_may_be_a_table() {
        let script = Script::from_toml(r#"faults = [ { kind = "status", status = 418, body = { error = "tea" } } ]"#).unwrap();
        assert_eq!(script.faults[0].kind, FaultKind::Status { status: 418, retry_after: None, body: Some(r#"{"error":"tea"}"#.into()) });
    }
}
