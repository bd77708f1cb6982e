//! GET /v1/models and /v1/models/{id}: the public names that the caller's key may use.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::super::auth::Caller;
use super::super::respond::json;
use super::find;
use crate::actors::Route;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

/// OpenAI's model object, and what a router knows besides.
#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'a str,
    context_window: Option<u64>,
    pricing: Option<Pricing>,
    targets: Vec<Target<'a>>,
}

/// USD per million tokens, of the first target that has a price.
#[derive(Serialize)]
struct Pricing {
    input: f64,
    output: f64,
}

#[derive(Serialize)]
struct Target<'a> {
    provider: &'a str,
    model: &'a str,
}

fn model<'a>(name: &'a str, route: &'a Route, created: u64) -> Model<'a> {
    let pricing = route.targets.iter().find_map(|target| target.price);
    Model {
        id: name,
        object: "model",
        created,
        owned_by: route.targets.first().map_or("stagedoor", |target| &target.provider),
        context_window: route.context_window,
        pricing: pricing.map(|price| Pricing { input: price.input, output: price.output }),
        targets: route.targets.iter().map(|target| Target { provider: &target.provider, model: &target.model }).collect(),
    }
}

fn created(caller: &Caller) -> u64 {
    caller.visitor.worker.gateway.clock.wall_at(crate::base::Moment::START).as_secs()
}

pub(in crate::http) async fn list(caller: Caller) -> HttpResponse {
    let served = caller.visitor.worker.routes.served();
    let data = served.filter(|(name, _)| caller.principal.may_use(name)).map(|(name, route)| model(name, route, created(&caller)));
    let list = List { object: "list", data: data.collect() };
    json(StatusCode::OK, &caller.visitor.id, &list)
}

pub(in crate::http) async fn one(caller: Caller, name: web::Path<String>) -> HttpResponse {
    match find(&caller.visitor.worker, &caller.principal, &name) {
        Ok(found) => json(StatusCode::OK, &caller.visitor.id, &model(&name, &found.route, created(&caller))),
        Err(error) => error.response(&caller.visitor.id),
    }
}
