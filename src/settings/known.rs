//! `settings/providers.toml`: what is known of providers by their host and their models. Compiled in, so that it also holds
//! with `--settings`.

use std::sync::LazyLock;

use serde::Deserialize;

use super::types::{Continuation, Continuations, Dialect};
use super::url;
use crate::stream::Way;

const TEXT: &str = include_str!("../../settings/providers.toml");

static TABLE: LazyLock<Table> = LazyLock::new(|| toml::from_str(TEXT).expect("the compiled-in table parses: a test loads it"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    continuation: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    host: Option<String>,
    dialect: Option<String>,
    #[serde(default)]
    models: Vec<String>,
    way: String,
    path: Option<String>,
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

/// How a provider's models go on: the table's rows for its host and dialect, under what its own settings say.
pub(super) fn continuations(dialect: Dialect, base_url: &str, own: Option<Option<Way>>) -> Continuations {
    let (host, dialect) = (url::host(base_url), dialect.name());
    let fits = |row: &&Row| {
        row.host.as_deref().is_none_or(|known| Some(known) == host) && row.dialect.as_deref().is_none_or(|known| known == dialect)
    };
    let rows = TABLE.continuation.iter().filter(fits).map(|row| Continuation {
        models: row.models.clone(),
        way: WAYS.iter().find(|(name, _)| *name == row.way).and_then(|(_, way)| *way),
        path: row.path.clone(),
    });
    Continuations { own, rows: rows.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Way::{Prefill, Prefix, Quote, Splice};

    fn way(host: &str, model: &str) -> (Option<Way>, Option<String>) {
        let known = continuations(Dialect::OpenAi, &format!("https://{host}/v1"), None);
        let (way, path) = known.of(model);
        (way, path.map(str::to_owned))
    }

    #[test]
    fn the_table_is_valid_and_says_how_each_goes_on() {
        for row in &TABLE.continuation {
            assert!(WAYS.iter().any(|(name, _)| *name == row.way), "{row:?}");
            assert!(row.host.is_some() || row.dialect.is_some(), "{row:?}");
        }
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
        assert_eq!(continuations(Dialect::Rehearsal, "rehearsal://", None).of("any"), (Some(Prefill), None));
    }

    #[test]
    fn a_providers_own_word_wins() {
        let own = |way| continuations(Dialect::OpenAi, "https://api.deepseek.com", Some(way));
        assert_eq!(own(None).of("deepseek-flash"), (None, None));
        assert_eq!(own(Some(Splice)).of("deepseek-flash"), (Some(Splice), None), "a row's path is for its own way");
        assert_eq!(own(Some(Prefix)).of("deepseek-flash"), (Some(Prefix), Some("/beta")));
    }
}
