//! POST /admin/reload: the settings are read again, and put in force if they are good.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;

use super::super::auth::Admin;
use super::super::error::Error;
use super::super::respond::json;
use crate::actors::{Cause, Reload};

#[derive(Serialize)]
struct Reloaded<'a> {
    changed: &'a [String],
    /// Of what was changed since the start: what a restart would put in force.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    needs_restart: &'a [String],
}

#[derive(Serialize)]
struct Refused<'a> {
    errors: Vec<Mistake<'a>>,
}

#[derive(Serialize)]
struct Mistake<'a> {
    file: &'a str,
    path: &'a str,
    message: &'a str,
}

pub(in crate::http) async fn reload(admin: Admin) -> HttpResponse {
    let id = &admin.visitor.id;
    let (status, response) = match admin.reloader.send(Reload(Cause::Admin)).await {
        Ok(Ok(done)) => {
            // Once this is answered, no breaker goes by the thresholds of before.
            admin.visitor.worker.gateway.settle().await;
            let told = Reloaded { changed: &done.changed, needs_restart: &done.waiting };
            (StatusCode::OK, json(StatusCode::OK, id, &told))
        }
        Ok(Err(invalid)) => {
            let errors = invalid.problems.iter().map(|p| Mistake { file: &p.file, path: &p.path, message: &p.message });
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            (status, json(status, id, &Refused { errors: errors.collect() }))
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Error::crashed().response(id)),
    };
    admin.audit("reload", "", status);
    response
}
