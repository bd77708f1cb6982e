//! Traces by OpenTelemetry: what a span is, how its request is told apart, and the bounded queue that whoever sends them empties.
//! Nothing of it is there unless `telemetry.otlp` is set; what the queue can't take is counted and forgotten.

pub mod context;
pub mod conventions;
mod message;
mod sampling;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;
use tokio::sync::{Notify, mpsc};

use self::message::{AnyValue, InstrumentationScope, KeyValue, Resource, ResourceSpans, ScopeSpans, TracesData, value};
pub use self::message::{Span, Status};
pub use self::sampling::Sampler;
use super::labels::Exported;
use super::metrics::Metrics;

/// Spans that may wait to be sent: a few seconds' worth of a busy gateway, a few megabytes at the most.
const QUEUE: usize = 4096;

/// Whose code a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The gateway's own: a caller's request.
    Server = 2,
    /// An upstream's: a call to it.
    Client = 3,
}

/// What a span may say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

macro_rules! values {
    ($($kind:ty => $variant:ident($value:ident) $made:expr;)*) => {
        $(impl From<$kind> for Value {
            fn from($value: $kind) -> Self {
                Self::$variant($made)
            }
        })*
    };
}

values! {
    &str => Text(text) text.to_owned();
    String => Text(text) text;
    u64 => Whole(number) i64::try_from(number).unwrap_or(i64::MAX);
    u32 => Whole(number) number.into();
    u16 => Whole(number) number.into();
    f64 => Number(number) number;
    bool => Flag(flag) flag;
}

impl Span {
    /// Adds what there is to say.
    pub fn say(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push(attribute(name, value.into()));
    }

    /// The same, where it is known.
    pub fn may_say(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.say(name, value);
        }
    }
}

fn attribute(key: &str, said: Value) -> KeyValue {
    let said = match said {
        Value::Text(text) => value::Value::Text(text),
        Value::Whole(number) => value::Value::Whole(number),
        Value::Number(number) => value::Value::Number(number),
        Value::Flag(flag) => value::Value::Flag(flag),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(said) }) }
}

/// Takes spans from any thread.
#[derive(Debug)]
pub struct Tracer {
    /// The address in the settings.
    pub url: String,
    queue: mpsc::Sender<Span>,
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

/// What the sender is told besides spans.
#[derive(Debug, Default)]
struct Waiting {
    /// Spans of which it isn't known yet what became of them.
    spans: AtomicUsize,
    hurry: Notify,
}

/// What a tracer took, for whoever sends it.
#[derive(Debug)]
pub struct Spans {
    queue: mpsc::Receiver<Span>,
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

impl Tracer {
    /// One for this address, and what it takes.
    pub fn new(url: &str, metrics: &Arc<Metrics>) -> (Self, Spans) {
        let ((queue, taken), waiting) = (mpsc::channel(QUEUE), Arc::<Waiting>::default());
        let spans = Spans { queue: taken, waiting: Arc::clone(&waiting), metrics: Arc::clone(metrics) };
        (Self { url: url.to_owned(), queue, waiting, metrics: Arc::clone(metrics) }, spans)
    }

    /// Puts a span. Never waits: one that doesn't fit is dropped, and counted as that.
    pub fn put(&self, span: Span) {
        self.waiting.spans.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(span).is_err() {
            self.waiting.spans.fetch_sub(1, Ordering::Relaxed);
            self.metrics.spans(Exported::Dropped, 1);
        }
    }

    /// Has what waits sent at once; whether anything still waits.
    pub fn hurry(&self) -> bool {
        self.waiting.hurry.notify_one();
        self.waiting.spans.load(Ordering::Relaxed) > 0
    }
}

impl Spans {
    /// Waits for spans, `most` at most; none: nobody puts any more.
    pub async fn take(&mut self, most: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        self.queue.recv_many(&mut spans, most).await;
        spans
    }

    /// Adds those that wait by now, up to `most`.
    pub fn fill(&mut self, spans: &mut Vec<Span>, most: usize) {
        while spans.len() < most
            && let Ok(span) = self.queue.try_recv()
        {
            spans.push(span);
        }
    }

    /// Ready when somebody is in a hurry.
    pub async fn hurried(&self) {
        self.waiting.hurry.notified().await;
    }

    /// What became of spans that were taken.
    pub fn became(&self, became: Exported, count: usize) {
        self.waiting.spans.fetch_sub(count, Ordering::Relaxed);
        self.metrics.spans(became, count as u64);
    }
}

/// Spans as they are sent. `instance` tells this gateway from others.
pub fn encoded(spans: Vec<Span>, instance: &str) -> Vec<u8> {
    let about = [("service.name", "stagedoor"), ("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance)];
    let attributes = about.into_iter().map(|(name, text)| attribute(name, text.into())).collect();
    let scope = InstrumentationScope { name: "stagedoor".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    TracesData { resource_spans: vec![ResourceSpans { resource: Some(Resource { attributes }), scope_spans }] }.encode_to_vec()
}

/// How many spans a collector says, in its 200, that it didn't take.
pub fn rejected(answer: &[u8]) -> usize {
    let answer = message::Answer::decode(answer).unwrap_or_default();
    answer.partial_success.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}
