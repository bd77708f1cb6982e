//! The hour, tuned.

use super::*;

fn record(log: &str) -> Record {
    lines(log.as_bytes()).unwrap()
}

fn options(search: bool) -> Options {
    Options { from: None, since: None, set: Vec::new(), search, json: false }
}

fn report(log: &str, set: &[&str], search: bool) -> Report {
    let changes = set.iter().map(|text| Change::read(text).unwrap()).collect();
    Report::new(record(log), None, changes, &options(search)).unwrap()
}

#[test]
fn a_flapping_hour_is_replayed_as_it_was_and_a_better_setting_is_found() {
    let report = report(&crate::actors::hour(), &["breaker.consecutive_failures=12"], true);
    let text = table::text(&report) + &chart::text(&report, &chart::Look { unicode: false, columns: 0 });
    println!("{text}");
    let checked = report.checked.as_ref().unwrap();
    let alpha = &checked[0];
    assert!(alpha.same > 100 && checked.iter().all(|checked| checked.different + checked.unchecked == 0), "{checked:?}");
    assert!(text.contains(&format!("replay of the settings in force: {} transitions, all as recorded", alpha.same)));
    let cost = |name: &str| report.variants.iter().find(|variant| variant.name == name).map(|variant| variant.figures.cost());
    let (now, found, worse) = (cost("in force").unwrap(), cost("found 1").unwrap(), cost("as set").unwrap());
    assert!(found < now && now < worse, "found {found}, in force {now}, as set {worse}");
}
