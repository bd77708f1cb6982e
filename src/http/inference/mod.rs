//! The inference endpoints: extract, run along the chain, respond.

mod cached;
pub(super) mod chat;
pub(super) mod gemini;
pub(super) mod messages;
pub(super) mod models;
mod reading;
pub(super) mod responses;
pub(super) mod streams;
mod wishes;

use super::error::Error;
use crate::access::Principal;
use crate::actors::Found;
use crate::proxy::Worker;

/// Names that a 404 suggests.
const SUGGESTIONS: usize = 3;

/// The row that serves a public name, if there is one that the key may use.
pub(super) fn find(worker: &Worker, principal: &Principal, model: &str) -> Result<Found, Error> {
    match worker.routes.find(model) {
        Some(found) if principal.may_use(model) => Ok(found),
        Some(_) => Err(Error::model_not_allowed(model)),
        None => match worker.routes.unserved(model) {
            Some(variables) => Err(Error::model_unserved(model, variables)),
            None => Err(Error::model_not_found(model, &closest(worker, principal, model))),
        },
    }
}

fn closest<'a>(worker: &'a Worker, principal: &Principal, model: &str) -> Vec<&'a str> {
    let model: String = model.chars().take(100).collect();
    let names = worker.routes.served().map(|(name, _)| name).filter(|name| principal.may_use(name));
    let mut scored: Vec<_> = names.map(|name| (strsim::jaro_winkler(&model, name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
}
