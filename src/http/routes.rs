//! The paths. On the admin plane all of them take the operator; elsewhere everything but health, metrics and the front page takes a caller; so does what isn't there, so that a stranger
//! learns nothing from asking.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::auth::{Caller, Visitor};
use super::body::unread;
use super::error::Error;
use super::inference::{chat, gemini, messages, models, responses, streams};
use super::{admin, dashboard, health, metrics, openapi, respond, route, session};
use crate::dialect::endpoint::Endpoint;

/// Which paths an address serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plane {
    /// All.
    Whole,
    /// All but the operator's, which have an address of their own.
    Serving,
    /// The operator's alone.
    Admin,
}

/// Adds a plane's paths to an app whose data holds its desk and the reloader's address.
///
/// The router compares a request's path with one pattern after the other, those with a variable part by a regular
/// expression: what is asked most stands first.
pub fn configure(app: &mut web::ServiceConfig, plane: Plane) {
    app.app_data(plane);
    match plane {
        Plane::Serving => serving(app),
        Plane::Whole => {
            serving(app);
            operating(app);
        }
        Plane::Admin => {
            operating(app);
            app.default_service(web::to(admin::unknown));
        }
    }
    app.service(resource("/openapi.json").route(web::get().to(openapi::show)));
}

fn operating(app: &mut web::ServiceConfig) {
    app.service(resource("/metrics").route(web::get().to(metrics::scrape)))
        .service(operators("/admin/reload").route(web::post().to(admin::reload::reload)))
        .service(operators("/admin/breakers/{provider}").route(web::post().to(admin::breakers::order)))
        .service(operators("/admin/keys").route(web::get().to(admin::keys::list)).route(web::post().to(admin::keys::create)))
        .service(
            operators("/admin/keys/{id}")
                .route(web::get().to(admin::keys::one))
                .route(web::patch().to(admin::keys::patch))
                .route(web::delete().to(admin::keys::revoke)),
        )
        .service(operators("/admin/keys/{id}/rotate").route(web::post().to(admin::keys::rotate)))
        .service(operators("/admin/usage").route(web::get().to(admin::usage::usage)))
        .service(operators("/admin/requests").route(web::get().to(admin::usage::requests)))
        .service(operators("/admin/attempts").route(web::get().to(admin::usage::attempts)))
        .service(operators("/admin/transitions").route(web::get().to(admin::transitions::list)))
        .service(operators("/admin/events").route(web::get().to(admin::events::watch)))
        .service(operators("/admin/route").route(web::get().to(route::told)))
        .service(
            resource("/admin/session")
                .route(web::get().to(session::show))
                .route(web::post().to(session::begin))
                .route(web::delete().to(session::end)),
        )
        .service(resource("/dashboard").route(web::get().to(dashboard::page)).route(web::head().to(dashboard::page)))
        .service(resource("/dashboard/").route(web::get().to(dashboard::slash)))
        .service(resource("/dashboard/{file:.+}").route(web::get().to(dashboard::file)).route(web::head().to(dashboard::file)))
        .service(web::scope("/admin").default_service(web::to(admin::unknown)));
}

fn serving(app: &mut web::ServiceConfig) {
    // The same with and without `/v1`: SDKs differ in what they take for a base URL.
    let both = |rest: &str| ["/v1", ""].map(|prefix| format!("{prefix}{rest}"));
    for path in both("/chat/completions") {
        app.service(resource(&path).route(web::post().to(chat::chat)));
    }
    for path in both("/responses") {
        app.service(resource(&path).route(web::post().to(responses::responses)));
    }
    for path in both("/responses/{id:.+}") {
        app.service(
            resource(&path)
                .route(web::get().to(responses::kept))
                .route(web::delete().to(responses::kept))
                .route(web::post().to(responses::kept)),
        );
    }
    for path in both("/messages") {
        app.service(resource(&path).route(web::post().to(messages::messages)));
    }
    for endpoint in Endpoint::ALL {
        let asked = move |caller, request, payload| chat::passed(endpoint, caller, request, payload);
        for path in both(endpoint.row().path) {
            app.service(resource(&path).route(web::post().to(asked)));
        }
    }
    for path in both("/messages/count_tokens") {
        app.service(resource(&path).route(web::post().to(messages::count_tokens)));
    }
    app.service(resource("/v1beta/models").route(web::get().to(gemini::list)))
        .service(resource("/v1beta/models/{id:.+}").route(web::get().to(gemini::one)).route(web::post().to(gemini::call)));
    for prefix in ["/v1", ""] {
        let path = |rest: &str| format!("{prefix}{rest}");
        app.service(resource(&path("/models")).route(web::get().to(models::list)))
            .service(resource(&path("/models/{id:.+}")).route(web::get().to(models::one)).route(web::post().to(gemini::call)))
            .service(resource(&path("/streams/{id}")).route(web::get().to(streams::read)).route(web::delete().to(streams::stop)))
            .service(resource(&path("/route")).route(web::get().to(route::show)));
    }
    // By HEAD too: some load balancers ask so.
    app.service(resource("/health").route(web::get().to(health::all)).route(web::head().to(health::all)))
        .service(resource("/health/live").route(web::get().to(health::live)).route(web::head().to(health::live)))
        .service(resource("/health/ready").route(web::get().to(health::ready)).route(web::head().to(health::ready)))
        .service(resource("/").route(web::get().to(front)).route(web::head().to(front)))
        .default_service(web::to(unknown));
}

#[cfg(test)]
thread_local! {
    static PATTERNS: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The patterns of all paths that are served.
#[cfg(test)]
pub(super) fn patterns() -> Vec<String> {
    let _app = actix_web::App::new().configure(|app| configure(app, Plane::Whole));
    PATTERNS.take()
}

fn resource(path: &str) -> actix_web::Resource {
    #[cfg(test)]
    PATTERNS.with_borrow_mut(|patterns| patterns.push(path.to_owned()));
    web::resource(path.to_owned()).default_service(web::to(wrong_method))
}

fn operators(path: &str) -> actix_web::Resource {
    resource(path).default_service(web::to(admin::wrong_method))
}

async fn front(visitor: Visitor) -> HttpResponse {
    let mut answer = json!({
        "name": "stagedoor",
        "version": env!("CARGO_PKG_VERSION"),
        "links": { "chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages", "gemini": "/v1beta/models", "embeddings": "/v1/embeddings", "models": "/v1/models", "route": "/v1/route?model=NAME", "health": "/health" },
    });
    if visitor.worker.edition.settings.admin.listen.is_empty() {
        answer["links"]["metrics"] = "/metrics".into();
        answer["links"]["dashboard"] = "/dashboard".into();
    }
    respond::json(StatusCode::OK, &visitor.id, &answer)
}

async fn unknown(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    unserved(Error::unknown_path(request.method().as_str(), request.path()), caller, &request, payload).await
}

async fn wrong_method(caller: Caller, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    unserved(Error::wrong_method(request.method().as_str(), request.path()), caller, &request, payload).await
}

async fn unserved(error: Error, Caller { visitor, body, .. }: Caller, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
    let body = body.unwrap_or_else(|| payload.into_inner());
    unread(error.response_in(visitor.wire, &visitor.id), &visitor.worker, request, body).await
}
