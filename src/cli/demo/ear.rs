//! Listens to the log's own lines: every breaker's move and every request's end, the visitors' requests included. So the
//! demo shows what the log of a real gateway would say, and has no road of its own into the machinery.

use std::collections::HashMap;
use std::fmt::Debug;

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// The director did something.
    Cue(&'static str),
    /// A breaker moved.
    Moved(Moved),
    /// A request ended at the gateway.
    Request(Request),
    /// One of the demo's own callers did not get its answer.
    CallerFailed(String),
}

/// A breaker's move, in the log's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moved {
    pub(super) provider: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) reason: String,
    pub(super) period_ms: Option<u64>,
}

/// A request, in the log's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Request {
    pub(super) id: String,
    /// Who answered.
    pub(super) provider: Option<String>,
    pub(super) status: u64,
    pub(super) stream: bool,
    pub(super) latency_ms: u64,
    pub(super) first_token_ms: Option<u64>,
    /// Failed attempts, then the one that answered: `alpha/gpt-4o!503,beta/gpt-4o`.
    pub(super) route: String,
}

/// From now on, the log goes to the ear and nowhere else: lines on the terminal would tear the picture.
pub(super) fn listen(tell: mpsc::Sender<News>) {
    // Only a process that has a log already refuses; the demo starts none.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ear { tell }));
}

struct Ear {
    tell: mpsc::Sender<News>,
}

impl<S: Subscriber> Layer<S> for Ear {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("stagedoor")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(news) = fields.news() {
            // A full channel loses news of a demo, nothing else.
            let _ = self.tell.try_send(news);
        }
    }
}

/// A line's fields as text.
#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Fields {
    fn news(mut self) -> Option<News> {
        let message = self.0.remove("message")?;
        if message.starts_with("breaker moved") {
            return Some(News::Moved(Moved {
                provider: self.text("provider"),
                from: self.text("from"),
                to: self.text("to"),
                reason: self.text("reason"),
                period_ms: self.number("period_ms"),
            }));
        }
        (message == "request").then(|| {
            News::Request(Request {
                id: self.text("request_id"),
                provider: self.0.remove("provider"),
                status: self.number("status").unwrap_or_default(),
                stream: self.text("stream") == "true",
                latency_ms: self.number("latency_ms").unwrap_or_default(),
                first_token_ms: self.number("first_token_ms"),
                route: self.text("route"),
            })
        })
    }

    fn text(&mut self, name: &str) -> String {
        self.0.remove(name).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(say: impl FnOnce()) -> Option<News> {
        let (tell, mut news) = mpsc::channel(4);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Ear { tell }), say);
        news.try_recv().ok()
    }

    #[test]
    fn a_move_and_a_request_are_heard_with_their_fields() {
        let none: Option<u64> = None;
        let moved = heard(|| {
            let (provider, from, to, reason) = ("alpha", "closed", "open", "consecutive_failures");
            tracing::warn!(provider, model = "m", from, to, reason, period_ms = Some(600u64), "breaker moved");
        });
        let Some(News::Moved(moved)) = moved else { panic!("{moved:?}") };
        assert_eq!((moved.to.as_str(), moved.period_ms), ("open", Some(600)));

        let request = heard(|| {
            let route = "alpha/m!503,beta/m".to_owned();
            tracing::info!(request_id = %"demo-1", provider = Some("beta"), status = 200u16, stream = true, latency_ms = 7u64, first_token_ms = none, route = ?route, "request");
        });
        let Some(News::Request(request)) = request else { panic!("{request:?}") };
        assert_eq!(request.route, "alpha/m!503,beta/m");
        assert_eq!((request.provider.as_deref(), request.status, request.stream), (Some("beta"), 200, true));
        assert_eq!(request.first_token_ms, None);
    }

    #[test]
    fn other_lines_are_no_news() {
        assert_eq!(heard(|| tracing::info!("draining: no new requests")), None);
    }
}
