//! GET /admin/requests?format= and /admin/attempts: the ledger's rows as lines, sent as they are read. What can't be read ends the
//! answer without its proper end, so that half of the rows is never taken for all of them.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use bytes::Bytes;
use futures_util::stream;

use super::super::auth::Admin;
use super::super::error::Error;
use super::super::respond::identify;
use super::archive;
use super::usage::{Query, flush};
use crate::store::{Export, Failed, Form, Page, Rows};

/// How the lines are to be written; None: none are asked for.
pub(super) fn form(query: &mut Query) -> Result<Option<Form>, Error> {
    match query.take("format").as_deref() {
        None => Ok(None),
        Some("csv") => Ok(Some(Form::Csv)),
        Some("jsonl") => Ok(Some(Form::JsonLines)),
        Some(_) => Err(Error::bad_parameter("format", "format must be csv or jsonl.")),
    }
}

/// All rows that the page's conditions hold for.
pub(super) async fn lines(admin: &Admin, rows: Rows, form: Form, page: Page) -> Result<HttpResponse, Error> {
    let gateway = &admin.visitor.worker.gateway;
    let archive = archive(gateway)?.clone();
    flush(gateway).await;
    let export = Export::new(rows, form, page);
    let told = stream::try_unfold(export, move |mut export| {
        let archive = archive.clone();
        async move {
            let asked = archive.ask(move |store| async move {
                let text = export.next(&store).await?;
                Ok(text.map(|text| (Bytes::from(text), export)))
            });
            let next = asked.await;
            if let Err(error) = &next {
                tracing::error!(%error, "an export was cut short");
            }
            next
        }
    });
    let (kind, name) = match (form, rows) {
        (Form::Csv, Rows::Requests) => ("text/csv; charset=utf-8", "requests.csv"),
        (Form::Csv, Rows::Attempts) => ("text/csv; charset=utf-8", "attempts.csv"),
        (Form::JsonLines, Rows::Requests) => ("application/x-ndjson", "requests.jsonl"),
        (Form::JsonLines, Rows::Attempts) => ("application/x-ndjson", "attempts.jsonl"),
    };
    let mut response = HttpResponse::Ok();
    response.content_type(kind).insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));
    let mut response = response.streaming::<_, Failed>(told);
    identify(response.headers_mut(), &admin.visitor.id);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
