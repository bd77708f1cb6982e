//! `[models.X]`: a public name, who can serve it, and which other names stand in for it.

use super::cache;
use super::health;
use super::path::Path;
use super::raw::{MOST, Report, Section, did_you_mean};
use super::stream;
use super::types::{Caching, Model, Retry, Strategy, Streaming, Target};
use crate::base::{Rates, nanos};

/// What a target may declare that it can do.
const CAPABILITIES: &[&str] = &["tools", "vision", "json_schema", "audio"];

/// What the settings around a model's row say.
pub(super) struct Around<'a> {
    pub(super) providers: &'a [String],
    pub(super) models: &'a [String],
    pub(super) retry: &'a Retry,
    pub(super) streaming: &'a Streaming,
    pub(super) caching: &'a Caching,
}

/// One of `[models]`.
pub(super) fn model(name: &str, mut s: Section<'_>, around: &Around<'_>) -> Model {
    check_name(name, s.report(), s.path());
    let strategy = s.choice("strategy", &Strategy::NAMES, Strategy::Healthiest);
    let targets = targets(&mut s, name, around.providers);
    if strategy == Strategy::Ordered && targets.iter().any(|target| target.weight != 1) {
        s.warn("targets", "`weight` has no effect where strategy = \"ordered\": they are tried as written");
    }
    let failover = failover(&mut s, name, around.models);
    let caching = cache::read(s.section("cache"), around.caching);
    if cache::is_idle(&caching, around.caching) {
        s.warn("cache", cache::IDLE);
    }
    Model {
        name: name.to_owned(),
        strategy,
        targets,
        failover,
        context_window: s.optional_whole("context_window", 1..=MOST),
        timeouts: health::timeout_overrides(s.section("timeouts")),
        retry: health::retry(s.section("retry"), around.retry),
        streaming: stream::read(s.section("stream"), around.streaming),
        caching,
    }
}

/// Whether a model may be called so: 1 to 256 printable characters, no blanks, none that turns the direction of text or has no
/// width.
pub fn is_model_name(name: &str) -> bool {
    let unseen = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    (1..=256).contains(&name.len()) && !name.chars().any(|c| c.is_whitespace() || c.is_control() || unseen(c))
}

fn check_name(name: &str, report: &Report, path: &Path) {
    if !is_model_name(name) {
        report.problem(path, "a model's name has 1 to 256 printable characters and no blanks");
    }
    if name.strip_suffix('*').unwrap_or(name).contains('*') {
        report.problem(path, "a wildcard row has one `*`, at its end, such as \"openai/*\"");
    }
}

fn targets(s: &mut Section<'_>, model: &str, providers: &[String]) -> Vec<Target> {
    if !s.has("targets") {
        s.missing("targets", "targets = [{ provider = \"…\", model = \"…\" }]");
    }
    let Some(rows) = s.rows("targets") else { return Vec::new() };
    if rows.is_empty() {
        s.problem("targets", "is empty, so nothing can serve the model; add { provider = \"…\", model = \"…\" }");
    }
    let mut targets: Vec<Target> = Vec::new();
    for mut row in rows {
        let target = target(&mut row, model, providers);
        if targets.iter().any(|t| t.provider == target.provider && t.model == target.model) {
            let message = "is written twice; use `weight` to give it a larger share";
            row.report().problem(row.path(), message);
        }
        targets.push(target);
    }
    targets
}

fn target(row: &mut Section<'_>, model: &str, providers: &[String]) -> Target {
    let provider = required_text(row, "provider", "provider = \"openai\"");
    if !provider.is_empty() && !providers.contains(&provider) {
        let guess = did_you_mean(&provider, providers);
        row.problem("provider", format!("there is no [providers.{provider:?}]{guess}"));
    }
    let upstream = required_text(row, "model", "model = \"gpt-4o\"");
    if upstream.contains('*') && !(upstream == "*" && model.ends_with('*')) {
        row.problem("model", "`*` alone stands for what a wildcard row matched, and this row is none, or it is more than `*`");
    }
    let weight = row.whole("weight", 1, 1..=1_000_000) as u32;
    let price = row.optional_section("price").and_then(price);
    Target { provider, model: upstream, weight, price, capabilities: capabilities(row) }
}

fn required_text(row: &mut Section<'_>, key: &'static str, example: &str) -> String {
    let text = row.optional_text(key);
    if !row.has(key) {
        row.missing(key, example);
    } else if text.as_deref() == Some("") {
        row.problem(key, format!("is empty; write {example}"));
    }
    text.unwrap_or_default()
}

/// USD per million tokens. A class that is left out costs the same as what it is a part of.
fn price(mut s: Section<'_>) -> Option<Rates> {
    const MOST_USD: f64 = 1e9;
    let mut class = |name| s.optional_number(name, 0.0..=MOST_USD).and_then(nanos);
    let (cached, cache_write, reasoning) = (class("cached"), class("cache_write"), class("reasoning"));
    let (input, output) = (class("input"), class("output"));
    for key in ["input", "output"] {
        if !s.has(key) {
            s.missing(key, "both, in USD per million tokens: price = { input = 2.5, output = 10.0 }");
        }
    }
    let rates = Rates::new(input?, output?);
    Some(Rates {
        cached: cached.unwrap_or(rates.cached),
        cache_write: cache_write.unwrap_or(rates.cache_write),
        reasoning: reasoning.unwrap_or(rates.reasoning),
        ..rates
    })
}

fn capabilities(row: &mut Section<'_>) -> Option<Vec<String>> {
    let declared = row.optional_texts("capabilities")?;
    for name in declared.iter().filter(|name| !CAPABILITIES.contains(&name.as_str())) {
        let guess = did_you_mean(name, CAPABILITIES);
        row.problem("capabilities", format!("each must be one of \"{}\"{guess}", CAPABILITIES.join("\", \"")));
    }
    Some(declared)
}

/// The chain, flat as written: a failover of a failover is not followed, so the only loop is a model that names itself.
fn failover(s: &mut Section<'_>, model: &str, models: &[String]) -> Vec<String> {
    let chain = s.texts("failover", &[]);
    for (i, name) in chain.iter().enumerate() {
        let problem = if name == model {
            "loops: a model can't fail over to itself; remove its own name".to_owned()
        } else if chain[..i].contains(name) {
            format!("names {name:?} twice; once is enough")
        } else if name.contains('*') {
            format!("names the wildcard {name:?}; name one model")
        } else if !models.contains(name) {
            format!("there is no [models.{name:?}]{}", did_you_mean(name, models))
        } else {
            continue;
        };
        s.problem("failover", problem);
    }
    chain
}
