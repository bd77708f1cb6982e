//! `settings/providers.toml`: what is known of vendors and servers, by host or by name, and of how models go on with a
//! half-said answer. Compiled in, so that it also holds with `--settings`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::types::{AuthScheme, Continuation, Continuations, Dialect};
use super::url;
use crate::access::glob_matches;
use crate::stream::Way;

const TEXT: &str = include_str!("../../settings/providers.toml");

static TABLE: LazyLock<Table> = LazyLock::new(|| toml::from_str(TEXT).expect("the compiled-in table parses: a test loads it"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    known: Vec<Known>,
    continuation: Vec<Row>,
}

/// A vendor, or a kind of server that anyone may run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    name: String,
    /// A glob; None: by its name alone.
    host: Option<String>,
    dialect: String,
    base_url: Option<String>,
    key: Option<String>,
    auth: Option<String>,
    #[serde(default)]
    codes: BTreeMap<String, String>,
    #[serde(default = "yes")]
    asks_usage: bool,
    #[serde(default)]
    responses: bool,
    #[serde(default)]
    continuation: Vec<Row>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    dialect: Option<String>,
    #[serde(default)]
    models: Vec<String>,
    way: String,
    path: Option<String>,
}

impl Row {
    fn read(&self) -> Continuation {
        let way = WAYS.iter().find(|(name, _)| *name == self.way).and_then(|(_, way)| *way);
        Continuation { models: self.models.clone(), way, path: self.path.clone() }
    }
}

/// The row of a provider: by its address's host, and where it says no address or one that anybody may have, by its name.
pub(super) fn known(name: &str, base_url: Option<&str>) -> Option<&'static Known> {
    let host = base_url.map(|base_url| url::host(base_url).unwrap_or_default());
    TABLE.known.iter().find(|row| match (&row.host, host) {
        (Some(known), Some(host)) => glob_matches(known, host),
        (Some(_), None) | (None, _) => row.name == name,
    })
}

impl Known {
    /// What it speaks.
    pub(super) fn dialect(&self) -> Dialect {
        Dialect::ALL.into_iter().find(|dialect| dialect.name() == self.dialect).unwrap_or(Dialect::OpenAi)
    }

    /// Where it is, where that is the same for everybody.
    pub(super) fn base_url(&self) -> Option<&str> {
        self.base_url.as_deref()
    }

    /// The variable that holds its key by custom.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// How it takes a key, where that isn't its dialect's own way.
    pub(super) fn auth(&self) -> Option<AuthScheme> {
        let name = self.auth.as_deref()?;
        AuthScheme::NAMES.iter().find(|(known, _)| *known == name).map(|(_, scheme)| *scheme)
    }

    /// What its own codes stand for.
    pub(super) fn codes(&self) -> &BTreeMap<String, String> {
        &self.codes
    }

    /// Whether it speaks Responses itself.
    pub(super) fn responses(&self) -> bool {
        self.responses
    }

    /// Whether it takes the question for a stream's usage.
    pub(super) fn asks_usage(&self) -> bool {
        self.asks_usage
    }
}

/// The ways as settings write them.
pub(super) const WAYS: &[(&str, Option<Way>)] = &[
    ("none", None),
    ("prefill", Some(Way::Prefill)),
    ("prefix", Some(Way::Prefix)),
    ("vllm", Some(Way::Vllm)),
    ("quote", Some(Way::Quote)),
    ("splice", Some(Way::Splice)),
];

/// How a provider's models go on: what is known of it and then of its dialect, under what its own settings say.
pub(super) fn continuations(known: Option<&Known>, dialect: Dialect, own: Option<Option<Way>>) -> Continuations {
    let of_dialect = |row: &&Row| row.dialect.as_deref() == Some(dialect.name());
    let rows = known.into_iter().flat_map(|known| &known.continuation);
    let rows = rows.chain(TABLE.continuation.iter().filter(of_dialect)).map(Row::read);
    Continuations { own, rows: rows.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::provider::OUTCOMES;
    use crate::stream::Way::{Prefill, Prefix, Quote, Splice, Vllm};

    fn of(host: &str, own: Option<Option<Way>>) -> Continuations {
        continuations(known("p", Some(&format!("https://{host}/v1"))), Dialect::OpenAi, own)
    }

    fn way(host: &str, model: &str) -> (Option<Way>, Option<String>) {
        let known = of(host, None);
        let (way, path) = known.of(model);
        (way, path.map(str::to_owned))
    }

    #[test]
    fn each_row_says_what_the_code_can_read() {
        let mut names = std::collections::BTreeSet::new();
        for row in &TABLE.known {
            let name = &row.name;
            assert!(names.insert(name.as_str()), "{name} twice");
            assert_eq!(row.dialect().name(), row.dialect, "{name}");
            assert!(row.auth.is_none() || row.auth().is_some(), "{name}: auth");
            assert!(row.codes.values().all(|outcome| OUTCOMES.contains(&outcome.as_str())), "{name}: {:?}", row.codes);
            assert!(row.codes.keys().all(|code| !code.is_empty()), "{name}");
            assert!(row.key.as_deref().is_none_or(|key| key.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')), "{name}: key");
            match (&row.base_url, &row.host) {
                (Some(base_url), Some(host)) => {
                    assert_eq!(url::base(base_url).as_deref(), Ok(base_url.as_str()), "{name}");
                    assert!(glob_matches(host, url::host(base_url).unwrap()), "{name} isn't at its own host");
                    assert!(base_url.starts_with("https://"), "{name}");
                }
                (Some(base_url), None) => assert!(url::base(base_url).is_ok() && !url::is_plain_and_remote(base_url), "{name}"),
                (None, Some(_)) => assert_eq!(row.dialect(), Dialect::Azure, "{name} has an address for each customer"),
                (None, None) => panic!("{name} is nowhere"),
            }
            let found = known(name, row.base_url()).map(|row| &row.name);
            assert_eq!((found, known(name, None).map(|row| &row.name)), (Some(name), Some(name)), "another row comes first");
        }
        let vendors = ["openai", "anthropic", "google", "azure", "deepseek", "mistral", "groq", "together", "fireworks", "xai"];
        let others = ["openrouter", "cerebras", "perplexity", "cohere", "ollama", "vllm", "llama-cpp", "lm-studio", "tgi", "litellm"];
        assert_eq!(names, vendors.into_iter().chain(others).collect());
        for row in TABLE.continuation.iter().chain(TABLE.known.iter().flat_map(|known| &known.continuation)) {
            assert!(WAYS.iter().any(|(name, _)| *name == row.way), "{row:?}");
        }
        assert!(TABLE.continuation.iter().all(|row| row.dialect.is_some()));
        assert!(TABLE.known.iter().flat_map(|known| &known.continuation).all(|row| row.dialect.is_none()));
    }

    #[test]
    fn a_row_is_found_by_host_and_a_server_of_ones_own_by_name() {
        let name = |name, base_url| known(name, base_url).map(|row| row.name.as_str());
        assert_eq!(name("mine", Some("https://api.groq.com/openai/v1")), Some("groq"));
        assert_eq!(name("mine", Some("https://west.openai.azure.com")), Some("azure"));
        assert_eq!(name("mine", Some("https://api.together.ai/v1")), Some("together"));
        assert_eq!(name("groq", Some("http://127.0.0.1:9/v1")), None, "somebody else's");
        assert_eq!((name("vllm", Some("http://10.0.0.5:8000/v1")), name("vllm", None)), (Some("vllm"), Some("vllm")));
        assert_eq!((name("mine", None), name("mine", Some("http://127.0.0.1:9/v1"))), (None, None));
    }

    #[test]
    fn the_table_says_how_each_goes_on() {
        for model in
            ["claude-sonnet-4-5-20250929", "claude-opus-4-5", "claude-3-5-haiku-latest", "claude-sonnet-4-20250514", "claude-opus-4-1"]
        {
            assert_eq!(way("api.anthropic.com", model), (Some(Prefill), None), "{model}");
        }
        for model in ["claude-opus-4-6", "claude-sonnet-5-5", "claude-haiku-5-5"] {
            assert_eq!(way("api.anthropic.com", model), (Some(Quote), None), "{model}");
        }
        assert_eq!(way("api.deepseek.com", "deepseek-flash"), (Some(Prefix), Some("/beta".into())));
        assert_eq!(way("api.mistral.ai", "any"), (Some(Prefix), None));
        let google = "generativelanguage.googleapis.com";
        assert_eq!((way(google, "gemini-3.5-flash").0, way(google, "gemini-3.8-flash").0), (Some(Prefill), Some(Splice)));
        assert_eq!((way("api.openai.com", "gpt-4o").0, way("127.0.0.1:8080", "llama").0), (Some(Splice), Some(Splice)));
        assert_eq!(continuations(known("vllm", None), Dialect::OpenAi, None).of("any"), (Some(Vllm), None));
        assert_eq!(continuations(None, Dialect::Rehearsal, None).of("any"), (Some(Prefill), None));
        let elsewhere = continuations(None, Dialect::Anthropic, None);
        assert_eq!((elsewhere.of("us.claude-opus-4-1").0, elsewhere.of("claude-opus-5").0), (Some(Prefill), Some(Quote)));
    }

    #[test]
    fn a_providers_own_word_wins() {
        let own = |way| of("api.deepseek.com", Some(way));
        assert_eq!(own(None).of("deepseek-flash"), (None, None));
        assert_eq!(own(Some(Splice)).of("deepseek-flash"), (Some(Splice), None), "a row's path is for its own way");
        assert_eq!(own(Some(Prefix)).of("deepseek-flash"), (Some(Prefix), Some("/beta")));
    }
}
