//! GET /admin/usage, /admin/requests and /admin/attempts: what the ledger holds, of every request that was answered before the
//! question.

use std::collections::HashMap;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::super::auth::Admin;
use super::super::error::Error;
use super::super::respond::json;
use super::{archive, export};
use crate::base::{date, duration, id_time};
use crate::proxy::Gateway;
use crate::store::{By, Every, Form, Page, Rows, document};

/// How far back usage looks unless asked.
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// Rows of a page unless asked, and at most.
const ROWS: (u32, u32) = (50, 1_000);

/// What a question about rows may say.
const CONDITIONS: [&str; 9] = ["limit", "before", "model", "key", "provider", "status", "since", "until", "format"];

/// What stands behind the question mark; each name once.
pub(super) struct Query(HashMap<String, String>);

impl Query {
    pub(super) fn of(request: &HttpRequest, known: &[&'static str]) -> Result<Self, Error> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let pairs = pairs.map_err(|_| Error::bad_parameter("query", "The query can't be read."))?.into_inner();
        let mut values = HashMap::new();
        for (name, value) in pairs {
            if !known.contains(&name.as_str()) {
                let message = format!("{} isn't known here; known are {}.", super::super::error::echo(&name), known.join(", "));
                return Err(Error::bad_parameter("query", message));
            }
            if !value.is_empty() && values.insert(name.clone(), value).is_some() {
                return Err(Error::bad_parameter("query", format!("{name} is asked for twice; name it once.")));
            }
        }
        Ok(Self(values))
    }

    /// What is said of it; it counts as read then.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// How many rows a page has.
    pub(super) fn limit(&mut self) -> Result<u32, Error> {
        let Some(text) = self.take("limit") else { return Ok(ROWS.0) };
        let limit = text.parse().ok().filter(|limit| (1..=ROWS.1).contains(limit));
        limit.ok_or_else(|| Error::bad_parameter("limit", "limit must be a whole number from 1 to 1000."))
    }

    /// The id that a page gave as `next`.
    pub(super) fn before(&mut self) -> Result<Option<String>, Error> {
        let Some(id) = self.take("before") else { return Ok(None) };
        // Any other text would stand somewhere among the ids, too, and the page be one that nobody asked for.
        if id.len() != 36 || id_time(&id) == Duration::ZERO {
            return Err(Error::bad_parameter("before", "before must be the id that a page gave as next."));
        }
        Ok(Some(id.to_ascii_lowercase()))
    }

    /// A time: a date, or a duration before `now`.
    pub(super) fn time(&mut self, name: &'static str, now: Duration) -> Result<Option<Duration>, Error> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let time = duration(&text).map(|ago| now.saturating_sub(ago)).or_else(|| date(&text));
        let message = format!("{name} must be a duration such as 7d, a day such as 2030-01-31, or a time such as 2030-01-31T12:00:00Z.");
        time.map(Some).ok_or_else(|| Error::bad_parameter(name, message))
    }
}

pub(in crate::http) async fn usage(admin: Admin, request: HttpRequest) -> HttpResponse {
    let answer = used(&admin.visitor.worker.gateway, &request).await;
    answer.map_or_else(|error| error.response(&admin.visitor.id), |answer| json(StatusCode::OK, &admin.visitor.id, &answer))
}

async fn used(gateway: &Gateway, request: &HttpRequest) -> Result<serde_json::Value, Error> {
    let mut query = Query::of(request, &["by", "since", "until", "every"])?;
    let now = gateway.clock.wall();
    let by = match query.take("by") {
        None => By::Model,
        Some(name) => By::named(&name).ok_or_else(|| Error::bad_parameter("by", "by must be key, model, provider, tag or day."))?,
    };
    let since = query.time("since", now)?.unwrap_or_else(|| now.saturating_sub(WEEK));
    let until = query.time("until", now)?;
    let every = match query.take("every") {
        None => None,
        Some(name) if by != By::Day && Every::named(&name).is_some() => Every::named(&name),
        Some(_) => return Err(Error::bad_parameter("every", "every must be hour or day, and by something other than day.")),
    };
    let archive = archive(gateway)?;
    flush(gateway).await;
    let asked = archive.ask(move |store| async move {
        let steps = match every {
            Some(every) => Some(store.series(by, every, since, until).await?),
            None => None,
        };
        Ok((store.usage(by, since, until).await?, store.total(since, until).await?, steps))
    });
    let (lines, total, steps) = asked.await.map_err(Error::store_failed)?;
    let mut answer = document::usage(by, &lines, &total);
    if let Some(steps) = steps {
        answer["series"] = document::series(by, &steps);
    }
    Ok(answer)
}

pub(in crate::http) async fn requests(admin: Admin, request: HttpRequest) -> HttpResponse {
    let answer = async {
        let mut query = Query::of(&request, &CONDITIONS)?;
        match export::form(&mut query)? {
            Some(form) => export::lines(&admin, Rows::Requests, form, exported(query, &admin)?).await,
            None => page(&admin.visitor.worker.gateway, query).await.map(|page| json(StatusCode::OK, &admin.visitor.id, &page)),
        }
    };
    answer.await.unwrap_or_else(|error| error.response(&admin.visitor.id))
}

pub(in crate::http) async fn attempts(admin: Admin, request: HttpRequest) -> HttpResponse {
    let answer = async {
        let mut query = Query::of(&request, &CONDITIONS)?;
        let form = export::form(&mut query)?.unwrap_or(Form::JsonLines);
        export::lines(&admin, Rows::Attempts, form, exported(query, &admin)?).await
    };
    answer.await.unwrap_or_else(|error| error.response(&admin.visitor.id))
}

/// The conditions that a question has, but for how many rows are asked for.
fn conditions(mut query: Query, now: Duration) -> Result<Page, Error> {
    let status = query.take("status").map(|text| text.parse().map_err(|_| Error::bad_parameter("status", "status must be a number.")));
    Ok(Page {
        beyond: query.before()?,
        since: query.time("since", now)?,
        until: query.time("until", now)?,
        model: query.take("model"),
        key: query.take("key"),
        provider: query.take("provider"),
        status: status.transpose()?,
        ..Page::default()
    })
}

/// The rows that are to be taken away: all of them, unless a limit is named.
fn exported(mut query: Query, admin: &Admin) -> Result<Page, Error> {
    let limit = query.take("limit").map(|text| text.parse().ok().filter(|limit| *limit > 0));
    let wrong = || Error::bad_parameter("limit", "limit must be a whole number from 1 on.");
    let limit = limit.map(|limit| limit.ok_or_else(wrong)).transpose()?;
    let page = conditions(query, admin.visitor.worker.gateway.clock.wall())?;
    if page.beyond.is_some() {
        return Err(Error::bad_parameter("before", "before goes with pages, newest first; lines come oldest first: name until."));
    }
    Ok(Page { limit: limit.unwrap_or(0), ..page })
}

async fn page(gateway: &Gateway, mut query: Query) -> Result<serde_json::Value, Error> {
    let limit = query.limit()?;
    let asked = Page { limit: limit + 1, ..conditions(query, gateway.clock.wall())? };
    let archive = archive(gateway)?;
    flush(gateway).await;
    let mut rows = archive.ask(move |store| async move { store.requests(&asked).await }).await.map_err(Error::store_failed)?;
    // One more was asked for, to know whether there is one.
    let next = (rows.len() > limit as usize).then(|| rows.pop()).and_then(|_| rows.last().map(|row| row.id.clone()));
    Ok(json!({ "data": rows.iter().map(document::request).collect::<Vec<_>>(), "next": next }))
}

/// Every request that was answered before is in the store then, as far as it takes them.
pub(super) async fn flush(gateway: &Gateway) {
    if let Some(archive) = &gateway.archive {
        archive.flush().await;
    }
}
