//! One call's part: what it gets, what its fault makes of that, and the headers around it. The answer is composed before the
//! wait, so that a call that waits or hangs holds an answer and not the caller's prompt.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::refusal::Refusal;
use super::request::Chat;
use super::script::FaultKind;
use super::simulator::{Scene, Visit};
use super::stream::{Blow, EventStream, Events, Play, Source, Strike};
use super::waits::Waits;
use super::{completions, embeddings, judge, media};

/// What an upstream answers.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case. The length is whoever serves it to add.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: ReplyBody,
}

/// A body, at once or in time.
pub enum ReplyBody {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece: an event per item, or the first half of a plain answer that will be cut.
    Stream(EventStream),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).field("headers", &self.headers).field("body", &self.body).finish()
    }
}

impl fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyBody::Whole(bytes) => f.debug_tuple("Whole").field(bytes).finish(),
            ReplyBody::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// One call's part in the play.
pub(super) struct Act {
    pub(super) scene: Arc<Scene>,
    pub(super) fault: Option<FaultKind>,
    pub(super) waits: Waits,
    pub(super) chance: SmallRng,
    /// Unix time in seconds.
    pub(super) created: u64,
}

/// What a call gets if nothing goes wrong.
pub(super) enum Served {
    /// A body of this content type.
    Plain(&'static str, Bytes),
    Stream(Box<Events>),
    Refused(Refusal),
}

impl Act {
    /// What there is to answer.
    pub(super) fn perform(&mut self, path: &str, asked: &Value) -> Served {
        let path = path.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v1").unwrap_or(path);
        let served = match path {
            "/chat/completions" => self.chat(asked),
            "/completions" => self.completion(asked),
            "/embeddings" => embeddings::answer(asked).map(json_body),
            "/moderations" => judge::moderations(asked).map(json_body),
            "/rerank" => judge::rerank(asked).map(json_body),
            "/images/generations" => media::images(asked, self.created).map(json_body),
            "/audio/speech" => media::speech(asked).map(|(kind, body)| Served::Plain(kind, body)),
            "/audio/transcriptions" => media::transcription(asked).map(|(kind, body)| Served::Plain(kind, body)),
            "/models" => Ok(json_body(models(self.created))),
            _ => Err(Refusal::no_such_path(path)),
        };
        served.unwrap_or_else(Served::Refused)
    }

    fn chat(&mut self, asked: &Value) -> Result<Served, Refusal> {
        let chat = Chat::read(asked)?;
        let answer = Answer::compose(&chat, self.scene.text.as_ref(), self.scene.script.words, self.created, &mut self.chance);
        Ok(if chat.stream { Served::Stream(Box::new(Events::new(answer, chat.include_usage))) } else { json_body(answer.whole()) })
    }

    fn completion(&mut self, asked: &Value) -> Result<Served, Refusal> {
        let chat = completions::read(asked)?;
        let answer = Answer::compose(&chat, self.scene.text.as_ref(), self.scene.script.words, self.created, &mut self.chance);
        if chat.stream {
            return Ok(Served::Stream(Box::new(Events::completion(answer, chat.include_usage))));
        }
        Ok(json_body(completions::whole(&answer)))
    }

    /// The time to the head; for a hung call, for ever.
    pub(super) async fn pause(&mut self) {
        let latency = self.waits.draw(self.scene.script.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if self.fault == Some(FaultKind::Hang) {
            pending::<()>().await;
        }
    }

    /// The answer, or what the fault makes of it.
    pub(super) fn reply(mut self, served: Served, mut visit: Visit) -> Reply {
        let streams = matches!(served, Served::Stream(_));
        let strike = match self.fault.take() {
            Some(FaultKind::Status { status, retry_after, body }) => {
                visit.served();
                return self.scripted(status, retry_after, body);
            }
            Some(FaultKind::Garbage { body }) => {
                visit.served();
                let page = body.map_or(Bytes::from_static(PAGE), Bytes::from);
                return self.whole(200, "text/html; charset=utf-8", page);
            }
            Some(FaultKind::Empty) => {
                visit.served();
                return self.whole(200, if streams { EVENTS } else { JSON }, Bytes::new());
            }
            Some(FaultKind::ErrorEvent { events, status, body }) => {
                let error = body.map_or_else(|| Refusal::scripted(status).body(), Bytes::from);
                if !streams {
                    visit.served();
                    return self.whole(200, JSON, error);
                }
                let event = [b"data: ", &error[..], b"\n\n"].concat();
                Some(Strike { after: events, blow: Blow::Error(event.into()) })
            }
            Some(FaultKind::HangAfter { events }) => Some(Strike { after: events, blow: Blow::Hang }),
            Some(FaultKind::Cut { events, end }) => Some(Strike { after: events, blow: Blow::Cut(end) }),
            Some(FaultKind::Slow { .. } | FaultKind::Hang) | None => None,
        };
        self.deliver(served, strike, visit)
    }

    fn deliver(mut self, served: Served, strike: Option<Strike>, mut visit: Visit) -> Reply {
        let (content_type, source) = match (served, &strike) {
            (Served::Stream(events), _) => (EVENTS, Source::Events(events)),
            (Served::Plain(kind, body), Some(_)) => (kind, Source::Half(Some(body.slice(..body.len() / 2)))),
            (Served::Plain(kind, body), None) => {
                visit.served();
                return self.whole(200, kind, body);
            }
            (Served::Refused(refusal), _) => {
                visit.served();
                return self.whole(refusal.status, JSON, refusal.body());
            }
        };
        let headers = self.headers(content_type);
        Reply { status: 200, headers, body: ReplyBody::Stream(Box::pin(Play::new(source, strike, self.waits, visit))) }
    }

    fn scripted(mut self, status: u16, retry_after: Option<Duration>, body: Option<String>) -> Reply {
        let body = body.map_or_else(|| Refusal::scripted(status).body(), Bytes::from);
        let json = serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok();
        let mut reply = self.whole(status, if json { JSON } else { "text/plain; charset=utf-8" }, body);
        if let Some(wait) = retry_after {
            reply.headers.push(("retry-after", wait.as_millis().div_ceil(1000).to_string()));
            if !wait.as_millis().is_multiple_of(1000) {
                reply.headers.push(("retry-after-ms", wait.as_millis().to_string()));
            }
        }
        reply
    }

    fn whole(&mut self, status: u16, content_type: &str, body: Bytes) -> Reply {
        Reply { status, headers: self.headers(content_type), body: ReplyBody::Whole(body) }
    }

    fn headers(&mut self, content_type: &str) -> Vec<(&'static str, String)> {
        vec![
            ("content-type", content_type.to_owned()),
            ("cache-control", "no-store".to_owned()),
            ("x-request-id", answer::id("req_", &mut self.chance)),
        ]
    }
}

fn json_body(body: Bytes) -> Served {
    Served::Plain(JSON, body)
}

const JSON: &str = "application/json";

const EVENTS: &str = "text/event-stream; charset=utf-8";

const PAGE: &[u8] = b"<!doctype html>\n<title>Rehearsal</title>\n<p>A page where an answer should be.\n";

/// Any model is answered; these two are listed.
fn models(created: u64) -> Bytes {
    let model = |id| json!({"id": id, "object": "model", "created": created, "owned_by": "rehearsal"});
    Bytes::from(json!({"object": "list", "data": [model("rehearsal-chat"), model("rehearsal-embedding")]}).to_string())
}
