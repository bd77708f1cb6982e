//! Who may come in: `[auth]` with its keys, and `[admin]`. Fails closed: without a key, only loopback is served.

use std::sync::Arc;
use std::time::Duration;

use crate::access::{Budget, VirtualKey, Window};
use crate::base::{Secret, date, written_date};
use crate::clock::unix_seconds;

use super::door::{is_listen, is_loopback};
use super::raw::{MOST, Section};
use super::secrets::{Found, Vault};
use super::types::{Admin, Auth, AuthMode, CallerKey, NoteKind};

/// 24 characters of base64 are 144 bits: more than can be tried.
const SHORTEST: usize = 24;

/// Keys that stand in somebody's documentation or sample file, and so in every attacker's list. Exact, no guessing at
/// patterns: a key of the operator's own is never refused by likeness.
const PUBLISHED: &[&str] = &[
    "sk-1234",
    "sk-12345678",
    "sk-1234567890",
    "sk-1234567890abcdef",
    "sk-master-key",
    "sk-litellm-master-key",
    "sk-your-key-here",
    "sk-your-api-key",
    "sk-your-secret-key-here",
    "your-api-key",
    "your-api-key-here",
    "your-secret-key",
    "test-token",
    "changeme",
    "change-me",
    "change_me",
    "123456",
    "password",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

/// `[auth]` of a gateway that binds to `host` and serves the models named `models`. `stored`: whether its store holds a key.
pub(super) fn auth(mut s: Section<'_>, vault: &Vault<'_>, (host, stored): (&str, &dyn Fn() -> bool), models: &[String]) -> Auth {
    let before = s.report().count();
    let modes = [("auto", AuthMode::Auto), ("keys", AuthMode::Keys), ("open", AuthMode::Open)];
    let mode = s.choice("mode", &modes, AuthMode::Auto);
    let mut keys: Vec<CallerKey> = Vec::new();
    let mut absent = Vec::new();
    for (i, mut row) in s.rows("keys").unwrap_or_default().into_iter().enumerate() {
        match caller_key(&mut row, vault, host, models, i) {
            Caller::Known(key) => {
                unlike_the_others(&row, &key, &keys);
                keys.push(key);
            }
            Caller::Absent(what) => absent.push(what),
            Caller::Bad => {}
        }
    }
    // A mistake in a key or the mode is told already; that no key is left then is no second one.
    let none = keys.is_empty() && s.report().count() == before;
    closed_to_strangers(&s, mode, (host, stored), none, &absent);
    if mode == AuthMode::Open && !keys.is_empty() {
        s.warn("keys", "mode = \"open\" lets everybody in without a look at keys: these, their models, limits and budgets have no effect");
    }
    Auth { mode, keys }
}

/// `[admin]` of a gateway that binds to `host` and `port`, or that has bound its plane to an address of its own already.
pub(super) fn admin(mut s: Section<'_>, vault: &Vault<'_>, (host, port): (&str, u16), bound: Option<&str>) -> Admin {
    let listen = s.text("listen", "");
    if !listen.is_empty() && !is_listen(&listen) {
        s.problem("listen", "must be empty or an address and a port, such as \"127.0.0.1:8001\"");
    } else if clashes(&listen, host, port) {
        s.problem("listen", "is where callers are served already (server.host and server.port); take another port");
    }
    let listens = [Some(listen.as_str()), bound].into_iter().flatten().filter_map(|listen| Some(listen.rsplit_once(':')?.0));
    let reached = listens.chain([host]).find(|host| !is_loopback(host)).unwrap_or(host);
    let mut key = None;
    if let Some(mut reference) = s.last_section("key") {
        match vault.read(&mut reference) {
            Found::Secret(secret, _) => {
                strong(&reference, &secret, reached);
                key = Some(secret);
            }
            // No admin key is usual: what asks for it stays shut.
            Found::Absent(what) => {
                let message = format!("{what} isn't there, so nobody can use /admin; on a terminal, a key for this start alone is shown");
                reference.report().note(NoteKind::LeftOut, reference.path(), message);
            }
            Found::Bad => {}
        }
    }
    Admin { key, listen }
}

/// Whether both can't be listened on at once.
fn clashes(listen: &str, host: &str, port: u16) -> bool {
    let Some((other, other_port)) = listen.rsplit_once(':') else { return false };
    let address = |host: &str| match host.trim_matches(['[', ']']) {
        name if name.eq_ignore_ascii_case("localhost") => "127.0.0.1".to_owned(),
        name => name.to_ascii_lowercase(),
    };
    let (other, host) = (address(other), address(host));
    let any = |host: &str| matches!(host, "0.0.0.0" | "::");
    port != 0 && other_port.parse() == Ok(port) && (other == host || any(&other) || any(&host))
}

enum Caller {
    Known(CallerKey),
    Absent(String),
    Bad,
}

fn caller_key(row: &mut Section<'_>, vault: &Vault<'_>, host: &str, models: &[String], index: usize) -> Caller {
    let name = row.optional_text("name");
    let allowed = row.texts("models", &["*"]);
    allow_list(row, &allowed, models);
    let terms = terms(row);
    if name.as_deref().is_some_and(|n| n.trim().is_empty() || n.len() > 128) {
        row.problem("name", "must have 1 to 128 characters");
    }
    let Some(mut reference) = row.optional_section("key") else {
        row.missing("key", "key = { env = \"NAME\" }");
        return Caller::Bad;
    };
    match vault.read(&mut reference) {
        Found::Secret(key, source) => {
            strong(&reference, &key, host);
            let name = name.or(source).unwrap_or_else(|| format!("key-{}", index + 1));
            let id = format!("settings:{name}").into();
            let terms = VirtualKey { id, name: name.into(), models: allowed, ..terms };
            Caller::Known(CallerKey { secret: key, key: Arc::new(terms) })
        }
        Found::Absent(what) => {
            let message = format!("{what} isn't there, so this key is left out; set it");
            reference.report().note(NoteKind::LeftOut, reference.path(), message);
            Caller::Absent(what)
        }
        Found::Bad => Caller::Bad,
    }
}

/// rpm, tpm, concurrency, budget, expires. Those of them that aren't kept yet are refused by `later`.
fn terms(row: &mut Section<'_>) -> VirtualKey {
    let mut limit = |key| row.whole(key, 0, 0..=MOST);
    let (rpm, tpm, concurrency) = (limit("rpm"), limit("tpm"), limit("concurrency"));
    let expires = expires(row);
    let mut budget = row.section("budget");
    let usd = budget.number("usd", 0.0, 0.0..=1e9);
    let window = budget.choice("window", &Window::ALL, Window::Month);
    let unpriced = budget.choice("unpriced", &[("refuse", false), ("allow", true)], false);
    for key in ["window", "unpriced"].into_iter().filter(|key| budget.has(key) && !budget.has("usd")) {
        budget.warn(key, "has no effect without `usd`: the key has no budget");
    }
    let nanos = (usd * 1e9).round() as u64;
    let budget = (nanos > 0).then_some(Budget { nanos, window, unpriced });
    VirtualKey { rpm, tpm, concurrency, budget, expires, ..VirtualKey::default() }
}

fn expires(row: &mut Section<'_>) -> Option<Duration> {
    let text = row.text("expires", "");
    let time = date(&text);
    if let Some(time) = time
        && time <= Duration::from_secs(unix_seconds())
    {
        row.warn("expires", format!("was over at {}, so this key is refused", written_date(time)));
    }
    if !text.is_empty() && time.is_none() {
        row.problem("expires", "must be a day or a time, such as \"2030-01-31\" or \"2030-01-31T12:00:00Z\"");
    }
    time
}

fn allow_list(row: &Section<'_>, allowed: &[String], models: &[String]) {
    if allowed.is_empty() {
        row.warn("models", "the list is empty, so this key may use no model; write [\"*\"] for all");
    }
    unknown_models(allowed, models).into_iter().for_each(|unknown| row.warn("models", unknown));
}

/// Of the names in an allow-list those that none of `models` has, in words. A pattern may be for models to come.
pub fn unknown_models(allowed: &[String], models: &[String]) -> Vec<String> {
    let wildcards: Vec<&str> = models.iter().filter_map(|m| m.strip_suffix('*')).collect();
    let is_known = |name: &&String| models.contains(name) || wildcards.iter().any(|prefix| name.starts_with(prefix));
    let names = allowed.iter().filter(|name| !name.contains(['*', '?', '['])).filter(|name| !is_known(name));
    names.map(|name| format!("no model is called {name:?}{}", super::raw::did_you_mean(name, models))).collect()
}

fn unlike_the_others(row: &Section<'_>, key: &CallerKey, others: &[CallerKey]) {
    if others.iter().any(|other| other.key.name == key.key.name) {
        row.problem("name", "another key has this name; give each its own, logs and metrics tell them apart by it");
    }
    if others.iter().any(|other| other.secret.expose() == key.secret.expose()) {
        row.warn("key", "another key has the same secret; calls with it count as the first one's");
    }
}

fn strong(reference: &Section<'_>, key: &Secret, host: &str) {
    let (report, path) = (reference.report(), reference.path());
    if PUBLISHED.contains(&key.expose()) {
        report.problem(path, "this key is a published sample that everybody knows; make one of your own: openssl rand -hex 24");
    } else if key.expose().len() < SHORTEST {
        let message = format!("the key has less than {SHORTEST} characters and could be guessed; make one with: openssl rand -hex 24");
        match is_loopback(host) {
            true => report.note(NoteKind::Warning, path, message),
            false => report.problem(path, message),
        }
    }
}

/// The rules by which a gateway without a key is never open to the network.
fn closed_to_strangers(s: &Section<'_>, mode: AuthMode, (host, stored): (&str, &dyn Fn() -> bool), none: bool, absent: &[String]) {
    let set = match absent {
        [] => "make one (stagedoor keys create NAME), or add one under [[auth.keys]]".to_owned(),
        names => format!("set {}", names.join(" or ")),
    };
    match mode {
        AuthMode::Open if !is_loopback(host) => s.problem(
            "mode",
            format!("\"open\" lets everybody in, and server.host {host:?} is not loopback; use \"keys\", or bind to 127.0.0.1"),
        ),
        AuthMode::Auto if none && !is_loopback(host) && !stored() => {
            s.problem("keys", format!("no caller key is known, and server.host {host:?} is not loopback; {set}, or bind to 127.0.0.1"))
        }
        AuthMode::Keys if none && !stored() => s.warn("keys", format!("no caller key is known, so every call is refused with 401; {set}")),
        _ => {}
    }
}
