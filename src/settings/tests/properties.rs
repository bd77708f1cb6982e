//! Whatever is written, reading it ends in settings or in mistakes, never in a panic, and twice the same.

use proptest::prelude::*;

use super::{Bench, Source, load};

/// Words of the schema, so that random trees reach its depths, and some that aren't.
const WORDS: &[&str] = &[
    "server",
    "port",
    "host",
    "tls",
    "auth",
    "mode",
    "keys",
    "key",
    "env",
    "file",
    "value",
    "name",
    "models",
    "admin",
    "listen",
    "breaker",
    "window",
    "open_for",
    "open_for_max",
    "probe",
    "timeouts",
    "idle",
    "retry",
    "attempts",
    "hedge",
    "stream",
    "hold",
    "cache",
    "ttl",
    "store",
    "url",
    "shared",
    "telemetry",
    "log",
    "providers",
    "dialect",
    "base_url",
    "headers",
    "codes",
    "weight",
    "targets",
    "provider",
    "model",
    "price",
    "input",
    "failover",
    "strategy",
    "budget",
    "usd",
    "openai",
    "a.b",
    "x[9]",
    "",
    "é *",
];

fn scalar() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(WORDS).prop_map(|word| format!("{word:?}"));
    let plain =
        proptest::sample::select(vec!["0", "-1", "5.7", "true", "nan", "inf", "\"2s\"", "\"0s\"", "\"1MiB\"", "9223372036854775807"]);
    prop_oneof![word, plain.prop_map(str::to_owned), any::<i64>().prop_map(|n| n.to_string())]
}

fn tree() -> impl Strategy<Value = String> {
    scalar().prop_recursive(5, 64, 6, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", ")));
        let pairs = proptest::collection::btree_map(proptest::sample::select(WORDS), inner, 0..6);
        let table = pairs.prop_map(|t| format!("{{ {} }}", t.iter().map(|(k, v)| format!("{k:?} = {v}")).collect::<Vec<_>>().join(", ")));
        prop_oneof![list, table]
    })
}

fn shown(source: &Source) -> String {
    match load(source) {
        Ok(settings) => format!("{settings:?}"),
        Err(invalid) => {
            assert!(!invalid.problems.is_empty());
            assert!(invalid.problems.iter().all(|p| !p.path.contains('\n')), "{invalid}");
            invalid.to_string()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_trees_never_panic(tables in proptest::collection::btree_map(proptest::sample::select(WORDS), tree(), 0..8)) {
        let text: String = tables.iter().map(|(key, value)| format!("{key:?} = {value}\n")).collect();
        let bench = Bench::alone(&text);
        prop_assert_eq!(shown(&bench.source), shown(&bench.source));
    }

    #[test]
    fn random_text_never_panics(text in "(?s).{0,200}") {
        shown(&Bench::alone(&text).source);
    }

    #[test]
    fn random_variables_never_panic(
        names in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(WORDS), 1..5), 0..6),
        value in tree(),
    ) {
        let bench = names.iter().fold(Bench::new(), |bench, parts| bench.env(&format!("STAGEDOOR__{}", parts.join("__")).to_uppercase(), &value));
        prop_assert_eq!(shown(&bench.source), shown(&bench.source));
    }
}
