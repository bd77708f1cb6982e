//! POST /admin/breakers/{provider}: opens, closes or resets the breaker of a provider or of one of its models by hand.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::super::auth::Admin;
use super::super::body::{read_json, unread};
use super::super::error::Error;
use super::super::health::{Provider, shown};
use super::super::respond::json;
use crate::actors::{Description, Order};
use crate::health::Force;

/// The body. What isn't known is a mistake: an order that is half understood is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    action: String,
    model: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    provider: &'a str,
    model: Option<&'a str>,
    /// As /health shows it.
    #[serde(flatten)]
    state: Provider,
}

pub(in crate::http) async fn order(admin: Admin, provider: web::Path<String>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let id = &admin.visitor.id;
    let mut payload = payload.into_inner();
    let written = match read_json(&admin.visitor.worker, &request, &mut payload).await {
        Ok(body) => serde_json::from_slice::<Written>(&body).map_err(|_| Error::bad_order()),
        Err(error) => return unread(error.response(id), &admin.visitor.worker, &request, payload).await,
    };
    let done = match &written {
        Ok(written) => carry_out(&admin, &provider, written).await,
        Err(_) => Err(Error::bad_order()),
    };
    let (action, model) = written.as_ref().map_or(("", None), |written| (written.action.as_str(), written.model.as_deref()));
    let status = done.as_ref().map_or_else(Error::status, |_| 200);
    admin.audit(
        &format!("breaker {action}"),
        &format!("{provider}{}{}", if model.is_some() { "/" } else { "" }, model.unwrap_or("")),
        status,
    );
    match done {
        Ok(description) => {
            let state = shown(description, admin.visitor.worker.gateway.clock);
            json(StatusCode::OK, id, &Answer { provider: &provider, model, state })
        }
        Err(error) => error.response(id),
    }
}

async fn carry_out(admin: &Admin, provider: &str, Written { action, model }: &Written) -> Result<Description, Error> {
    let force = Force::named(action).ok_or_else(Error::bad_order)?;
    let worker = &admin.visitor.worker;
    let slot = worker.edition.routes.providers.iter().find(|(slot, _)| &*slot.name == provider);
    let (slot, _) = slot.ok_or_else(|| Error::provider_not_found(provider))?;
    let actor = worker.gateway.cast.at(slot.place).ok_or_else(Error::crashed)?;
    let answered = actor.send(Order { force, model: model.clone() }).await;
    answered.map_err(|_| Error::crashed())?.ok_or_else(|| Error::target_not_found(provider, model.as_deref().unwrap_or_default()))
}
