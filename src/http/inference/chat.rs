//! POST /v1/chat/completions, and what every dialect's chat has in common with it.

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::FutureExt;

use super::super::auth::{Caller, Visitor};
use super::super::body::unread;
use super::super::error::{Error, error_event};
use super::super::respond::{Standings, describe, identify_in, limits};
use super::cached;
use super::find;
use super::reading::{Read, read, tokens};
use super::wishes::{recovery, resume, tags, timeout};
use crate::access::Principal;
use crate::actors::Found;
use crate::base::Moment;
use crate::dialect;
use crate::dialect::endpoint::Endpoint;
use crate::dialect::scan::Scan;
use crate::proxy::headers::passing;
use crate::proxy::{
    Asked, Author, Edge, Fault, Gateway, Owner, Pipe, Place, Prepared, Record, Running, Served, StreamBody, Watch, Worker, admit, begin,
    owner, run,
};
use crate::routing::{Chain, Pool};
use crate::telemetry::Refused;
use crate::telemetry::metrics::UNKNOWN_MODEL;

/// A body up to this size stands in the buffer that its connection reads into.
const BUFFERED: usize = 8 << 10;

pub(in crate::http) async fn chat(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(caller, request, payload, (dialect::Wire::OpenAi, Asked::Chat)).await
}

/// Serves what passes at one of the other endpoints.
pub(in crate::http) async fn passed(endpoint: Endpoint, caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(caller, request, payload, (dialect::Wire::OpenAi, Asked::Passed(endpoint))).await
}

/// Serves a caller of this dialect who asks this.
pub(super) async fn serve(
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
    (wire, asked): (dialect::Wire, Asked),
) -> HttpResponse {
    let Caller { visitor: Visitor { worker, id, callers_id, started, .. }, principal, body } = caller;
    let answer = async {
        let mut record = Record::new(Rc::clone(&worker), id.clone(), UNKNOWN_MODEL.into(), principal.key().cloned(), false, started);
        record.callers_id = callers_id;
        record.trace(request.headers(), request.path(), asked.operation());
        let mut payload = body.unwrap_or_else(|| payload.into_inner());
        match prepare(&worker, &principal, &request, &mut payload, &mut record, (wire, asked)).await {
            Ok(prepared) => {
                record.admitted = true;
                if prepared.cache.is_some() || prepared.once.is_some() {
                    Box::pin(cached::answer(&worker, prepared, record)).await
                } else {
                    fresh(&worker, prepared, record).await
                }
            }
            Err(error) => Box::pin(unread(refused(&error, record, wire), &worker, &request, payload)).await,
        }
    };
    // A panic is this request's alone; actix would answer it with silence.
    match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(request_id = %id, "a request's handler panicked");
            Error::crashed().response_in(wire, &id)
        }
    }
}

pub(super) fn refused(error: &Error, mut record: Box<Record>, wire: dialect::Wire) -> HttpResponse {
    record.end(error.status(), error.label());
    let mut response = error.response_in(wire, &record.id);
    limits(response.headers_mut(), record.standing());
    response
}

async fn prepare(
    worker: &Rc<Worker>,
    principal: &Principal,
    request: &HttpRequest,
    payload: &mut Payload,
    record: &mut Record,
    (wire, asked): (dialect::Wire, Asked),
) -> Result<Rc<Prepared>, Error> {
    may_begin(worker, request)?;
    // Held from here on: a body that is still coming takes memory, and a drain waits for its request.
    record.place = Some(place(worker, false)?);
    let Read { body, scan, form } = read(worker, request, payload, (wire, asked)).await?;
    if form.is_none() {
        record.asks(&body);
    }
    record.stream = scan.stream;
    let found = find(worker, principal, &scan.model.value)?;
    record.model = Arc::clone(&found.route.chain.model);
    record.wildcard = found.wildcard.clone();
    record.tags = tags(worker, request)?;
    let chain = chain_for(worker, principal, &found, &scan)?;
    if scan.stream {
        record.place = Some(place(worker, true)?);
    }
    let resume = if scan.stream { resume(worker, request, &chain.streaming)? } else { None };
    let headers = passing(request.headers());
    let (cache, once) = if asked.is_kept() {
        let cache = cached::spot(worker, request, record, &chain, (&body, &scan), wire)?;
        (cache, cached::once(worker, request, record, &headers, &body)?)
    } else {
        (None, None)
    };
    let total = timeout(worker, request)?.map_or(found.route.total, |asked| asked.min(found.route.total));
    let mut prepared = Prepared {
        id: record.id.as_str().into(),
        wire,
        asked,
        wildcard: found.wildcard,
        tokens: tokens(asked, body.len(), &scan, found.route.context_window),
        // Kept while a stream flows: a copy of its own size, not the whole buffer.
        body: if scan.stream && body.len() < BUFFERED { Bytes::copy_from_slice(&body) } else { body },
        scan,
        form,
        headers,
        recovery: recovery(worker, request, chain.streaming.recovery)?,
        resume,
        cache,
        once,
        deadline: record.started.plus(total),
        chain,
    };
    admit(worker, &mut prepared, record).await.map_err(|turned| Error::turned(&turned))?;
    Ok(Rc::new(prepared))
}

/// Whether a request may begin at all, before anything of its body is read.
fn may_begin(worker: &Worker, request: &HttpRequest) -> Result<(), Error> {
    if worker.gateway.is_draining() {
        return Err(Error::shutting_down());
    }
    if let Some(limit) = worker.gateway.pressure.shortage() {
        return Err(shed(&worker.gateway, limit));
    }
    if request.uri().authority().is_some() {
        // Asked of a proxy, which this isn't: the host in its address is somebody else's.
        return Err(Error::unknown_path(request.method().as_str(), &request.uri().to_string()));
    }
    Ok(())
}

/// The settings' chain, without pools that the key may not use; or the caller's own (OpenRouter's `models`).
fn chain_for(worker: &Worker, principal: &Principal, found: &Found, scan: &Scan) -> Result<Arc<Chain>, Error> {
    let chain = &found.route.chain;
    let Some(own) = &scan.models else {
        if chain.pools.iter().all(|pool| principal.may_use(&pool.model) || pool.model == chain.model) {
            return Ok(Arc::clone(chain));
        }
        let allowed = chain.pools.iter().filter(|pool| principal.may_use(&pool.model) || pool.model == chain.model);
        return Ok(Arc::new(Chain { pools: allowed.cloned().collect(), ..Chain::clone(chain) }));
    };
    let mut pools: Vec<Pool> = own_pool(chain).into_iter().collect();
    for name in &own.names {
        let found = find(worker, principal, name)?;
        if found.wildcard.is_some() {
            return Err(Error::bad_parameter("models", "A wildcard's model can't be part of `models`; name it as `model`."));
        }
        let pool = own_pool(&found.route.chain);
        pools.extend(pool.filter(|pool| pools.iter().all(|other| other.model != pool.model)));
    }
    Ok(Arc::new(Chain { pools, ..Chain::clone(chain) }))
}

/// The model's own pool, without what its settings fail over to.
fn own_pool(chain: &Chain) -> Option<Pool> {
    chain.pools.iter().find(|pool| pool.model == chain.model).cloned()
}

pub(super) fn place(worker: &Worker, stream: bool) -> Result<Place, Error> {
    let (gateway, server) = (&worker.gateway, &worker.edition.settings.server);
    let (places, most, limit) = match stream {
        true => (&gateway.streams, server.max_streams, Refused::MaxStreams),
        false => (&gateway.requests, server.max_requests, Refused::MaxRequests),
    };
    Place::take(places, most).ok_or_else(|| shed(gateway, limit))
}

/// A request that is one too many.
fn shed(gateway: &Gateway, limit: Refused) -> Error {
    gateway.metrics.refuse(limit);
    match limit {
        Refused::MaxRequests => Error::too_busy("server.max_requests"),
        Refused::MaxStreams => Error::too_busy("server.max_streams"),
        Refused::Memory => Error::short_of("memory"),
        Refused::Descriptors => Error::short_of("file descriptors"),
        // A key's own are told by `Error::turned`, and who has none by its extractor.
        Refused::Rpm | Refused::Tpm | Refused::Concurrency | Refused::Budget | Refused::Unpriced | Refused::WrongKeys => {
            Error::too_busy("the key's limits")
        }
    }
}

/// Makes its own call.
pub(super) async fn fresh(worker: &Rc<Worker>, prepared: Rc<Prepared>, mut record: Box<Record>) -> HttpResponse {
    if prepared.scan.stream {
        return Box::pin(stream(worker, prepared, record)).await;
    }
    match run(worker, &prepared, &mut record).await {
        Ok(Served::Whole(answer)) => {
            if (prepared.cache.is_some() || prepared.once.is_some())
                && let Some(taken) = &record.served_by
            {
                prepared.keep(&answer.body, &Author::of(&prepared, &taken.target));
            }
            whole(worker, &prepared, answer.body, answer.content_type, record)
        }
        Ok(Served::Piped(pipe)) => piped(worker, &prepared, *pipe, record),
        // A stream is only ever made where one was asked for.
        Ok(Served::Stream(_)) => refused(&Error::crashed(), record, prepared.wire),
        Err(Fault::Unfit { .. }) if prepared.asked == Asked::Tokens => counted(prepared.scan.prompt_tokens(), record, prepared.wire),
        Err(fault) => failed(&fault, record, prepared.wire),
    }
}

/// Where no target counts tokens: about how many there are.
fn counted(tokens: u64, mut record: Box<Record>, wire: dialect::Wire) -> HttpResponse {
    let name = if wire == dialect::Wire::Gemini { "totalTokens" } else { "input_tokens" };
    let mut response = HttpResponse::Ok().json(serde_json::json!({ name: tokens }));
    identify_in(wire, response.headers_mut(), &record.id);
    record.settle();
    limits(response.headers_mut(), record.standing());
    record.end(200, "");
    response
}

/// Bytes that are handed on as they come.
fn piped(worker: &Rc<Worker>, prepared: &Prepared, pipe: Pipe, record: Box<Record>) -> HttpResponse {
    let told = stream_head(worker, prepared, &record);
    let content_type = pipe.content_type().and_then(|kind| HeaderValue::from_str(kind).ok());
    let mut response = HttpResponse::Ok().body(pipe.body(worker, record));
    *response.headers_mut() = told;
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A whole answer. `content_type`: where it isn't JSON.
pub(super) fn whole(
    worker: &Worker,
    prepared: &Prepared,
    body: Bytes,
    content_type: Option<String>,
    mut record: Box<Record>,
) -> HttpResponse {
    record.answered(&body);
    let mut response = HttpResponse::Ok().body(body);
    let headers = response.headers_mut();
    // What is left is told as it is once this call has settled.
    record.settle();
    let content_type = content_type.and_then(|kind| HeaderValue::try_from(kind).ok());
    headers.append(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/json")));
    identify_in(prepared.wire, headers, &record.id);
    describe(headers, &record, upstream_model(prepared, &record).as_deref());
    worker.gateway.metrics.overhead.observe(Duration::from_micros(record.overhead_us()));
    record.end(200, "");
    response
}

pub(super) fn failed(fault: &Fault, mut record: Box<Record>, wire: dialect::Wire) -> HttpResponse {
    let error = Error::fault(fault);
    let mut response = error.response_in(wire, &record.id);
    record.settle();
    describe(response.headers_mut(), &record, None);
    record.end(error.status(), fault.label());
    response
}

fn upstream_model(prepared: &Prepared, record: &Record) -> Option<String> {
    let taken = record.served_by.as_ref()?;
    (&*taken.target.model == "*").then(|| prepared.upstream_model(&taken.target).to_owned())
}

/// A stream's request on its way through the chain.
pub(super) fn running(worker: &Rc<Worker>, prepared: &Rc<Prepared>, mut record: Box<Record>) -> Running {
    let (own, request) = (Rc::clone(worker), Rc::clone(prepared));
    Box::pin(async move {
        let result = run(&own, &request, &mut record).await;
        (result, record)
    })
}

/// What a stream's calls have written here.
pub(super) const EDGE: Edge = Edge { head: stream_head, error_event };

async fn stream(worker: &Rc<Worker>, prepared: Rc<Prepared>, record: Box<Record>) -> HttpResponse {
    let standing = record.standing();
    let terms = prepared.resume.map(|window| (window, owner(record.key.as_ref())));
    let mut running = running(worker, &prepared, record);
    if let Some((window, owner)) = terms {
        return resumable(worker, prepared, owner, window, running, standing).await;
    }
    let Some((result, record)) = until(worker, beat_at(worker), running.as_mut()).await else {
        // Nothing yet: the head and a comment go out, and failover goes on unseen.
        let id = Arc::clone(&prepared.id);
        let wire = prepared.wire;
        let body = StreamBody::running(Rc::clone(worker), prepared, running, error_event);
        return event_stream(body, |headers| {
            identify_in(wire, headers, &id);
            limits(headers, standing);
        });
    };
    match result {
        Ok(Served::Stream(stream)) => {
            let head = event_head(|headers| tell(headers, worker, &prepared, &record));
            head.set_body(BoxBody::new(StreamBody::live(Rc::clone(worker), prepared, stream, record, error_event)))
        }
        other => no_stream(other, record, prepared.wire),
    }
}

/// A stream that its caller can come back to: read by an actor, for the caller as for others.
async fn resumable(
    worker: &Rc<Worker>,
    prepared: Rc<Prepared>,
    owner: Owner,
    window: Duration,
    running: Running,
    standing: Standings,
) -> HttpResponse {
    let (id, spoken) = (Arc::clone(&prepared.id), prepared.wire);
    let (opening, replay) = begin(worker, prepared, owner, window, running, EDGE);
    match until(worker, beat_at(worker), opening).await {
        Some(Ok(Ok(told))) => event_stream(replay, |headers| *headers = told),
        Some(Ok(Err((result, record)))) => no_stream(result, record, spoken),
        // Its pump is gone: on another connection the caller has stopped it, or it died.
        Some(Err(_)) if replay.is_closed() => event_stream(replay, |headers| identify_in(spoken, headers, &id)),
        Some(Err(_)) => Error::crashed().response_in(spoken, &id),
        None => event_stream(replay.beating(), |headers| {
            identify_in(spoken, headers, &id);
            limits(headers, standing);
        }),
    }
}

/// When a client that got nothing yet gets its first heartbeat.
pub(super) fn beat_at(worker: &Worker) -> Option<Moment> {
    let beat = worker.edition.settings.server.heartbeat;
    (!beat.is_zero()).then(|| worker.gateway.clock.now().plus(beat))
}

fn stream_head(worker: &Worker, prepared: &Prepared, record: &Record) -> HeaderMap {
    // It doesn't grow as it fills.
    let mut told = HeaderMap::with_capacity(16);
    tell(&mut told, worker, prepared, record);
    told
}

/// What a stream's head says of its request; `headers` has none of it yet.
fn tell(headers: &mut HeaderMap, worker: &Worker, prepared: &Prepared, record: &Record) {
    identify_in(prepared.wire, headers, &record.id);
    describe(headers, record, upstream_model(prepared, record).as_deref());
    worker.gateway.metrics.overhead.observe(Duration::from_micros(record.overhead_us()));
}

pub(super) fn no_stream(result: Result<Served, Fault>, record: Box<Record>, wire: dialect::Wire) -> HttpResponse {
    match result {
        Err(fault) => failed(&fault, record, wire),
        // A whole answer is only ever made where one was asked for.
        Ok(_) => refused(&Error::crashed(), record, wire),
    }
}

pub(super) fn event_stream(body: impl MessageBody + 'static, head: impl FnOnce(&mut HeaderMap)) -> HttpResponse {
    event_head(head).set_body(BoxBody::new(body))
}

/// A stream's answer without its body.
fn event_head(head: impl FnOnce(&mut HeaderMap)) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::OK);
    let headers = response.headers_mut();
    head(headers);
    headers.append(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // nginx in front would otherwise hold events back.
    headers.append(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Runs until done or until `at`; None: not done yet.
pub(super) async fn until<F: Future>(worker: &Worker, at: Option<Moment>, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut watch = Watch::new(worker.gateway.clock);
    poll_fn(|cx| match (work.as_mut().poll(cx), at) {
        (Poll::Ready(done), _) => Poll::Ready(Some(done)),
        (Poll::Pending, Some(at)) => watch.poll(at, cx).map(|()| None),
        (Poll::Pending, None) => Poll::Pending,
    })
    .await
}
