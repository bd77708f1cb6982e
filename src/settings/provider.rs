//! `[providers.X]`: where an upstream is, how it is spoken to and with which keys. One that lists keys none of which is
//! set is left out, by name, so that its models can say why they aren't there.

use std::collections::BTreeMap;

use super::health::{self, Breaker};
use super::known::{self, Known};
use super::path::Path;
use super::raw::{MOST, Section, did_you_mean};
use super::secrets::{Found, Vault};
use super::types::{AuthScheme, Dialect, NoteKind, Provider, ProviderKey, Timeouts};
use super::url;

/// The name and the address of the simulated upstream.
pub(super) const REHEARSAL: &str = "rehearsal";
const REHEARSAL_URL: &str = "rehearsal://";

/// Headers that the gateway itself sets or that belong to one connection alone (RFC 9110, 7.6.1).
const OWN_HEADERS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The outcomes that a vendor's error code may stand for.
pub(super) const OUTCOMES: &[&str] = &["transient", "rate_limited", "key_fault", "too_long", "caller_fault", "model_missing"];

/// What the settings above a provider say.
pub(super) struct Above {
    pub(super) breaker: Breaker,
    pub(super) timeouts: Timeouts,
}

/// The providers, told apart by whether they can be called.
#[derive(Default)]
pub(super) struct Providers {
    /// Those that can.
    pub(super) usable: BTreeMap<String, Provider>,
    /// Those without a key, each with what would set one.
    pub(super) left_out: BTreeMap<String, Vec<String>>,
    /// All names that the settings hold, those with mistakes included: a target may name them.
    pub(super) names: Vec<String>,
}

/// `[providers]`.
pub(super) fn providers(root: &mut Section<'_>, vault: &Vault<'_>, above: &Above) -> Providers {
    let mut providers = Providers::default();
    for (name, section) in root.named("providers") {
        providers.names.push(name.clone());
        let (report, path) = (section.report(), section.path().clone());
        let (provider, missing) = provider(&name, section, vault, above);
        if missing.is_empty() || !provider.keys.is_empty() {
            providers.usable.insert(name, provider);
            continue;
        }
        let message = format!("none of its keys is there; set {}", missing.join(" or "));
        report.note(NoteKind::LeftOut, &path, message);
        providers.left_out.insert(name, missing);
    }
    providers
}

/// The simulated upstream that serves when no provider has a key.
pub(super) fn rehearsal(above: &Above) -> Provider {
    Provider {
        name: REHEARSAL.to_owned(),
        dialect: Dialect::Rehearsal,
        base_url: REHEARSAL_URL.to_owned(),
        keys: Vec::new(),
        headers: Vec::new(),
        max_concurrency: 0,
        auth: AuthScheme::Bearer,
        api_version: None,
        asks_usage: true,
        responses: false,
        ca_file: None,
        breaker: above.breaker.thresholds.clone(),
        when_all_open: above.breaker.when_all_open,
        key_quarantine: above.breaker.key_quarantine,
        probe_every: above.breaker.probe_every(),
        timeouts: above.timeouts.clone(),
        codes: BTreeMap::new(),
        continuations: known::continuations(None, Dialect::Rehearsal, None),
    }
}

/// The provider, and what its missing keys would need.
fn provider(name: &str, mut s: Section<'_>, vault: &Vault<'_>, above: &Above) -> (Provider, Vec<String>) {
    if !is_name(name) {
        s.report().problem(s.path(), "a provider's name has letters, digits, `.`, `_` and `-` only, 64 at most");
    }
    let address = s.optional_text("base_url");
    let known = known::known(name, address.as_deref());
    let dialect = dialect(&mut s, known);
    if name == REHEARSAL && dialect != Dialect::Rehearsal {
        s.problem("dialect", "the name \"rehearsal\" is for the simulated upstream; call this provider something else");
    }
    let by_custom = known.filter(|_| address.is_none() && !s.has("keys")).and_then(Known::key);
    let base_url = base_url(&s, dialect, address.or_else(|| known?.base_url().map(str::to_owned)));
    let (keys, missing) = match by_custom {
        Some(variable) => vault.by_custom(&s, variable),
        None => keys(&mut s, vault),
    };
    if dialect == Dialect::Rehearsal && s.has("keys") && !(keys.is_empty() && missing.is_empty()) {
        s.problem("keys", "the simulated upstream takes no keys; remove them");
    }
    if !keys.is_empty() && url::is_plain_and_remote(&base_url) {
        s.warn("base_url", "is http://, so keys and prompts cross the network unencrypted; use https:// where you can");
    }
    ahead_of_the_code(&mut s);
    let own = s.optional_choice("continuation", known::WAYS);
    s.settle("continuation", own.is_some());
    let continuations = known::continuations(known, dialect, own);
    let breaker = Breaker::read(s.section("breaker"), &above.breaker);
    let provider = Provider {
        name: name.to_owned(),
        dialect,
        base_url,
        keys,
        headers: headers(&mut s),
        max_concurrency: s.whole("max_concurrency", 0, 0..=10_000_000) as usize,
        auth: s.choice("auth", AuthScheme::NAMES, known.and_then(Known::auth).unwrap_or_else(|| usual_auth(dialect))),
        api_version: api_version(&mut s, dialect),
        asks_usage: known.is_none_or(Known::asks_usage),
        responses: responses(&mut s, dialect, known),
        ca_file: ca_file(&mut s, vault),
        when_all_open: breaker.when_all_open,
        key_quarantine: breaker.key_quarantine,
        probe_every: breaker.probe_every(),
        breaker: breaker.thresholds,
        timeouts: health::timeouts(s.section("timeouts"), &above.timeouts),
        codes: codes(&mut s, known),
        continuations,
    };
    (provider, missing)
}

/// How its vendor's own API takes a key.
fn usual_auth(dialect: Dialect) -> AuthScheme {
    match dialect {
        Dialect::OpenAi | Dialect::Rehearsal => AuthScheme::Bearer,
        Dialect::Anthropic | Dialect::Gemini | Dialect::Azure => AuthScheme::ApiKey,
    }
}

fn dialect(s: &mut Section<'_>, known: Option<&Known>) -> Dialect {
    let known = known.map(Known::dialect);
    if !s.has("dialect") && known.is_none() {
        s.missing("dialect", "dialect = \"openai\"");
    }
    let choices = Dialect::ALL.map(|dialect| (dialect.name(), dialect));
    s.optional_choice("dialect", &choices).or(known).unwrap_or(Dialect::OpenAi)
}

/// The address; `text`: as it is written, or as it is known.
fn base_url(s: &Section<'_>, dialect: Dialect, text: Option<String>) -> String {
    match (dialect, text) {
        (Dialect::Rehearsal, None) => REHEARSAL_URL.to_owned(),
        (Dialect::Rehearsal, Some(text)) => {
            if text != REHEARSAL_URL {
                s.problem("base_url", "the simulated upstream has no address; remove it");
            }
            REHEARSAL_URL.to_owned()
        }
        (_, None) => {
            if !s.has("base_url") {
                let example = match dialect {
                    Dialect::Azure => "base_url = \"https://NAME.openai.azure.com\"",
                    _ => "base_url = \"https://api.example.com/v1\"",
                };
                s.missing("base_url", example);
            }
            String::new()
        }
        (_, Some(text)) => match url::base(&text) {
            Ok(url) => url,
            Err(fix) => {
                s.problem("base_url", fix);
                String::new()
            }
        },
    }
}

/// `api_version`, which only Azure has.
fn api_version(s: &mut Section<'_>, dialect: Dialect) -> Option<String> {
    let version = s.optional_text("api_version")?;
    if dialect != Dialect::Azure {
        s.warn("api_version", "belongs to dialect = \"azure\" and has no effect here");
    } else if version.is_empty() || !version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
        s.problem("api_version", "must be one of Azure's API versions, such as \"2024-10-21\"");
    }
    Some(version)
}

/// `responses`, which only those have that speak as OpenAI does.
fn responses(s: &mut Section<'_>, dialect: Dialect, known: Option<&Known>) -> bool {
    let may = matches!(dialect, Dialect::OpenAi | Dialect::Azure);
    let written = s.has("responses");
    let responses = s.flag("responses", may && known.is_some_and(Known::responses));
    if written && responses && !may {
        s.warn("responses", "belongs to dialect = \"openai\" and \"azure\" and has no effect here");
    }
    responses && may
}

/// The key pool, and what the keys that aren't there would need.
fn keys(s: &mut Section<'_>, vault: &Vault<'_>) -> (Vec<ProviderKey>, Vec<String>) {
    let mut keys: Vec<ProviderKey> = Vec::new();
    let mut absent = Vec::new();
    for (i, mut row) in s.rows("keys").unwrap_or_default().into_iter().enumerate() {
        let name = row.optional_text("name");
        let weight = row.whole("weight", 1, 1..=1_000_000) as u32;
        let (rpm, tpm) = (row.whole("rpm", 0, 0..=MOST), row.whole("tpm", 0, 0..=MOST));
        match vault.read(&mut row) {
            Found::Secret(secret, source) => {
                let name = name.or(source).unwrap_or_else(|| format!("key-{}", i + 1));
                if keys.iter().any(|key| key.name == name) {
                    row.problem("name", "another key of this provider has this name; give each its own `name`");
                }
                keys.push(ProviderKey { name, secret, weight, rpm, tpm });
            }
            Found::Absent(what) => {
                absent.push((row.path().clone(), what));
            }
            Found::Bad => {}
        }
    }
    // With no key at all the provider is left out, which is told once and not per key.
    for (path, what) in absent.iter().filter(|_| !keys.is_empty()) {
        s.report().note(NoteKind::LeftOut, path, format!("{what} isn't there, so this key is left out"));
    }
    (keys, absent.into_iter().map(|(_, what)| what).collect())
}

/// Extra headers, their names in lower case. Values are never shown: they may be secrets.
fn headers(s: &mut Section<'_>) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value, path) in s.named_texts("headers") {
        let name = name.to_ascii_lowercase();
        let problem = if !is_token(&name) {
            "is no header name"
        } else if OWN_HEADERS.contains(&name.as_str()) {
            "is set by the gateway itself; remove it (a credential belongs under `keys`)"
        } else if !value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) {
            "its value holds line breaks, control or non-ASCII characters"
        } else if headers.iter().any(|(other, _)| *other == name) {
            "is written twice; header names don't tell upper case from lower"
        } else {
            headers.push((name, value));
            continue;
        };
        s.report().problem(&path, problem);
    }
    headers
}

fn ca_file(s: &mut Section<'_>, vault: &Vault<'_>) -> Option<std::path::PathBuf> {
    let file = vault.locate(&s.optional_text("ca_file")?);
    match vault.reader.read(&file) {
        Err(error) => s.problem("ca_file", format!("can't be read: {}", error.kind())),
        Ok(bytes) if !bytes.windows(PEM.len()).any(|window| window == PEM) => {
            s.problem("ca_file", "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)");
        }
        Ok(bytes) => vault.note(&s.path().key("ca_file"), &bytes),
    }
    Some(file)
}

const PEM: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What the provider's own codes stand for: as it is known, and over that as it is written.
fn codes(s: &mut Section<'_>, known: Option<&Known>) -> BTreeMap<String, String> {
    let mut codes = known.map(Known::codes).cloned().unwrap_or_default();
    for (code, outcome, path) in s.named_texts("codes") {
        check_outcome(s, &outcome, &path);
        codes.insert(code, outcome);
    }
    codes
}

fn check_outcome(s: &Section<'_>, outcome: &str, path: &Path) {
    if !OUTCOMES.contains(&outcome) {
        let message = format!("must be one of \"{}\"{}", OUTCOMES.join("\", \""), did_you_mean(outcome, OUTCOMES));
        s.report().problem(path, message);
    }
}

/// Keys whose feature comes later: checked, not kept.
fn ahead_of_the_code(s: &mut Section<'_>) {
    s.flag("http2", false);
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// RFC 9110's token: what a header may be called.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
