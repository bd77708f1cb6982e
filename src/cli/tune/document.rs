//! The report as one JSON document.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Report, Variant};
use crate::base::Moment;
use crate::health::State;
use crate::tuning::{ProviderFigures, Times, settings_lines};

/// All of it.
pub(super) fn of(report: &Report) -> Value {
    let (record, scene) = (&report.record, &report.scene);
    let replay = report.checked.as_ref().map(|checked| {
        let sum = |part: fn(&crate::tuning::Checked) -> usize| checked.iter().map(part).sum::<usize>();
        let differences: Vec<_> = checked.iter().flat_map(|checked| &checked.differences).collect();
        json!({
            "same": sum(|checked| checked.same),
            "different": sum(|checked| checked.different),
            "unchecked": sum(|checked| checked.unchecked),
            "differences": differences,
        })
    });
    let lines = record.lines;
    json!({
        "lines": { "used": lines.used, "other": lines.other, "unreadable": lines.bad, "left_out": lines.beyond },
        "from": time(report, Moment::from_millis(1_000)),
        "to": time(report, scene.ended),
        "requests": scene.requests.len(),
        "calls": record.calls().count(),
        "seen_on_record": scene.seen,
        "replay": replay,
        "thresholds_assumed": report.assumed,
        "chains_guessed": scene.models.iter().filter(|model| model.guessed).map(|model| &*model.name).collect::<Vec<_>>(),
        "variants": report.variants.iter().map(|variant| self::variant(report, variant)).collect::<Vec<_>>(),
        "sick": spells(report),
        "recorded": timelines(report, &scene.recorded(record)),
    })
}

fn variant(report: &Report, variant: &Variant) -> Value {
    let Variant { name, changes, figures } = variant;
    let named = report.scene.providers.iter().zip(&figures.providers);
    let providers: Map<_, _> = named.map(|(provider, figures)| (provider.name.to_string(), own(figures))).collect();
    json!({
        "name": name,
        "settings": settings_lines(&report.scene, &report.rules, changes),
        "cost": figures.cost(),
        "seen": figures.seen(),
        "refused": figures.refused,
        "providers": providers,
        "breakers": timelines(report, &figures.timelines),
    })
}

fn own(figures: &ProviderFigures) -> Value {
    let ProviderFigures { calls, wasted, seen, kept, spells, missed, eject, back, false_ejections } = figures;
    json!({
        "calls": calls,
        "wasted": wasted,
        "seen": seen,
        "kept": kept,
        "spells": spells,
        "missed": missed,
        "eject_ms": times(eject),
        "return_ms": times(back),
        "false_ejections": false_ejections,
    })
}

fn times(times: &Times) -> Value {
    let ms = |time: Duration| time.as_millis() as u64;
    json!({ "count": times.count, "mean": times.mean().map(ms), "worst": times.mean().map(|_| ms(times.worst)) })
}

/// By the target's name: from each time on, how its breaker stood.
fn timelines(report: &Report, lines: &[Vec<(Moment, State)>]) -> Value {
    let line = |(target, line): (usize, &Vec<(Moment, State)>)| {
        // All began closed, at no time of the record's.
        let steps = line.iter().skip(1).map(|(at, state)| json!([time(report, *at), state.name()]));
        (report.scene.target_name(target), Value::Array(steps.collect()))
    };
    Value::Object(lines.iter().enumerate().map(line).collect())
}

fn spells(report: &Report) -> Value {
    let row = |(target, own): (usize, &crate::tuning::SceneTarget)| {
        let spells = own.spells.iter().map(|spell| json!([time(report, spell.from), time(report, spell.to.min(report.scene.ended))]));
        (report.scene.target_name(target), Value::Array(spells.collect()))
    };
    Value::Object(report.scene.targets.iter().enumerate().map(row).collect())
}

fn time(report: &Report, at: Moment) -> Value {
    let unix = i64::try_from(report.scene.began_unix_us.saturating_add(at.micros())).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(unix).map_or(Value::Null, |time| json!(time.to_string()))
}
