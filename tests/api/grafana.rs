//! The dashboard and the alert rules under docs/grafana ask for nothing that /metrics doesn't have: every metric, label and value
//! that they name is in a scrape.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stagedoor::telemetry::names;

use super::metrics_moved::{Scrape, traffic};

const DASHBOARD: &str = include_str!("../../docs/grafana/stagedoor.json");
const RULES: &str = include_str!("../../docs/grafana/alerts.yml");

/// What Prometheus itself adds to each series.
const ADDED: [&str; 2] = ["instance", "job"];

/// What an expression asks of a metric: labels, and values that they must have one of.
#[derive(Debug)]
struct Asked {
    metric: String,
    matchers: Vec<(String, Vec<String>)>,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The metrics of an expression with their matchers.
fn asked(expr: &str) -> Vec<Asked> {
    let mut found = Vec::new();
    for (at, _) in expr.match_indices("stagedoor_").chain(expr.match_indices("process_")) {
        if expr[..at].ends_with(is_word) {
            continue;
        }
        let rest = &expr[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (metric, rest) = rest.split_at(end);
        let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let matchers = inside.split(',').filter_map(|matcher| {
            let (label, value) = matcher.split_once(['=', '!'])?;
            let value = value.trim_start_matches(['=', '~']).trim_matches('"');
            // A variable's, a pattern's, and what must not be.
            let open = value.contains(['$', '.']) || matcher.contains('!');
            let values = if open { Vec::new() } else { value.split('|').map(str::to_owned).collect() };
            Some((label.to_owned(), values))
        });
        found.push(Asked { metric: metric.to_owned(), matchers: matchers.collect() });
    }
    found
}

/// The labels that an expression, or its legend, sorts by.
fn grouped(expr: &str) -> Vec<String> {
    let groups = expr.match_indices("by (").filter_map(|(at, by)| expr[at + by.len()..].split_once(')'));
    groups.flat_map(|(inside, _)| inside.split(',').map(|label| label.trim().to_owned())).collect()
}

/// Each label in `{{ }}`, which legends name plainly and annotations as `$labels.NAME`.
fn templated(text: &str, prefix: &str) -> Vec<String> {
    let parts = text.split("{{").skip(1).filter_map(|part| part.split_once("}}"));
    parts.filter_map(|(inside, _)| inside.trim().strip_prefix(prefix)).map(str::to_owned).collect()
}

/// Each metric's labels with the values that they have.
fn labels(scrape: &Scrape) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut all: BTreeMap<_, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for series in scrape.series.keys() {
        let (metric, inside) = series.split_once('{').unwrap_or((series, "}"));
        let own = all.entry(metric.to_owned()).or_default();
        for (label, value) in inside.trim_end_matches('}').split("\",").filter_map(|pair| pair.split_once("=\"")) {
            own.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
        }
    }
    all
}

/// What an expression names that isn't there. `shown`: labels that its legend or text names.
fn missing(expr: &str, shown: &[String], there: &BTreeMap<String, BTreeMap<String, BTreeSet<String>>>) -> Vec<String> {
    let (mut missing, mut known) = (Vec::new(), BTreeSet::new());
    for Asked { metric, matchers } in asked(expr) {
        let Some(labels) = there.get(&metric) else {
            missing.push(metric);
            continue;
        };
        known.extend(labels.keys().cloned());
        for (label, values) in matchers {
            let Some(has) = labels.get(&label) else {
                missing.push(format!("{metric}{{{label}}}"));
                continue;
            };
            // Kinds of errors come as they happen; all others' values are there from the start.
            let late = label == "kind" && metric == "stagedoor_errors_total";
            missing
                .extend(values.iter().filter(|value| !late && !has.contains(*value)).map(|value| format!("{metric}{{{label}={value}}}")));
        }
    }
    let groups = grouped(expr);
    let named = groups.iter().chain(shown).filter(|label| !known.contains(*label) && !ADDED.contains(&label.as_str()));
    missing.extend(named.map(|label| format!("{label} of none of its metrics")));
    missing.extend(
        shown.iter().filter(|label| !groups.is_empty() && !groups.contains(label)).map(|label| format!("{label} isn't grouped by")),
    );
    missing
}

#[test]
fn the_dashboard_and_the_alerts_name_only_what_is_in_a_scrape() {
    let there = labels(&traffic(&mut BTreeSet::new()));
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut wrong = Vec::new();
    let mut all = String::new();
    for target in targets {
        let expr = target["expr"].as_str().unwrap();
        all.push_str(expr);
        let shown = templated(target["legendFormat"].as_str().unwrap(), "");
        wrong.extend(missing(expr, &shown, &there).into_iter().map(|what| format!("{expr}: {what}")));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            let (metric, label) = query.strip_prefix("label_values(").unwrap().trim_end_matches(')').split_once(", ").unwrap();
            assert!(there[metric].contains_key(label), "{query}");
        }
    }
    let rules: Vec<&str> = RULES.split("- alert: ").skip(1).collect();
    assert!(rules.len() > 10);
    for rule in rules {
        let line = |key: &str| rule.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key} in {rule}"));
        let expr = line("expr: ").trim_matches('\'');
        assert!(["page", "ticket"].contains(&line("severity: ")) && line("for: ").ends_with('m'), "{rule}");
        let shown = templated(line("summary: "), "$labels.");
        wrong.extend(missing(expr, &shown, &there).into_iter().map(|what| format!("{expr}: {what}")));
        assert!(!line("description: ").is_empty());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unseen: Vec<_> = names::ALL.iter().filter(|name| name.name.starts_with("stagedoor_") && !all.contains(name.name)).collect();
    assert!(unseen.is_empty(), "on no panel: {unseen:#?}");
}

#[test]
fn what_is_not_there_is_found() {
    let there = BTreeMap::from([(
        "stagedoor_x_total".to_owned(),
        BTreeMap::from([("kind".to_owned(), BTreeSet::from(["a".to_owned(), "b".to_owned()]))]),
    )]);
    let none: [String; 0] = [];
    let all = |expr: &str| missing(expr, &[], &there);
    assert_eq!(all("sum by (kind) (rate(stagedoor_x_total{kind=~\"a|b\"}[5m]))"), none);
    assert_eq!(all("rate(stagedoor_y_total[5m])"), ["stagedoor_y_total"]);
    assert_eq!(all("stagedoor_x_total{kind=\"c\"}"), ["stagedoor_x_total{kind=c}"]);
    assert_eq!(all("stagedoor_x_total{sort=\"a\"}"), ["stagedoor_x_total{sort}"]);
    assert_eq!(all("sum by (sort) (stagedoor_x_total)"), ["sort of none of its metrics"]);
    let shown = templated("of {{ $labels.kind }}", "$labels.");
    assert_eq!(missing("sum by (le) (stagedoor_x_total)", &shown, &there).len(), 2);
}
