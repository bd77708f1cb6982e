//! The gateway's own side: `[server]`, `[admin]`, `[telemetry]`.

use std::net::IpAddr;
use std::time::Duration;

use super::raw::Section;
use super::secrets::Vault;
use super::tls;
use super::types::{LogForm, Server, Telemetry};
use super::url;
use crate::telemetry::otlp::Sampler;

/// The `x-stagedoor-*` request headers there are.
const REQUEST_HEADERS: &[&str] = &["cache", "timeout", "recovery", "resume", "tags"];

/// Where the gateway listens unless told: nobody else can reach it there.
const LOOPBACK: &str = "127.0.0.1";

/// Of how many requests the bodies are logged unless told, where they are.
const BODIES_SAMPLE: f64 = 0.01;

/// `[server]`.
pub(super) fn server(mut s: Section<'_>, vault: &Vault<'_>) -> Server {
    let server = Server {
        tls: s.optional_section("tls").and_then(|tls| tls::tls(tls, vault)),
        host: host(&mut s),
        port: s.whole("port", 8000, 0..=65_535) as u16,
        workers: s.whole("workers", 0, 0..=1024) as usize,
        max_body: s.size("max_body", 32 << 20) as usize,
        max_response: s.size("max_response", 64 << 20) as usize,
        max_event: s.size("max_event", 4 << 20) as usize,
        header_timeout: s.period("header_timeout", Duration::from_secs(10)),
        body_timeout: s.period("body_timeout", Duration::from_secs(30)),
        max_requests: s.whole("max_requests", 4096, 1..=10_000_000) as usize,
        max_streams: s.whole("max_streams", 12_000, 1..=10_000_000) as usize,
        send_timeout: s.period("send_timeout", Duration::from_secs(30)),
        request_headers: request_headers(&mut s),
        cors_origins: s.texts("cors_origins", &[]),
        shutdown_grace: s.duration("shutdown_grace", Duration::from_secs(30)),
        heartbeat: s.duration("heartbeat", Duration::from_secs(15)),
    };
    if server.cors_origins.iter().any(|origin| !is_origin(origin)) {
        s.problem("cors_origins", "each must be \"*\" or an origin such as \"https://app.example.com\", without a path");
    }
    server
}

/// `[telemetry]`.
pub(super) fn telemetry(mut s: Section<'_>, vault: &Vault<'_>) -> Telemetry {
    let otlp = s.text("otlp", "");
    let otlp = match (otlp.is_empty(), url::base(&otlp)) {
        (true, _) => None,
        (false, Ok(address)) => Some(address),
        (false, Err(wrong)) => {
            s.problem("otlp", format!("{wrong}; \"\" sends no traces, \"http://localhost:4318\" to a collector on this machine"));
            None
        }
    };
    let (bodies, sample) = (s.flag("log_bodies", false), s.number("log_bodies_sample", BODIES_SAMPLE, 0.0..=1.0));
    if !bodies && sample != BODIES_SAMPLE {
        s.warn("log_bodies_sample", "has no effect: no bodies are logged, since `log_bodies` is false");
    } else if bodies && sample == 0.0 {
        s.warn("log_bodies", "has no effect: `log_bodies_sample` takes the bodies of no request");
    }
    Telemetry {
        sampler: sampler(&s, vault),
        log_bodies: bodies.then_some(sample),
        slow_request: s.period("slow_request", Duration::from_secs(30)),
        otlp,
        cost_header: s.flag("cost_header", true),
        cost_in_usage: s.flag("cost_in_usage", false),
        log: s.choice("log", &[("pretty", LogForm::Pretty), ("json", LogForm::Json)], LogForm::Pretty),
        metrics_need_admin: s.choice("metrics", &[("open", false), ("admin", true)], false),
    }
}

/// Which traces are recorded, by OpenTelemetry's own variables; a wrong one is told and passed over, as its standard has it.
fn sampler(s: &Section<'_>, vault: &Vault<'_>) -> Sampler {
    let variable = |name| vault.env.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let Some(name) = variable("OTEL_TRACES_SAMPLER") else { return Sampler::default() };
    Sampler::named(name.trim(), variable("OTEL_TRACES_SAMPLER_ARG")).unwrap_or_else(|wrong| {
        s.warn("otlp", format!("{wrong}; it is passed over, and all traces are recorded but those that callers leave out"));
        Sampler::default()
    })
}

/// Whether only this machine can reach a socket that is bound to `host`.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = host.trim_start_matches('[').trim_end_matches(']');
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
        Ok(IpAddr::V4(ip)) => ip.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether `text` is `host:port`, as `admin.listen` wants it.
pub(super) fn is_listen(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port.parse::<u16>().is_ok())
}

fn host(s: &mut Section<'_>) -> String {
    let host = s.text("host", LOOPBACK);
    if is_host(&host) {
        return host;
    }
    s.problem("host", "must be a name or an IP address, without a scheme or a port (that is `port`)");
    LOOPBACK.to_owned()
}

fn is_host(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || (!host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')))
}

fn request_headers(s: &mut Section<'_>) -> Vec<String> {
    let names = s.texts("request_headers", REQUEST_HEADERS);
    if names.iter().any(|name| !REQUEST_HEADERS.contains(&name.as_str())) {
        s.problem("request_headers", format!("each must be one of \"{}\"", REQUEST_HEADERS.join("\", \"")));
    }
    names
}

fn is_origin(origin: &str) -> bool {
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origin == "*" || rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ', ',']))
}
