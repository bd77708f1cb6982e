//! The simulated upstream behind a port: what `stagedoor sim` and `stagedoor demo` serve.

use std::net::SocketAddr;

use actix_web::body::BodyStream;
use actix_web::dev::Server;
use actix_web::http::{StatusCode, header};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use crate::proxy::headers::text;
use crate::rehearsal::{ReplyBody, Script, Simulator};

/// As large as any gateway's.
const MOST: usize = 64 << 20;

/// A simulator that listens.
pub struct Sim {
    /// Where.
    pub address: SocketAddr,
    /// Await it to serve.
    pub server: Server,
}

/// Binds on 127.0.0.1; port 0 takes a free one.
///
/// # Errors
/// Where the port can't be bound.
pub fn bind(simulator: Simulator, port: u16) -> std::io::Result<Sim> {
    let factory = move || {
        App::new()
            .app_data(web::PayloadConfig::new(MOST))
            .app_data(simulator.clone())
            .route("/__sim/stats", web::get().to(stats))
            .route("/__sim/script", web::post().to(script))
            .default_service(web::to(call))
    };
    let server = HttpServer::new(factory).workers(1).tcp_nodelay(true).disable_signals().bind(("127.0.0.1", port))?;
    let address = server.addrs()[0];
    Ok(Sim { address, server: server.run() })
}

fn simulator(request: &HttpRequest) -> &Simulator {
    request.app_data().expect("every sim has its simulator")
}

async fn stats(request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().json(simulator(&request).stats())
}

async fn script(request: HttpRequest, body: web::Bytes) -> HttpResponse {
    match Script::from_json(&body) {
        Ok(script) => {
            simulator(&request).set_script(script);
            HttpResponse::NoContent().finish()
        }
        Err(invalid) => HttpResponse::BadRequest().body(invalid.to_string()),
    }
}

async fn call(request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let authorization = text(request.headers(), &header::AUTHORIZATION);
    let reply = simulator(&request).call(request.path(), body, authorization).await;
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    for (name, value) in reply.headers {
        response.insert_header((name, value));
    }
    match reply.body {
        ReplyBody::Whole(bytes) => response.body(bytes),
        // An error ends the connection without the body's end mark, which is what a cut is.
        ReplyBody::Stream(stream) => response.body(BodyStream::new(stream)),
    }
}
