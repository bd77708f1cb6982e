//! A request as a trace: a span for it and one for each upstream call, by the conventions' names. Made where the request and the
//! call end, of what is known there; where no tracer is set there is none, and nobody does more than look.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use awc::http::Uri;

use super::headers::text;
use super::record::{LEFT, Record};
use super::worker::Worker;
use crate::base::Dollars;
use crate::dialect::Usage;
use crate::ledger::Call;
use crate::telemetry::Cached;
use crate::telemetry::otlp::context::{Parent, traceparent};
use crate::telemetry::otlp::conventions as name;
use crate::telemetry::otlp::{Kind, Span, Status, Tracer};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A longer `tracestate` is left out, as the standard allows.
const LONGEST_STATE: usize = 512;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Trace {
    tracer: Arc<Tracer>,
    id: [u8; 16],
    /// The caller's span; empty: there is none.
    parent: Vec<u8>,
    state: String,
    own: [u8; 8],
    operation: &'static str,
    path: String,
}

/// What a call's span needs that only the attempt knows.
#[derive(Debug)]
pub(super) struct Leaf {
    span: [u8; 8],
    /// What the model was called.
    model: Option<Box<str>>,
    max_tokens: Option<u64>,
}

/// What a call's span says that its row doesn't.
pub(super) struct Spent<'a> {
    /// The provider's address.
    pub(super) base_url: &'a str,
    /// Whether a stream was asked for.
    pub(super) stream: bool,
    /// What it used, as far as the upstream said.
    pub(super) used: Option<Usage>,
}

impl Trace {
    /// Of a request with these headers, if requests are traced and this one is among them.
    pub(super) fn begin(worker: &Worker, headers: &HeaderMap, path: &str, operation: &'static str) -> Option<Rc<Self>> {
        let tracer = Arc::clone(worker.edition.tracer.as_ref()?);
        let parent = text(headers, &TRACEPARENT).and_then(Parent::read);
        let id = parent.map_or_else(|| worker.chance(), |parent| parent.trace);
        if !worker.edition.settings.telemetry.sampler.takes(&id, parent.as_ref()) {
            return None;
        }
        let state = text(headers, &TRACESTATE).filter(|state| parent.is_some() && state.len() <= LONGEST_STATE);
        Some(Rc::new(Self {
            tracer,
            id,
            parent: parent.map(|parent| parent.span.to_vec()).unwrap_or_default(),
            state: state.unwrap_or_default().to_owned(),
            own: worker.chance(),
            operation,
            path: path.to_owned(),
        }))
    }

    /// A call that begins.
    pub(super) fn leaf(worker: &Worker) -> Box<Leaf> {
        Box::new(Leaf { span: worker.chance(), model: None, max_tokens: None })
    }

    /// The headers of a call: those that pass, and its own place in the trace.
    pub(super) fn headers(
        &self,
        leaf: &mut Leaf,
        passing: &[(HeaderName, HeaderValue)],
        model: &str,
        max_tokens: Option<u64>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        (leaf.model, leaf.max_tokens) = (Some(model.into()), max_tokens);
        let mut headers: Vec<_> = passing.iter().filter(|(name, _)| *name != TRACEPARENT).cloned().collect();
        // Digits and dashes are a header's value.
        headers.extend(HeaderValue::from_str(&traceparent(&self.id, &leaf.span)).map(|value| (TRACEPARENT.clone(), value)));
        headers
    }

    /// A call has ended.
    pub(super) fn called(&self, leaf: &Leaf, call: &Call, spent: &Spent<'_>) {
        let model = leaf.model.as_deref().unwrap_or(&call.model);
        let mut span = self.span(leaf.span, self.own.to_vec(), Kind::Client, model);
        span.start_time_unix_nano = call.start_us.saturating_mul(1_000);
        span.end_time_unix_nano = call.start_us.saturating_add(call.total_us).saturating_mul(1_000);
        let address = spent.base_url.parse::<Uri>().unwrap_or_default();
        let host = address.host().unwrap_or_default();
        span.say(name::PROVIDER, name::vendor(host, &call.provider));
        span.say(name::STREAM, spent.stream);
        span.may_say(name::MAX_TOKENS, leaf.max_tokens);
        if !host.is_empty() {
            let port = if address.scheme_str() == Some("https") { 443u16 } else { 80 };
            span.say(name::ADDRESS, host);
            span.say(name::PORT, address.port_u16().unwrap_or(port));
        }
        span.may_say(name::STATUS, call.status);
        span.may_say(name::FIRST_CHUNK, call.first_token_us.filter(|_| spent.stream).map(|us| us as f64 / 1e6));
        used(&mut span, spent.used.as_ref());
        span.say(name::GATEWAY_PROVIDER, &*call.provider);
        span.may_say(name::PROVIDER_KEY, call.key.as_deref());
        span.say(name::ATTEMPT, call.place);
        span.say(name::BREAKER, &*call.breaker);
        span.say(name::OUTCOME, &*call.outcome);
        span.may_say(name::HEDGE, call.hedge.then_some(true));
        let wrong = call.kind.as_deref().or(Some(&*call.outcome).filter(|outcome| !matches!(*outcome, "ok" | "abandoned")));
        failed(&mut span, wrong);
        self.tracer.put(span);
    }

    /// The request has ended, for the reason `kind` if it ended badly.
    pub(super) fn ended(&self, record: &Record, status: u16, kind: &'static str, took: Duration) {
        let mut span = self.span(self.own, self.parent.clone(), Kind::Server, &record.model);
        let began = record.worker.gateway.clock.wall_at(record.started);
        span.start_time_unix_nano = began.as_nanos() as u64;
        span.end_time_unix_nano = (began + took).as_nanos() as u64;
        span.say(name::METHOD, "POST");
        span.say(name::PATH, &*self.path);
        span.say(name::STATUS, status);
        span.say(name::STREAM, record.stream);
        if let Some(taken) = &record.served_by {
            let provider = &*taken.target.provider.name;
            let settings = record.worker.edition.settings.providers.get(provider);
            let address = settings.map(|provider| provider.base_url.parse::<Uri>().unwrap_or_default()).unwrap_or_default();
            span.say(name::PROVIDER, name::vendor(address.host().unwrap_or_default(), provider));
            span.say(name::GATEWAY_PROVIDER, provider);
            let model = record.wildcard.as_deref().filter(|_| &*taken.target.model == "*").unwrap_or(&taken.target.model);
            span.say(name::RESPONSE_MODEL, model);
        }
        span.may_say(name::FIRST_CHUNK, record.first_token_ms.filter(|_| record.stream).map(|ms| ms as f64 / 1e3));
        used(&mut span, record.used().as_ref().map(|(used, _)| used));
        span.may_say(name::COST, record.used().and(record.cost()).map(|cost| Dollars(cost).as_f64()));
        span.say(name::REQUEST_ID, &*record.id);
        span.may_say(name::KEY, record.key.as_ref().map(|key| &*key.name));
        span.say(name::ATTEMPTS, record.attempts);
        span.may_say(name::ROUTE, Some(&*record.route).filter(|route| !route.is_empty()));
        span.may_say(name::CACHE, record.cache.map(Cached::name));
        span.may_say(name::RECOVERED, record.recovered.then_some(true));
        let wrong = Some(kind).filter(|kind| !kind.is_empty());
        // What a caller did wrong, or left, is no failure of the gateway's.
        if status >= 500 || status == 200 {
            failed(&mut span, wrong);
        } else {
            span.may_say(name::ERROR, wrong.filter(|_| status != LEFT));
        }
        self.tracer.put(span);
    }

    fn span(&self, own: [u8; 8], parent: Vec<u8>, kind: Kind, model: &str) -> Span {
        let mut span = Span::default();
        (span.trace_id, span.span_id, span.parent_span_id) = (self.id.to_vec(), own.to_vec(), parent);
        (span.name, span.kind, span.trace_state) = (format!("{} {model}", self.operation), kind as i32, self.state.clone());
        span.say(name::OPERATION, self.operation);
        span.say(name::REQUEST_MODEL, model);
        span
    }
}

fn used(span: &mut Span, used: Option<&Usage>) {
    let Some(Usage { input, output, cached, cache_write, reasoning, .. }) = used else { return };
    span.say(name::INPUT_TOKENS, *input);
    span.say(name::OUTPUT_TOKENS, *output);
    for (name, tokens) in [(name::CACHE_READ, cached), (name::CACHE_WRITE, cache_write), (name::REASONING, reasoning)] {
        span.may_say(name, Some(*tokens).filter(|tokens| *tokens > 0));
    }
}

fn failed(span: &mut Span, wrong: Option<&str>) {
    if let Some(wrong) = wrong {
        span.say(name::ERROR, wrong);
        span.status = Some(Status { message: String::new(), code: 2 });
    }
}
