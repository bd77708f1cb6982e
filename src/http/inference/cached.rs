//! Requests that need no call of their own: a stored answer is given, or a call that an identical request makes is shared.
//! What there is no answer to is asked for as ever, and kept.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::super::error::{Error, error_event};
use super::super::respond::{describe, identify, identify_in, limits};
use super::chat::{self, beat_at, event_stream, failed, fresh, no_stream, refused, until, whole};
use super::wishes;
use crate::dialect;
use crate::dialect::scan::Scan;
use crate::proxy::{
    Fault, Fingerprint, Following, Joined, Lead, Once, Prepared, Record, Role, Seat, Served, Spot, Stored, Worker, lead_plain, lead_stream,
    owner,
};
use crate::routing::Chain;
use crate::telemetry::Cached;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What the cache has to do with a request; None: nothing.
pub(super) fn spot(
    worker: &Worker,
    request: &HttpRequest,
    record: &Record,
    chain: &Chain,
    (body, scan): (&[u8], &Scan),
    wire: dialect::Wire,
) -> Result<Option<Rc<Spot>>, Error> {
    let wish = wishes::cache(worker, request)?;
    if !Spot::wanted(wish, &chain.caching, scan.cold) {
        return Ok(None);
    }
    let key = Fingerprint::of(&owner(record.key.as_ref()), path(request), &chain.model, body, scan);
    let mut spot = Spot::new(worker.answers(&chain.model), key, wish, &chain.caching);
    // Who waits for another's call is kept awake, and told of its failure, by OpenAI's events alone.
    spot.joins &= wire == dialect::Wire::OpenAi;
    Ok(Some(Rc::new(spot)))
}

/// A request's hold on the name that its caller gave it; streams have none. `headers`: those that pass.
pub(super) fn once(
    worker: &Worker,
    request: &HttpRequest,
    record: &Record,
    headers: &[(HeaderName, HeaderValue)],
    body: &[u8],
) -> Result<Option<Once>, Error> {
    let Some((_, name)) = headers.iter().find(|(name, _)| !record.stream && *name == IDEMPOTENCY_KEY) else { return Ok(None) };
    let taken = worker.gateway.onces.begin(&owner(record.key.as_ref()), path(request), name.as_bytes(), body);
    taken.map(Some).map_err(Error::twice)
}

/// The path, by whichever of its two names.
fn path(request: &HttpRequest) -> &str {
    request.path().strip_prefix("/v1").unwrap_or(request.path())
}

/// Answers a request that the cache has to do with, or whose caller gave it a name.
pub(super) async fn answer(worker: &Rc<Worker>, prepared: Rc<Prepared>, mut record: Box<Record>) -> HttpResponse {
    if let Some(stored) = prepared.once.as_ref().and_then(|once| once.earlier.clone()) {
        return given(worker, &prepared, &stored, Cached::Hit, record);
    }
    let Some(spot) = prepared.cache.clone() else { return fresh(worker, prepared, record).await };
    let mut failed_before = false;
    loop {
        if let Some(stored) = spot.near() {
            return given(worker, &prepared, &stored, Cached::Hit, record);
        }
        if !spot.joins || prepared.resume.is_some() {
            if let Some(stored) = spot.find().await {
                return given(worker, &prepared, &stored, Cached::Hit, record);
            }
            record.cache = Some(Cached::Miss);
            return fresh(worker, prepared, record).await;
        }
        let seat = match worker.gateway.flights.enter(spot.key()) {
            Role::Follow(seat) => seat,
            Role::Lead(lead, seat) => {
                // The call that was under way when it looked may have ended since; and for all that are alike one looks where
                // gateways share their answers.
                if let Some(stored) = spot.find().await {
                    lead.found(&stored);
                    return given(worker, &prepared, &stored, Cached::Hit, record);
                }
                record.cache = Some(Cached::Miss);
                return lead_it(worker, prepared, record, lead, seat).await;
            }
        };
        match follow(worker, &prepared, &seat, &mut record).await {
            Followed::Whole(stored) => return given(worker, &prepared, &stored, Cached::Coalesced, record),
            Followed::Stream(beats) => return following(worker, seat, beats, record),
            // What is wrong with one is wrong with all; and whoever saw two calls fail needn't make a third.
            Followed::Failed(Some(fault)) if failed_before || matches!(fault, Fault::PassedOn { .. }) => {
                record.cache = Some(Cached::Coalesced);
                return failed(&fault, record, prepared.wire);
            }
            Followed::Failed(fault) => failed_before |= fault.is_some(),
            Followed::Late => return failed(&Fault::waited_out(), record, prepared.wire),
        }
    }
}

/// An answer that costs nothing.
fn given(worker: &Worker, prepared: &Prepared, stored: &Arc<Stored>, cached: Cached, mut record: Box<Record>) -> HttpResponse {
    record.given(cached, &stored.author);
    record.settle();
    if let Some(once) = &prepared.once {
        once.answered(&stored.body, &stored.author);
    }
    let freed = worker.edition.settings.telemetry.cost_in_usage.then(|| dialect::without_cost(&stored.body)).flatten();
    let body = freed.map_or_else(|| stored.body.clone(), Into::into);
    let response = if prepared.scan.stream {
        event_stream(body, |headers| head(headers, prepared.wire, &record))
    } else {
        let mut response = HttpResponse::Ok().body(body);
        let headers = response.headers_mut();
        headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        head(headers, prepared.wire, &record);
        response
    };
    worker.gateway.metrics.overhead.observe(Duration::from_micros(record.overhead_us()));
    record.end(200, "");
    response
}

fn head(headers: &mut HeaderMap, wire: dialect::Wire, record: &Record) {
    identify_in(wire, headers, &record.id);
    describe(headers, record, None);
}

/// Makes the call, for itself and for who comes while it is under way.
async fn lead_it(worker: &Rc<Worker>, prepared: Rc<Prepared>, record: Box<Record>, lead: Lead, seat: Seat) -> HttpResponse {
    let id = Arc::clone(&prepared.id);
    if prepared.scan.stream {
        let standing = record.standing();
        let running = chat::running(worker, &prepared, record);
        let opening = lead_stream(worker, prepared, running, lead, chat::EDGE);
        let body = Following::new(Rc::clone(worker), seat, None, error_event);
        return match until(worker, beat_at(worker), opening).await {
            Some(Ok(Ok(told))) => event_stream(body, |headers| *headers = told),
            Some(Ok(Err((result, record)))) => no_stream(result, record, dialect::Wire::OpenAi),
            Some(Err(_)) => Error::crashed().response(&id),
            None => event_stream(body.beating(), |headers| {
                identify(headers, &id);
                limits(headers, standing);
            }),
        };
    }
    let told = lead_plain(worker, Rc::clone(&prepared), record, lead).await;
    drop(seat);
    match told {
        Ok((Ok(Served::Whole(answer)), record)) => whole(worker, &prepared, answer.body, None, record),
        Ok((Ok(Served::Stream(_) | Served::Piped(_)), record)) => refused(&Error::crashed(), record, prepared.wire),
        Ok((Err(fault), record)) => failed(&fault, record, prepared.wire),
        Err(_) => Error::crashed().response(&id),
    }
}

/// What came of a call that another makes.
enum Followed {
    Whole(Arc<Stored>),
    /// A stream flows; true: nothing yet, but it is time for a heartbeat.
    Stream(bool),
    Failed(Option<Fault>),
    /// Its own time is over.
    Late,
}

async fn follow(worker: &Worker, prepared: &Prepared, seat: &Seat, record: &mut Record) -> Followed {
    let clock = worker.gateway.clock;
    let began = clock.now();
    let beat = beat_at(worker).filter(|_| prepared.scan.stream);
    let at = beat.map_or(prepared.deadline, |beat| beat.min(prepared.deadline));
    let became = until(worker, Some(at), poll_fn(|cx| seat.poll_became(cx))).await;
    let now = clock.now();
    record.upstream_us += now.since(began).as_micros() as u64;
    match became {
        Some(Joined::Whole(stored)) => Followed::Whole(stored),
        Some(Joined::Flowing(author)) => {
            record.given(Cached::Coalesced, &author);
            Followed::Stream(false)
        }
        Some(Joined::Failed(fault)) => Followed::Failed(fault),
        None if now >= prepared.deadline => Followed::Late,
        None => {
            record.cache = Some(Cached::Coalesced);
            Followed::Stream(true)
        }
    }
}

/// Reads a stream with those who began it.
fn following(worker: &Rc<Worker>, seat: Seat, beats: bool, record: Box<Record>) -> HttpResponse {
    let mut told = HeaderMap::new();
    head(&mut told, dialect::Wire::OpenAi, &record);
    let body = Following::new(Rc::clone(worker), seat, Some(record), error_event);
    event_stream(if beats { body.beating() } else { body }, |headers| *headers = told)
}
