//! The Gemini API as Google's SDKs call it: POST …/models/{model}:generateContent, :streamGenerateContent and :countTokens. The
//! road is chat's; only the words differ, and that the model and the wish for a stream stand in the path.
//!
//! A key in the URL (`?key=`) is not read: it would stand in every log on the way.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;

use super::super::auth::Caller;
use super::super::error::Error;
use super::super::respond::json;
use super::chat::serve;
use super::find;
use crate::actors::Route;
use crate::dialect::Wire;
use crate::dialect::scan::Named;
use crate::proxy::Asked;
use crate::stream::sse::Parser;

/// What is asked of a model by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Generate,
    Stream,
    Count,
}

/// A model and what is asked of it, as a path names them. A model's name may hold a colon itself.
fn method(name: &str) -> Option<(&str, Method)> {
    let (model, method) = name.rsplit_once(':')?;
    let method = match method {
        "generateContent" => Method::Generate,
        "streamGenerateContent" => Method::Stream,
        "countTokens" => Method::Count,
        _ => return None,
    };
    (!model.is_empty()).then_some((model, method))
}

/// What a request's path says of it.
pub(super) fn named(request: &HttpRequest) -> Option<Named> {
    let (model, method) = method(request.match_info().get("id")?)?;
    Some(Named { model: model.to_owned(), stream: method == Method::Stream })
}

pub(in crate::http) async fn call(caller: Caller, request: HttpRequest, payload: web::Payload, name: web::Path<String>) -> HttpResponse {
    let Some((_, method)) = method(&name) else {
        let error = Error::unknown_path(request.method().as_str(), request.path());
        return error.response_in(Wire::Gemini, &caller.visitor.id);
    };
    let max_event = caller.visitor.worker.edition.settings.server.max_event;
    let asked = if method == Method::Count { Asked::Tokens } else { Asked::Chat };
    let in_events = request.query_string().split('&').any(|pair| pair == "alt=sse");
    let response = serve(caller, request, payload, (Wire::Gemini, asked)).await;
    // A refusal is one object in either way.
    let is_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if in_events || !is_stream { response } else { in_a_list(response, max_event) }
}

/// A stream as Google sends it to who doesn't ask for events: one list of answers, that grows.
fn in_a_list(response: HttpResponse, max_event: usize) -> HttpResponse {
    let mut response = response.map_body(|_, body| BoxBody::new(List { body, parser: Parser::new(max_event), begun: false, over: false }));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response
}

/// See [`in_a_list`].
struct List {
    /// The same as events.
    body: BoxBody,
    parser: Parser,
    begun: bool,
    over: bool,
}

impl List {
    /// What the events that have come are in the list; a blank where they are none, as a sign of life.
    fn entries(&mut self) -> Bytes {
        let mut out = Vec::new();
        loop {
            let event = if self.over { self.parser.next().or_else(|| self.parser.finish()) } else { self.parser.next() };
            // Each was within the limit on its way here.
            let Some(Ok(frame)) = event else { break };
            let Some(data) = frame.data.filter(|data| !data.is_empty()) else { continue };
            out.extend_from_slice(if std::mem::replace(&mut self.begun, true) { b",\r\n" } else { b"[" });
            out.extend_from_slice(&data);
        }
        if self.over {
            out.extend_from_slice(if self.begun { b"\n]\n" } else { b"[]\n" });
        } else if out.is_empty() {
            out.push(b'\n');
        }
        out.into()
    }
}

impl MessageBody for List {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        match std::task::ready!(Pin::new(&mut this.body).poll_next(cx)) {
            Some(Ok(piece)) => this.parser.push(piece),
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => this.over = true,
        }
        Poll::Ready(Some(Ok(this.entries())))
    }
}

#[derive(Serialize)]
struct Models<'a> {
    models: Vec<Model<'a>>,
}

/// Google's model object, as far as anything is known: <https://ai.google.dev/api/models#Model>.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Model<'a> {
    name: String,
    display_name: &'a str,
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_token_limit: Option<u64>,
    supported_generation_methods: [&'static str; 2],
}

fn model<'a>(name: &'a str, route: &Route) -> Model<'a> {
    Model {
        name: format!("models/{name}"),
        display_name: name,
        version: "001",
        input_token_limit: route.context_window,
        supported_generation_methods: ["generateContent", "countTokens"],
    }
}

pub(in crate::http) async fn list(caller: Caller) -> HttpResponse {
    let served = caller.visitor.worker.routes.served().filter(|(name, _)| caller.principal.may_use(name));
    let models = served.map(|(name, route)| model(name, route)).collect();
    json(StatusCode::OK, &caller.visitor.id, &Models { models })
}

pub(in crate::http) async fn one(caller: Caller, name: web::Path<String>) -> HttpResponse {
    match find(&caller.visitor.worker, &caller.principal, &name) {
        Ok(found) => json(StatusCode::OK, &caller.visitor.id, &model(&name, &found.route)),
        Err(error) => error.response_in(Wire::Gemini, &caller.visitor.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_model_and_a_method() {
        assert_eq!(method("gemini-flash:generateContent"), Some(("gemini-flash", Method::Generate)));
        assert_eq!(method("llama3:8b:streamGenerateContent"), Some(("llama3:8b", Method::Stream)));
        assert_eq!(method("openai/gpt-4o:countTokens"), Some(("openai/gpt-4o", Method::Count)));
        for nothing in ["gemini-flash", ":generateContent", "m:embedContent", "m:generateContent/x", ""] {
            assert_eq!(method(nothing), None, "{nothing}");
        }
    }
}
