//! Sends spans to an OpenTelemetry collector, in batches, by OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/>). On a
//! thread that no request is on; whatever becomes of it, requests don't notice.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use actix_web::http::header;
use awc::http::{Method, Uri};
use bytes::Bytes;

use super::client::USER_AGENT;
use super::connect::{CALL, Dialled};
use super::pool::Pool;
use super::transport::Line;
use crate::telemetry::otlp::{Spans, Tracer, encoded, rejected};
use crate::telemetry::{Exported, Metrics};

/// Spans of one message at most.
const MOST: usize = 512;
/// So long the first span of a message waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// A collector has this long for a message.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time for name, connection and handshake.
const CONNECT: Duration = Duration::from_secs(3);
/// Before a message is sent again that the collector couldn't take; after the last it is dropped.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// A collector's answer is no longer.
const ANSWER: usize = 64 << 10;

/// What a collector did with a message.
enum Took {
    /// All but so many spans.
    All(usize),
    /// It never will.
    Refused(u16),
    /// Perhaps later: why not now.
    NotNow(String),
}

/// Has spans sent to the address, until nobody puts any. `instance` tells this gateway from others.
pub(super) fn start(url: &str, metrics: &Arc<Metrics>, line: Arc<Line>, instance: String, clerk: &ArbiterHandle) -> Arc<Tracer> {
    let (tracer, spans) = Tracer::new(url, metrics);
    let url = address(url);
    clerk.spawn_fn(move || {
        let sender = Sender { url, pool: Pool::new(&line), instance, away: false };
        actix_rt::spawn(sender.run(spans));
    });
    Arc::new(tracer)
}

/// Where traces go, below the address in the settings.
fn address(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v1/traces") { url.to_owned() } else { format!("{url}/v1/traces") }
}

struct Sender {
    url: String,
    pool: Pool,
    instance: String,
    /// The last message wasn't taken.
    away: bool,
}

impl Sender {
    async fn run(mut self, mut spans: Spans) {
        loop {
            let mut batch = spans.take(MOST).await;
            if batch.is_empty() {
                return;
            }
            if batch.len() < MOST {
                let _ = tokio::time::timeout(LINGER, spans.hurried()).await;
                spans.fill(&mut batch, MOST);
            }
            let count = batch.len();
            match self.send(encoded(batch, &self.instance).into()).await {
                Some(left_out) => {
                    let left_out = left_out.min(count);
                    spans.became(Exported::Sent, count - left_out);
                    spans.became(Exported::Refused, left_out);
                }
                None => spans.became(Exported::Dropped, count),
            }
        }
    }

    /// Sends a message, again where that may help; how many of its spans were left out, or None: all are lost.
    async fn send(&mut self, message: Bytes) -> Option<usize> {
        // One that has been away a while is asked once a message: what waits meanwhile is dropped, not held.
        let pauses = if self.away { &PAUSES[..1] } else { &PAUSES[..] };
        for pause in pauses {
            match self.post(message.clone()).await {
                Took::All(left_out) => {
                    if std::mem::take(&mut self.away) {
                        tracing::info!(url = %self.url, "traces are taken again");
                    }
                    return Some(left_out);
                }
                Took::Refused(status) => {
                    if !std::mem::replace(&mut self.away, true) {
                        tracing::warn!(url = %self.url, status, "the collector refuses traces: see telemetry.otlp");
                    }
                    return Some(usize::MAX);
                }
                Took::NotNow(why) => {
                    tracing::debug!(url = %self.url, why, "traces weren't taken");
                    tokio::time::sleep(*pause).await;
                }
            }
        }
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(url = %self.url, "the collector doesn't take traces: they are dropped until it does (stagedoor_spans_total)");
        }
        None
    }

    async fn post(&self, message: Bytes) -> Took {
        let Ok(url) = self.url.parse::<Uri>() else { return Took::NotNow("telemetry.otlp is no address".to_owned()) };
        let (request, _under_way) = self.pool.request(Method::POST, url);
        let request =
            request.insert_header((header::CONTENT_TYPE, "application/x-protobuf")).insert_header((header::USER_AGENT, USER_AGENT));
        let call = Rc::new(Dialled { limit: CONNECT, ..Dialled::default() });
        let answered = async {
            let mut response = CALL.scope(call, request.send_body(message)).await.map_err(|error| error.to_string())?;
            let body = response.body().limit(ANSWER).await.unwrap_or_default();
            Ok::<(u16, Bytes), String>((response.status().as_u16(), body))
        };
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok((200..=299, body))) => Took::All(rejected(&body)),
            Ok(Ok((status @ (429 | 502 | 503 | 504), _))) => Took::NotNow(format!("it answered {status}")),
            Ok(Ok((status, _))) => Took::Refused(status),
            Ok(Err(why)) => Took::NotNow(why),
            Err(_) => Took::NotNow("it didn't answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_path_is_put_behind_the_address_once() {
        for url in ["http://h:4318", "http://h:4318/", "http://h:4318/v1/traces"] {
            assert_eq!(address(url), "http://h:4318/v1/traces");
        }
        assert_eq!(address("https://h/otlp"), "https://h/otlp/v1/traces");
    }
}
