//! GET /admin/transitions: how breakers moved and why, the newest first: from the ledger, or where there is none, the latest
//! since the start.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::super::auth::Admin;
use super::super::error::Error;
use super::super::respond::json;
use super::usage::{Query, flush};
use crate::proxy::Gateway;
use crate::store::{Moves, document};

pub(in crate::http) async fn list(admin: Admin, request: HttpRequest) -> HttpResponse {
    let answer = page(&admin.visitor.worker.gateway, &request).await;
    answer.map_or_else(|error| error.response(&admin.visitor.id), |answer| json(StatusCode::OK, &admin.visitor.id, &answer))
}

async fn page(gateway: &Gateway, request: &HttpRequest) -> Result<Value, Error> {
    let mut query = Query::of(request, &["limit", "before", "provider", "since", "until"])?;
    let now = gateway.clock.wall();
    let limit = query.limit()?;
    let asked = Moves {
        before: query.before()?,
        since: query.time("since", now)?,
        until: query.time("until", now)?,
        provider: query.take("provider"),
        limit: limit + 1,
    };
    let mut moves = match &gateway.archive {
        Some(archive) if archive.ledger.is_some() => {
            flush(gateway).await;
            archive.ask(move |store| async move { store.transitions(&asked).await }).await.map_err(Error::store_failed)?
        }
        _ => asked.of(gateway.metrics.audience.moves()),
    };
    // One more was asked for, to know whether there is one.
    let next = (moves.len() > limit as usize).then(|| moves.pop()).and_then(|_| moves.last().map(|moved| moved.id.clone()));
    // The order of ids knows milliseconds; an actor counts what it was told.
    moves.sort_by_key(|moved| std::cmp::Reverse((moved.time_us, moved.seq)));
    Ok(json!({ "data": moves.iter().map(document::transition).collect::<Vec<_>>(), "next": next }))
}
