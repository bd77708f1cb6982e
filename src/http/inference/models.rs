//! GET /v1/models and /v1/models/{id}: the public names that the caller's key may use. Google's SDKs ask the same paths and
//! have Google's answer.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::super::auth::Caller;
use super::super::respond::json;
use super::{find, gemini};
use crate::actors::Route;
use crate::base::{Dollars, Rates};
use crate::dialect::Wire;

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

/// USD per million tokens, of the first target that has a price; long prompts' rates are not shown.
#[derive(Serialize)]
struct Pricing {
    input: f64,
    output: f64,
    /// These only where they cost something else than what they are a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    cached: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<f64>,
}

impl From<&Rates> for Pricing {
    fn from(rates: &Rates) -> Self {
        let usd = |nanos: u64| Dollars(i64::try_from(nanos).unwrap_or(i64::MAX)).as_f64();
        let apart = |rate: u64, usual: u64| (rate != usual).then(|| usd(rate));
        let Rates { input, cached, cache_write, output, reasoning, .. } = *rates;
        Self {
            input: usd(input),
            output: usd(output),
            cached: apart(cached, input),
            cache_write: apart(cache_write, input),
            reasoning: apart(reasoning, output),
        }
    }
}

#[derive(Serialize)]
struct Target<'a> {
    provider: &'a str,
    model: &'a str,
}

fn model<'a>(name: &'a str, route: &'a Route, created: u64) -> Model<'a> {
    Model {
        id: name,
        object: "model",
        created,
        owned_by: route.targets.first().map_or("stagedoor", |target| &target.provider),
        context_window: route.context_window,
        pricing: route.tariff().map(|tariff| Pricing::from(&tariff.rates)),
        targets: route.targets.iter().map(|target| Target { provider: &target.provider, model: &target.model }).collect(),
    }
}

fn created(caller: &Caller) -> u64 {
    caller.visitor.worker.gateway.clock.wall_at(crate::base::Moment::START).as_secs()
}

pub(in crate::http) async fn list(caller: Caller) -> HttpResponse {
    if caller.visitor.wire == Wire::Gemini {
        return gemini::list(caller).await;
    }
    let served = caller.visitor.worker.routes.served();
    let data = served.filter(|(name, _)| caller.principal.may_use(name)).map(|(name, route)| model(name, route, created(&caller)));
    let list = List { object: "list", data: data.collect() };
    json(StatusCode::OK, &caller.visitor.id, &list)
}

pub(in crate::http) async fn one(caller: Caller, name: web::Path<String>) -> HttpResponse {
    if caller.visitor.wire == Wire::Gemini {
        return gemini::one(caller, name).await;
    }
    match find(&caller.visitor.worker, &caller.principal, &name) {
        Ok(found) => json(StatusCode::OK, &caller.visitor.id, &model(&name, &found.route, created(&caller))),
        Err(error) => error.response(&caller.visitor.id),
    }
}
