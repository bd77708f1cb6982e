//! The operator's plane. Every path of it takes the admin key, what isn't there too, and every action leaves a line in the log.
//! No limit of the serving plane holds here: an overloaded or draining gateway still obeys.

pub(super) mod breakers;
pub(super) mod events;
mod export;
pub(super) mod keys;
pub(super) mod reload;
pub(super) mod transitions;
pub(super) mod usage;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::auth::Admin;
use super::body::unread;
use super::error::Error;
use super::routes::Plane;
use crate::actors::Archive;
use crate::proxy::Gateway;

/// Whether callers are served where the operator's plane is: it has no address of its own.
fn is_whole(request: &HttpRequest) -> bool {
    request.app_data::<Plane>().is_some_and(|plane| *plane == Plane::Whole)
}

/// What is kept, if anything is.
fn archive(gateway: &Gateway) -> Result<&Archive, Error> {
    gateway.archive.as_ref().ok_or_else(Error::no_store)
}

pub(super) async fn unknown(admin: Admin, request: HttpRequest, payload: Payload) -> HttpResponse {
    let error = Error::unknown_path(request.method().as_str(), request.path());
    unread(error.response(&admin.visitor.id), &admin.visitor.worker, &request, payload.into_inner()).await
}

pub(super) async fn wrong_method(admin: Admin, request: HttpRequest, payload: Payload) -> HttpResponse {
    let error = Error::wrong_method(request.method().as_str(), request.path());
    unread(error.response(&admin.visitor.id), &admin.visitor.worker, &request, payload.into_inner()).await
}
