//! GET /metrics, for Prometheus.

use actix_web::HttpResponse;

use super::auth::Scraper;
use super::respond::identify;

pub(super) async fn scrape(scraper: Scraper) -> HttpResponse {
    let page = scraper.visitor.worker.gateway.metrics.scrape();
    let mut response = HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(page);
    identify(response.headers_mut(), &scraper.visitor.id);
    response
}
