//! POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages, as its SDKs send them. The road is chat's; only the
//! words differ.

use actix_web::{HttpRequest, HttpResponse, web};

use super::super::auth::Caller;
use super::chat::serve;
use crate::dialect::Wire;
use crate::proxy::Asked;

pub(in crate::http) async fn messages(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(caller, request, payload, (Wire::Anthropic, Asked::Chat)).await
}

/// What an Anthropic target counts, else an estimate.
pub(in crate::http) async fn count_tokens(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    serve(caller, request, payload, (Wire::Anthropic, Asked::Tokens)).await
}
