//! POST /v1/responses: OpenAI's Responses, passed on to targets that speak them and built over chat for all others.

use actix_web::{HttpRequest, HttpResponse, web};

use super::super::auth::Caller;
use super::chat::serve;
use crate::dialect::Wire;
use crate::proxy::Asked;

pub(in crate::http) async fn responses(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(caller, request, payload, (Wire::Responses, Asked::Chat)).await
}
