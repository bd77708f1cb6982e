//! POST /v1/responses: OpenAI's Responses, passed on to targets that speak them and built over chat for all others. And what is asked
//! of one by its id: the gateway keeps none, and an id doesn't tell which provider might.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::super::auth::Caller;
use super::super::error::Error;
use super::chat::serve;
use crate::dialect::Wire;
use crate::proxy::Asked;

pub(in crate::http) async fn responses(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(caller, request, payload, (Wire::Responses, Asked::Chat)).await
}

/// A response by its id, its items, its end: whoever asks is told where to.
pub(in crate::http) async fn kept(caller: Caller, request: HttpRequest, rest: web::Path<String>) -> HttpResponse {
    let error = match rest.split_once('/') {
        // `input_tokens`, `compact`: no ids.
        None if request.method() == Method::POST => Error::unknown_path(request.method().as_str(), request.path()),
        None => Error::response_not_found(&rest),
        Some((id, _)) => Error::response_not_found(id),
    };
    error.response_in(Wire::Responses, &caller.visitor.id)
}
