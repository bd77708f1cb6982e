//! GET /dashboard: the page's files, compiled in. They hold no secret and ask for no key: what they show comes from /admin.
//!
//! Nothing of the page comes from elsewhere, and its policy forbids what isn't ours: no inline script or style, no frame,
//! no text that is made into markup.

use std::sync::LazyLock;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

use super::auth::Visitor;
use super::error::Error;
use crate::proxy::headers::text;

/// What the browser may do with the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file with its type.
macro_rules! file {
    ($name:literal, $kind:expr) => {
        ($name, $kind, include_bytes!(concat!("../../dashboard/", $name)).as_slice())
    };
}

const FILES: &[(&str, &str, &[u8])] = &[
    file!("index.html", "text/html; charset=utf-8"),
    file!("style.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("main.js", SCRIPT),
    file!("gateway.js", SCRIPT),
    file!("elements.js", SCRIPT),
    file!("figures.js", SCRIPT),
    file!("charts.js", SCRIPT),
    file!("moves.js", SCRIPT),
    file!("explainer.js", SCRIPT),
    file!("keys.js", SCRIPT),
    file!("overview.js", SCRIPT),
    file!("playground.js", SCRIPT),
    file!("providers.js", SCRIPT),
    file!("strip.js", SCRIPT),
    file!("requests.js", SCRIPT),
    file!("usage.js", SCRIPT),
    file!("road.js", SCRIPT),
    file!("vendor/uplot.js", SCRIPT),
    file!("vendor/uplot.css", "text/css; charset=utf-8"),
];

/// A file ready to be sent.
struct Ready {
    name: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    gzip: Bytes,
    tag: String,
}

static READY: LazyLock<Vec<Ready>> = LazyLock::new(|| {
    let ready = |(name, kind, plain): &(&'static str, &'static str, &'static [u8])| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        // Writing to memory can't fail; an empty body would not be taken for the file.
        let gzip = gzip.write_all(plain).and_then(|()| gzip.finish()).unwrap_or_default();
        // Weak, since the same tag stands for both codings.
        let tag = format!("W/\"{}\"", &blake3::hash(plain).to_hex()[..24]);
        Ready { name, kind, plain, gzip: gzip.into(), tag }
    };
    FILES.iter().map(ready).collect()
});

/// The page.
pub(super) async fn page(visitor: Visitor, request: HttpRequest) -> HttpResponse {
    sent(&visitor, &request, "index.html")
}

/// One of its files.
pub(super) async fn file(visitor: Visitor, name: web::Path<String>, request: HttpRequest) -> HttpResponse {
    sent(&visitor, &request, &name)
}

/// What is relative in the page would miss from here.
pub(super) async fn slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "../dashboard")).finish()
}

fn sent(visitor: &Visitor, request: &HttpRequest, name: &str) -> HttpResponse {
    let Some(ready) = READY.iter().find(|ready| ready.name == name) else {
        return Error::unknown_path(request.method().as_str(), request.path()).response(&visitor.id);
    };
    let known = text(request.headers(), &header::IF_NONE_MATCH);
    let known = known.is_some_and(|tags| tags == "*" || tags.split(',').any(|tag| tag.trim() == ready.tag));
    let zipped = text(request.headers(), &header::ACCEPT_ENCODING).is_some_and(takes_gzip);
    let mut response = HttpResponse::build(if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
    ];
    for (name, value) in headers {
        response.insert_header((name, HeaderValue::from_static(value)));
    }
    response.insert_header((header::ETAG, ready.tag.as_str())).content_type(ready.kind);
    match (known, zipped) {
        (true, _) => response.finish(),
        (false, true) => response.insert_header((header::CONTENT_ENCODING, "gzip")).body(ready.gzip.clone()),
        (false, false) => response.body(ready.plain),
    }
}

/// Whether `accept-encoding` names gzip, and not to forbid it.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let forbidden = quality.trim().strip_prefix("q=").is_some_and(|quality| quality.parse() == Ok(0.0));
        matches!(name.trim(), "gzip" | "*") && !forbidden
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (accepted, takes) in [
            ("gzip", true),
            ("br, gzip;q=0.8", true),
            ("*", true),
            ("", false),
            ("br", false),
            ("gzip;q=0, br", false),
            ("gzip; q=0.0", false),
        ] {
            assert_eq!(takes_gzip(accepted), takes, "{accepted}");
        }
    }

    #[test]
    fn every_file_is_there_under_its_own_tag_and_names_no_other_place() {
        let ours = READY.iter().filter(|ready| !ready.name.starts_with("vendor/"));
        for ready in ours {
            let text = std::str::from_utf8(ready.plain).unwrap();
            for foreign in ["https://", "src=\"//", "innerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                assert!(!text.contains(foreign), "{} has {foreign}", ready.name);
            }
            let links = text.match_indices("http://").filter(|(at, _)| !text[*at..].starts_with("http://www.w3.org/2000/svg"));
            assert_eq!(links.count(), 0, "{}", ready.name);
        }
        let mut tags: Vec<_> = READY.iter().map(|ready| &ready.tag).collect();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), FILES.len());
    }
}
