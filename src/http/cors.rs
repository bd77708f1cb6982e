//! Which web pages may call from a browser (`server.cors_origins`), where any may: without the setting nothing of this is in a
//! request's way. No cookies: a page sends a key, as every other caller does.

use actix_cors::Cors;

/// A browser needn't ask again for so many seconds.
const REMEMBERED: usize = 3_600;

/// What answers browsers for these origins; `*` stands for all.
pub fn cors(origins: &[String]) -> Cors {
    let known = Cors::default().allowed_methods(["GET", "POST", "DELETE"]).allow_any_header().expose_any_header().max_age(REMEMBERED);
    origins.iter().fold(known, |cors, origin| match origin.as_str() {
        "*" => cors.allow_any_origin().send_wildcard(),
        origin => cors.allowed_origin(origin),
    })
}
