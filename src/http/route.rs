//! GET /v1/route?model=NAME: each target in the order it would be tried now, with its score, its state and the reason. Sends
//! nothing; decides by the same code as a request.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::auth::{Admin, Caller};
use super::error::Error;
use super::inference::find;
use super::respond::json;
use crate::access::Principal;
use crate::base::Moment;
use crate::routing::{Ask, Chain, Explained, ExplainedKey, Tried, explain};

#[derive(Serialize)]
struct Answer<'a> {
    model: &'a str,
    targets: Vec<Row>,
    /// Targets whose provider has no key.
    left_out: &'a [String],
}

#[derive(Serialize)]
struct Row {
    order: usize,
    provider: String,
    model: String,
    pool: String,
    state: &'static str,
    #[serde(rename = "in")]
    is_in: bool,
    score: f64,
    reason: String,
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    name: String,
    status: &'static str,
    /// Seconds, to the millisecond; null where it doesn't rest.
    wait_s: Option<f64>,
    /// Null where nothing is known.
    calls_left: Option<u64>,
}

pub(super) async fn show(caller: Caller, request: HttpRequest) -> HttpResponse {
    let asked = query(request.query_string(), "model");
    let Some(name) = asked else {
        return Error::bad_parameter("model", "Name a model: GET /v1/route?model=NAME.").response(&caller.visitor.id);
    };
    let worker = &caller.visitor.worker;
    let found = match find(worker, &caller.principal, &name) {
        Ok(found) => found,
        Err(error) => return error.response(&caller.visitor.id),
    };
    json(StatusCode::OK, &caller.visitor.id, &answer(&found.route.chain, worker.gateway.clock.now()))
}

/// GET /admin/route: the same for the operator, who may ask for every model.
pub(super) async fn told(admin: Admin, request: HttpRequest) -> HttpResponse {
    let caller = Caller { visitor: admin.visitor, principal: Principal::open(), body: None };
    show(caller, request).await
}

/// The same answer for whoever has a chain but no gateway that serves it: `stagedoor route`.
pub fn explained(chain: &Chain, now: Moment) -> serde_json::Value {
    serde_json::json!(answer(chain, now))
}

fn answer(chain: &Chain, now: Moment) -> Answer<'_> {
    let tried = Tried::default();
    let ask = Ask::any(chain, &tried, now);
    let targets = explain(&ask).into_iter().enumerate().map(|(place, row)| shown(place + 1, row)).collect();
    Answer { model: &chain.model, targets, left_out: &chain.left_out }
}

fn shown(order: usize, row: Explained) -> Row {
    Row {
        order,
        provider: row.provider.to_string(),
        model: row.model.to_string(),
        pool: row.pool.to_string(),
        state: row.state,
        is_in: row.state != "out",
        score: row.score,
        reason: row.reason,
        keys: row.keys.into_iter().map(shown_key).collect(),
    }
}

fn shown_key(key: ExplainedKey) -> Key {
    let wait_s = key.wait.map(|wait| wait.as_millis() as f64 / 1e3);
    Key { name: key.name.to_string(), status: key.status, wait_s, calls_left: key.calls_left }
}

/// The first value of a query's name, percent-decoded.
fn query(query: &str, name: &str) -> Option<String> {
    let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(query).ok()?;
    pairs.into_inner().into_iter().find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value))
}
