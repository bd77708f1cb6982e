//! The ledger's rows as they leave a request: owned, made of what is there already, formatted by whoever writes them. The names
//! are those of the store's columns and of the journal.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Row {
    /// A caller's request that was let in.
    Request(Box<Entry>),
    /// A breaker's move.
    Transition(Box<Transition>),
}

impl Row {
    /// What makes it one of a kind.
    pub fn id(&self) -> &str {
        match self {
            Self::Request(entry) => &entry.id,
            Self::Transition(moved) => &moved.id,
        }
    }
}

/// A caller's request. Its id begins with its time, so that the order of ids is that of times.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// UUID version 7, the gateway's own: a caller's may come twice.
    pub id: String,
    /// The id that the caller gave it, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When its head had come, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// The caller's key; None in open mode.
    pub key: Option<Key>,
    /// The public model.
    pub model: Arc<str>,
    /// Who served it.
    pub provider: Option<Arc<str>>,
    /// What they call the model.
    pub upstream_model: Option<Arc<str>>,
    /// Their key that was used, by name.
    pub provider_key: Option<Arc<str>>,
    /// The status that was sent; 499: the caller left.
    pub status: u16,
    /// What went wrong, in words without secrets; empty: nothing.
    pub error: String,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Tokens of the prompt, cached ones included.
    pub tokens_in: u64,
    /// Tokens of the answer, reasoning included.
    pub tokens_out: u64,
    /// Of the prompt, those that were read from the provider's cache.
    pub tokens_cached: u64,
    /// Of the prompt, those that were written to it.
    pub tokens_cache_written: u64,
    /// Of the answer, those that were thought with.
    pub tokens_reasoning: u64,
    /// In nano-dollars; None: some price isn't known.
    pub cost: Option<i64>,
    /// How well the counts are known: exact, estimated or partial (cut short, or a sum of both); None: nothing was used.
    pub state: Option<Cow<'static, str>>,
    /// Who counted: upstream, gateway or both.
    pub source: Option<Cow<'static, str>>,
    /// From its head to its last byte.
    pub latency_us: u64,
    /// From its head to the first content; streams only.
    pub first_token_us: Option<u64>,
    /// Upstream calls made.
    pub attempts: u32,
    /// What the cache had to do with it.
    pub cache: Option<Cow<'static, str>>,
    /// `team=a,feature=b`.
    pub tags: Option<Arc<str>>,
    /// Whether another target went on with its stream.
    pub recovered: bool,
    /// Its upstream calls; not the first one, where that served it: its own row says all of that.
    pub calls: Vec<Call>,
}

/// A caller's key as a row names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: Arc<str>,
    /// Its name at the time.
    pub name: Arc<str>,
}

/// One upstream call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its number within the request, from 1.
    pub place: u32,
    /// Who was called.
    pub provider: Arc<str>,
    /// With which key, by name.
    pub key: Option<Arc<str>>,
    /// For which model.
    pub model: Arc<str>,
    /// When it began, in microseconds since the Unix epoch.
    pub start_us: u64,
    /// What it told its provider's actor.
    pub outcome: Cow<'static, str>,
    /// A failure's own name.
    pub kind: Option<String>,
    /// The upstream's status, where it gave one.
    pub status: Option<u16>,
    /// To the response's head.
    pub head_us: Option<u64>,
    /// To its first content; streams only.
    pub first_token_us: Option<u64>,
    /// To its end.
    pub total_us: u64,
    /// How the target's breaker let it through.
    pub breaker: Cow<'static, str>,
    /// Whether it was made beside another.
    pub hedge: bool,
}

/// A breaker's move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// UUID version 7.
    pub id: String,
    /// In microseconds since the Unix epoch.
    pub time_us: u64,
    /// Its place among what the provider's actor was told.
    pub seq: u64,
    /// The provider.
    pub provider: Arc<str>,
    /// Its model; empty: the provider's own breaker.
    pub model: String,
    /// The state left.
    pub from: Cow<'static, str>,
    /// The state entered.
    pub to: Cow<'static, str>,
    /// Why.
    pub reason: Cow<'static, str>,
    /// The open period as drawn.
    pub period_us: Option<u64>,
    /// Which thresholds were in force.
    pub settings: String,
}

impl Entry {
    /// Whether it failed as its caller saw it: by its status, or by an error inside a stream. One who left saw nothing fail.
    pub fn failed(&self) -> bool {
        self.status != 499 && (self.status >= 400 || !self.error.is_empty())
    }

    /// Whether it used something whose price isn't known.
    pub fn unpriced(&self) -> bool {
        self.cost.is_none() && (self.tokens_in > 0 || self.tokens_out > 0)
    }
}

/// The least id of a time: rows from then on have this one or a greater.
pub fn first_id(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min((1 << 48) - 1);
    format!("{:08x}-{:04x}-0000-0000-000000000000", ms >> 16, ms & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::request_id;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    #[test]
    fn ids_are_parted_by_time() {
        let mut rng = SmallRng::seed_from_u64(1);
        let at = Duration::from_millis(1_790_000_000_123);
        let (before, then) = (request_id(at - Duration::from_millis(1), &mut rng), request_id(at, &mut rng));
        assert!(before < first_id(at) && first_id(at) < then);
        assert!(first_id(Duration::MAX) > then && first_id(Duration::ZERO) < before);
    }

    #[test]
    fn what_is_written_reads_back() {
        let call = Call {
            place: 1,
            provider: "p".into(),
            key: None,
            model: "up".into(),
            start_us: 5,
            outcome: "transient".into(),
            kind: Some("connect".into()),
            status: None,
            head_us: None,
            first_token_us: Some(3),
            total_us: 9,
            breaker: "closed".into(),
            hedge: false,
        };
        let entry = Entry {
            id: "a".into(),
            key: Some(Key { id: "k".into(), name: "team \"x\"\n".into() }),
            cost: Some(-1),
            state: Some("exact".into()),
            calls: vec![call],
            ..Entry::default()
        };
        let row = Row::Request(Box::new(entry));
        let written = serde_json::to_string(&row).unwrap();
        assert!(!written.contains('\n'));
        assert_eq!(serde_json::from_str::<Row>(&written).unwrap(), row);
    }

    #[test]
    fn one_who_left_saw_nothing_fail() {
        let failed = |status, error: &str| Entry { status, error: error.into(), ..Entry::default() }.failed();
        assert!(failed(502, "") && failed(200, "cut") && !failed(200, "") && !failed(499, "the caller left"));
    }
}
