//! Other thresholds than those in force: as `--set` names them, as a search tries them, as the settings take them.

use std::fmt::Write as _;

use super::house::Rule;
use super::scene::Scene;
use super::thresholds;
use crate::health::Thresholds;
use crate::routing::WhenAllOpen;

/// One setting with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The one provider that it is for; None: all.
    pub provider: Option<String>,
    /// A key of `[breaker]`.
    pub key: String,
    /// Its value as the settings would write it, without quotes.
    pub value: String,
}

/// The key that is no threshold.
const WHEN_ALL_OPEN: &str = "when_all_open";

impl Change {
    /// From `breaker.open_for=5s` or `providers.X.breaker.open_for=5s`.
    ///
    /// # Errors
    /// In words, where it is none of these or its value can't be.
    pub fn read(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not of the form breaker.KEY=VALUE or providers.NAME.breaker.KEY=VALUE");
        let (path, value) = text.split_once('=').ok_or_else(form)?;
        let (provider, key) = match path.strip_prefix("providers.") {
            Some(rest) => rest.rsplit_once(".breaker.").map(|(name, key)| (Some(name.to_owned()), key)).ok_or_else(form)?,
            None => (None, path.strip_prefix("breaker.").ok_or_else(form)?),
        };
        let change = Self { provider, key: key.to_owned(), value: value.trim_matches('"').to_owned() };
        let mut rule = Rule { thresholds: Thresholds::default(), when_all_open: WhenAllOpen::LeastBad };
        change.apply(&mut rule).map(|()| change)
    }

    fn apply(&self, rule: &mut Rule) -> Result<(), String> {
        let Self { key, value, .. } = self;
        if key == WHEN_ALL_OPEN {
            rule.when_all_open = WhenAllOpen::named(value).ok_or_else(|| format!("{key} is \"least_bad\" or \"refuse\", not {value:?}"))?;
            return Ok(());
        }
        if !thresholds::KEYS.contains(&key.as_str()) {
            return Err(format!(
                "{key} is none of breaker's keys that a replay can change: {}, {WHEN_ALL_OPEN}",
                thresholds::KEYS.join(", ")
            ));
        }
        let set = thresholds::set(&mut rule.thresholds, key, value);
        set.filter(|()| thresholds::valid(&rule.thresholds)).ok_or_else(|| format!("{key} can't be {value:?}"))
    }
}

/// The rules with the changes made. Those of one provider come after those of all.
///
/// # Errors
/// In words, where a provider isn't on record or its times contradict each other.
pub fn changed(scene: &Scene, rules: &[Rule], changes: &[Change]) -> Result<Vec<Rule>, String> {
    let names: Vec<&str> = scene.providers.iter().map(|provider| &*provider.name).collect();
    if let Some(name) = changes.iter().filter_map(|change| change.provider.as_deref()).find(|name| !names.contains(name)) {
        return Err(format!("no provider {name:?} is on record; there are {}", names.join(", ")));
    }
    let mut rules = rules.to_vec();
    for (name, rule) in names.iter().zip(&mut rules) {
        let own = |change: &&Change| change.provider.as_deref() == Some(*name);
        let all = changes.iter().filter(|change| change.provider.is_none());
        all.chain(changes.iter().filter(own)).try_for_each(|change| change.apply(rule))?;
        if !is_consistent(rule) {
            return Err(format!("open_for_max of {name} would be shorter than its open_for; set both"));
        }
    }
    Ok(rules)
}

/// Whether the settings would take it.
pub(super) fn is_consistent(rule: &Rule) -> bool {
    rule.thresholds.open_for_max >= rule.thresholds.open_for
}

/// The changes as lines for the settings. What the providers don't have in common is set for each.
pub fn settings_lines(scene: &Scene, rules: &[Rule], changes: &[Change]) -> String {
    let common = |key: &str| rules.iter().all(|rule| value_of(rule, key) == rules.first().and_then(|first| value_of(first, key)));
    let mut lines = String::new();
    let mut table = |name: String, own: Vec<&Change>| {
        if own.is_empty() {
            return;
        }
        // Writing to a String can't fail.
        let _ = writeln!(lines, "[{name}]");
        for Change { key, value, .. } in own {
            let quoted = value.parse::<f64>().is_err();
            let _ = if quoted { writeln!(lines, "{key} = \"{value}\"") } else { writeln!(lines, "{key} = {value}") };
        }
    };
    table("breaker".to_owned(), changes.iter().filter(|change| change.provider.is_none() && common(&change.key)).collect());
    for provider in &scene.providers {
        let own = |change: &&Change| change.provider.as_deref().map_or(!common(&change.key), |name| name == &*provider.name);
        let name = &provider.name;
        let name = if name.contains('.') { format!("\"{name}\"") } else { name.to_string() };
        table(format!("providers.{name}.breaker"), changes.iter().filter(own).collect());
    }
    lines
}

fn value_of(rule: &Rule, key: &str) -> Option<String> {
    if key == WHEN_ALL_OPEN {
        return Some(rule.when_all_open.name().to_owned());
    }
    thresholds::pairs(&rule.thresholds).into_iter().find(|(known, _)| *known == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tuning::SceneProvider;

    fn scene(names: &[&str]) -> (Scene, Vec<Rule>) {
        let provider = |name: &&str| SceneProvider {
            name: (*name).into(),
            thresholds: None,
            when_all_open: WhenAllOpen::LeastBad,
            targets: Vec::new(),
        };
        let rule = Rule { thresholds: Thresholds::default(), when_all_open: WhenAllOpen::LeastBad };
        let mut scene = Scene::default();
        scene.providers = names.iter().map(provider).collect();
        (scene, vec![rule; names.len()])
    }

    fn read(texts: &[&str]) -> Vec<Change> {
        texts.iter().map(|text| Change::read(text).unwrap()).collect()
    }

    #[test]
    fn a_change_is_for_all_or_for_one() {
        let (scene, rules) = scene(&["a", "b.c"]);
        let changes =
            read(&["providers.b.c.breaker.open_for=3s", "breaker.open_for=5s", "breaker.when_all_open=refuse", "breaker.ramp=0s"]);
        let rules = changed(&scene, &rules, &changes).unwrap();
        assert_eq!((rules[0].thresholds.open_for, rules[1].thresholds.open_for), (Duration::from_secs(5), Duration::from_secs(3)));
        assert_eq!((rules[1].when_all_open, rules[1].thresholds.ramp), (WhenAllOpen::Refuse, Duration::ZERO));
    }

    #[test]
    fn what_the_settings_would_refuse_is_refused() {
        for (text, part) in [
            ("open_for=5s", "form"),
            ("breaker.open_for", "form"),
            ("providers.a.open_for=5s", "form"),
            ("breaker.open_for=5", "can't be"),
            ("breaker.open_for=0s", "can't be"),
            ("breaker.failure_ratio=0", "can't be"),
            ("breaker.failure_ratio=NaN", "can't be"),
            ("breaker.failure_ratio=1.5", "can't be"),
            ("breaker.consecutive_failures=0", "can't be"),
            ("breaker.half_open_probes=99999", "can't be"),
            ("breaker.key_quarantine=5s", "none of breaker's keys"),
            ("breaker.when_all_open=hope", "least_bad"),
        ] {
            let told = Change::read(text).unwrap_err();
            assert!(told.contains(part), "{text}: {told}");
        }
        let (scene, rules) = scene(&["a"]);
        assert!(changed(&scene, &rules, &read(&["breaker.open_for=30s"])).unwrap_err().contains("set both"));
        assert!(changed(&scene, &rules, &read(&["providers.z.breaker.ramp=1s"])).unwrap_err().contains("there are a"));
        assert!(changed(&scene, &rules, &read(&["breaker.open_for=30s", "breaker.open_for_max=1m"])).is_ok());
    }

    #[test]
    fn the_lines_are_for_all_where_all_are_alike() {
        let (scene, mut rules) = scene(&["a", "b.c"]);
        let changes = read(&["breaker.open_for=5s", "breaker.close_after=1", "providers.a.breaker.ramp=1s"]);
        assert_eq!(
            settings_lines(&scene, &rules, &changes),
            "[breaker]\nopen_for = \"5s\"\nclose_after = 1\n[providers.a.breaker]\nramp = \"1s\"\n"
        );
        rules[1].thresholds.close_after = 3;
        assert_eq!(
            settings_lines(&scene, &rules, &changes[..2]),
            "[breaker]\nopen_for = \"5s\"\n[providers.a.breaker]\nclose_after = 1\n[providers.\"b.c\".breaker]\nclose_after = 1\n"
        );
        assert_eq!(settings_lines(&scene, &rules, &[]), "");
    }
}
