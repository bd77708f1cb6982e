//! /admin/keys: callers' keys, made, listed, changed, revoked and rotated. A key itself is in the answer that makes it and
//! nowhere else. What is done here holds at once in this gateway, and within a second in others of the same store.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::super::auth::Admin;
use super::super::body::{read_json, unread};
use super::super::error::Error;
use super::super::respond::json;
use super::archive;
use super::usage::flush;
use crate::access::{Budget, VirtualKey, Window};
use crate::base::{Secret, date, duration, request_id};
use crate::clock::{issued_key, seeded_rng};
use crate::proxy::{Gateway, recall_of};
use crate::store::{KeyChange, KeyRecord, NewKey, Terms, document};

/// The old key works on for so long after a rotation, unless told.
const OVERLAP: Duration = Duration::from_secs(86_400);

/// The body of POST and PATCH. What isn't known is a mistake: a limit misspelt would be none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    #[serde(default, deserialize_with = "told")]
    models: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "told")]
    rpm: Option<Option<u64>>,
    #[serde(default, deserialize_with = "told")]
    tpm: Option<Option<u64>>,
    #[serde(default, deserialize_with = "told")]
    concurrency: Option<Option<u64>>,
    #[serde(default, deserialize_with = "told")]
    budget: Option<Option<WrittenBudget>>,
    #[serde(default, deserialize_with = "told")]
    expires: Option<Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBudget {
    usd: f64,
    window: Option<String>,
    unpriced: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    overlap: Option<String>,
}

/// The allow-list that lets all models pass.
fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// What is there, be it null.
fn told<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Written {
    fn terms(self, now: Duration) -> Result<Terms, Error> {
        if self.name.as_deref().is_some_and(|name| name.trim().is_empty() || name.len() > 128 || name.chars().any(char::is_control)) {
            return Err(Error::bad_parameter("name", "name must have 1 to 128 characters, none of them a control character."));
        }
        // Null is no limit, as when the key is made.
        let [rpm, tpm, concurrency] = [self.rpm, self.tpm, self.concurrency].map(|limit| limit.map(Option::unwrap_or_default));
        let models = self.models.map(|models| models.unwrap_or_else(everything));
        if models.as_ref().is_some_and(|models| !VirtualKey::may_list(models)) {
            return Err(Error::bad_parameter("models", "models must be up to 1000 names or patterns of 1 to 256 characters."));
        }
        for (name, limit) in [("rpm", rpm), ("tpm", tpm), ("concurrency", concurrency)] {
            if limit.is_some_and(|limit| limit > VirtualKey::MOST) {
                return Err(Error::bad_parameter(name, format!("{name} must be at most {}.", VirtualKey::MOST)));
            }
        }
        let expires = match self.expires {
            Some(Some(text)) => Some(Some(expiry(&text, now)?)),
            other => other.map(|_| None),
        };
        let budget = match self.budget {
            Some(Some(budget)) => Some(budget.read()?),
            other => other.map(|_| None),
        };
        Ok(Terms { name: self.name, models, rpm, tpm, concurrency, budget, expires })
    }
}

impl WrittenBudget {
    fn read(self) -> Result<Option<Budget>, Error> {
        let bad = |message: &str| Error::bad_parameter("budget", message.to_owned());
        let window = Window::named(self.window.as_deref().unwrap_or("month"));
        let window = window.ok_or_else(|| bad("budget.window must be day, week, month or total."))?;
        let unpriced = match self.unpriced.as_deref() {
            None | Some("refuse") => false,
            Some("allow") => true,
            Some(_) => return Err(bad("budget.unpriced must be refuse or allow.")),
        };
        let usd = Budget::of_usd(self.usd, window, unpriced);
        usd.ok_or_else(|| bad("budget.usd must be a number of dollars from 0 to 1000000000."))
    }
}

/// A date, or a duration from now.
fn expiry(text: &str, now: Duration) -> Result<Duration, Error> {
    let time = duration(text).map(|after| now + after).or_else(|| date(text));
    let message = "expires must be a duration such as 30d, a day such as 2030-01-31, a time such as 2030-01-31T12:00:00Z, or null.";
    time.ok_or_else(|| Error::bad_parameter("expires", message))
}

/// Reads a body as one of these kinds.
async fn read<T: for<'de> Deserialize<'de>>(admin: &Admin, request: &HttpRequest, payload: Payload) -> Result<T, HttpResponse> {
    let mut payload = payload.into_inner();
    let body = match read_json(&admin.visitor.worker, request, &mut payload).await {
        Ok(body) => body,
        Err(error) => return Err(unread(error.response(&admin.visitor.id), &admin.visitor.worker, request, payload).await),
    };
    // serde names what is wrong and where; what it quotes is the operator's own, and no secret: keys are never sent here.
    let body = if body.is_empty() { b"{}" } else { &*body };
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Error::bad_parameter("body", "Send one JSON object.").response(&admin.visitor.id));
    }
    serde_json::from_slice(body)
        .map_err(|error| Error::bad_parameter("body", format!("The body can't be used: {error}.")).response(&admin.visitor.id))
}

/// Answers, and puts what was done on record.
fn answered(admin: &Admin, action: &str, object: &str, status: StatusCode, done: Result<Value, Error>) -> HttpResponse {
    let id = &admin.visitor.id;
    let response = match done {
        Ok(answer) => json(status, id, &answer),
        Err(error) => error.response(id),
    };
    admin.audit(action, object, response.status());
    response
}

pub(in crate::http) async fn create(admin: Admin, request: HttpRequest, payload: Payload) -> HttpResponse {
    let written = match read::<Written>(&admin, &request, payload).await {
        Ok(written) => written,
        Err(response) => return response,
    };
    let name = written.name.clone().unwrap_or_default();
    let done = made(&admin.visitor.worker.gateway, written).await;
    answered(&admin, "key create", &name, StatusCode::CREATED, done)
}

async fn made(gateway: &Gateway, written: Written) -> Result<Value, Error> {
    let now = gateway.clock.wall();
    let terms = written.terms(now)?;
    let Some(name) = terms.name else { return Err(Error::bad_parameter("name", "A key needs a name: {\"name\": \"team-a\"}.")) };
    let key = VirtualKey {
        id: request_id(now, &mut seeded_rng()).into(),
        name: name.into(),
        models: terms.models.unwrap_or_else(everything),
        rpm: terms.rpm.unwrap_or(0),
        tpm: terms.tpm.unwrap_or(0),
        concurrency: terms.concurrency.unwrap_or(0),
        budget: terms.budget.flatten(),
        expires: terms.expires.flatten(),
        revoked: None,
        created: now,
    };
    let (secret, new) = NewKey::issue(key, issued_key());
    let archive = archive(gateway)?;
    let kept = new.clone();
    archive.ask(move |store| async move { store.create_key(&kept).await }).await.map_err(Error::store_failed)?;
    gateway.news.keys_changed(None);
    archive.keys.look().await;
    Ok(with_secret(document::key(&new.into(), 0), &secret))
}

/// The one answer that shows a key.
fn with_secret(mut document: Map<String, Value>, secret: &Secret) -> Value {
    document.insert("key".to_owned(), secret.expose().into());
    Value::Object(document)
}

pub(in crate::http) async fn list(admin: Admin) -> HttpResponse {
    let id = &admin.visitor.id;
    match listed(&admin.visitor.worker.gateway, None).await {
        Ok(keys) => json(StatusCode::OK, id, &json!({ "data": keys })),
        Err(error) => error.response(id),
    }
}

pub(in crate::http) async fn one(admin: Admin, key: Path<String>) -> HttpResponse {
    let id = &admin.visitor.id;
    match listed(&admin.visitor.worker.gateway, Some(&key)).await {
        Ok(keys) => keys.first().map_or_else(|| Error::key_not_found(&key).response(id), |key| json(StatusCode::OK, id, key)),
        Err(error) => error.response(id),
    }
}

/// All keys, or the one of this id, each with what it has spent.
async fn listed(gateway: &Gateway, id: Option<&str>) -> Result<Vec<Value>, Error> {
    let archive = archive(gateway)?;
    flush(gateway).await;
    let now = gateway.clock.wall();
    let id = id.map(str::to_owned);
    let asked = archive.ask(move |store| async move {
        let keys = match id {
            Some(id) => store.key(&id).await?.into_iter().collect(),
            None => store.keys().await?,
        };
        store.with_spent(keys, now).await
    });
    let keys = asked.await.map_err(Error::store_failed)?;
    // What was reserved for a call whose cost nobody knows is in no row, and refuses calls all the same.
    let reckoned = |record: &KeyRecord| i64::try_from(gateway.allowances.spent(&record.key, now).unwrap_or(0)).unwrap_or(i64::MAX);
    Ok(keys.iter().map(|(record, spent)| Value::Object(document::key(record, reckoned(record).max(*spent)))).collect())
}

pub(in crate::http) async fn patch(admin: Admin, key: Path<String>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let written = match read::<Written>(&admin, &request, payload).await {
        Ok(written) => written,
        Err(response) => return response,
    };
    let gateway = &admin.visitor.worker.gateway;
    let done = match written.terms(gateway.clock.wall()) {
        Ok(terms) => changed(gateway, &key, KeyChange::Terms(Box::new(terms))).await,
        Err(error) => Err(error),
    };
    answered(&admin, "key change", &key, StatusCode::OK, done)
}

pub(in crate::http) async fn revoke(admin: Admin, key: Path<String>) -> HttpResponse {
    let gateway = &admin.visitor.worker.gateway;
    let done = changed(gateway, &key, KeyChange::Revoke(gateway.clock.wall())).await;
    answered(&admin, "key revoke", &key, StatusCode::OK, done)
}

pub(in crate::http) async fn rotate(admin: Admin, key: Path<String>, request: HttpRequest, payload: Payload) -> HttpResponse {
    let written = match read::<Rotation>(&admin, &request, payload).await {
        Ok(written) => written,
        Err(response) => return response,
    };
    let done = rotated(&admin.visitor.worker.gateway, &key, &written).await;
    answered(&admin, "key rotate", &key, StatusCode::CREATED, done)
}

async fn rotated(gateway: &Gateway, key: &str, Rotation { overlap }: &Rotation) -> Result<Value, Error> {
    let overlap = overlap.as_deref().map_or(Some(OVERLAP), duration);
    let overlap = overlap.ok_or_else(|| Error::bad_parameter("overlap", "overlap must be a duration such as 24h, or 0s."))?;
    let secret = issued_key();
    let change = KeyChange::rotate(&secret, gateway.clock.wall(), overlap);
    match changed(gateway, key, change).await? {
        Value::Object(document) => Ok(with_secret(document, &secret)),
        other => Ok(other),
    }
}

async fn changed(gateway: &Gateway, id: &str, change: KeyChange) -> Result<Value, Error> {
    let archive = archive(gateway)?;
    let key = id.to_owned();
    let revokes = matches!(change, KeyChange::Revoke(_));
    let rotated_at = if let KeyChange::Rotate { at, .. } = change { Some(at) } else { None };
    let has_terms = matches!(change, KeyChange::Terms(_));
    let asked = archive.ask(move |store| async move { store.change_key(&key, change).await });
    let changed = asked.await.map_err(Error::store_failed)?;
    gateway.news.keys_changed(revokes.then_some(id));
    archive.keys.look().await;
    let Some(record) = changed else { return Err(Error::key_not_found(id)) };
    if rotated_at.is_some_and(|at| record.key.has_ended(at)) {
        return Err(Error::bad_parameter(
            "id",
            "The key is revoked or has expired, so a new secret would let nobody in: make another key.",
        ));
    }
    if has_terms {
        recall_of(gateway, [&record.key]).await.map_err(Error::store_failed)?;
    }
    let document = listed(gateway, Some(id)).await?.pop();
    document.ok_or_else(|| Error::key_not_found(id))
}
