//! GET /metrics, for Prometheus: in OpenMetrics' form for a scraper that asks for it, as Prometheus does, else in the older
//! one, which every scraper reads.

use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse};

use super::auth::Scraper;
use super::respond::identify;

const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn scrape(scraper: Scraper, request: HttpRequest) -> HttpResponse {
    let metrics = &scraper.visitor.worker.gateway.metrics;
    let mut wanted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let (kind, page) = match wanted.any(|types| types.contains("application/openmetrics-text")) {
        true => (OPEN, metrics.scrape()),
        false => (CLASSIC, metrics.scrape_classic()),
    };
    let mut response = HttpResponse::Ok().content_type(kind).body(page);
    identify(response.headers_mut(), &scraper.visitor.id);
    response
}
