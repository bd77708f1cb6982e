//! `stagedoor route MODEL`: where a request for the model would go now, and why. The running gateway is asked, since it alone
//! knows its breakers; where none answers, the settings alone are told, by the same code.

mod own;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::{CANT_RUN, FINDING, WRONG_USE, settings};
use crate::actors::{Board, Routes};
use crate::base::Moment;
use crate::clock::Clock;
use crate::http::explained;
use crate::settings::Settings;

/// A gateway that runs on this machine answers at once.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args, Clone)]
pub(super) struct Options {
    /// The public model, as a caller would ask for it
    #[arg(value_name = "MODEL")]
    model: String,
    /// One JSON document in place of text
    #[arg(long)]
    json: bool,
}

/// What a question to a gateway comes to.
enum Told {
    /// Its answer.
    Answer(Value),
    /// It refused: the status, and why.
    Refused(u16, String),
    /// None that would say more than the settings: why.
    Nobody(String),
}

pub(super) fn run(file: Option<PathBuf>, options: &Options) -> ExitCode {
    let Some((settings, _)) = settings(file) else { return ExitCode::from(CANT_RUN) };
    let url = address(&settings);
    let told = match settings.server.port {
        0 => Told::Nobody("server.port is 0, so where a gateway listens isn't known".into()),
        _ => actix_rt::System::new().block_on(ask(&settings, &url, &options.model)),
    };
    match told {
        Told::Answer(answer) => {
            show(options, answer, &url, &format!("as the gateway at {url} would try them now"));
            ExitCode::SUCCESS
        }
        Told::Refused(status, message) => {
            eprintln!("stagedoor: the gateway at {url} says: {message}");
            ExitCode::from(if status == 404 { WRONG_USE } else { CANT_RUN })
        }
        Told::Nobody(why) => by_settings(&settings, options, &why),
    }
}

/// Where the settings' gateway is reached from this machine.
fn address(settings: &Settings) -> String {
    let host = settings.server.host.trim_matches(['[', ']']);
    let host = match host {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let scheme = if settings.server.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{host}:{}", settings.server.port)
}

async fn ask(settings: &Settings, url: &str, model: &str) -> Told {
    let Some(client) = own::client(settings, PATIENCE) else { return Told::Nobody("TLS can't be set up".into()) };
    let Ok(mut request) = client.get(format!("{url}/v1/route")).query(&[("model", model)]) else {
        return Told::Nobody(format!("{url} is no address that can be asked"));
    };
    let may_use = |key: &&crate::settings::CallerKey| key.key.may_use(model);
    if let Some(key) = settings.auth.keys.iter().find(may_use).or(settings.auth.keys.first()) {
        request = request.bearer_auth(key.secret.expose());
    }
    let Ok(mut response) = request.send().await else { return Told::Nobody(format!("no gateway answers at {url}")) };
    let body = match actix_rt::time::timeout(PATIENCE, response.body()).await {
        Ok(Ok(body)) => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
        Ok(Err(_)) | Err(_) => Value::Null,
    };
    match (response.status().as_u16(), &body["targets"], &body["error"]["message"]) {
        (200, Value::Array(_), _) => Told::Answer(body),
        (status, _, Value::String(message)) => Told::Refused(status, harmless(message)),
        _ => Told::Nobody(format!("what answers at {url} is no gateway")),
    }
}

/// As a gateway that has just started would decide.
fn by_settings(settings: &Settings, options: &Options, why: &str) -> ExitCode {
    let routes = Routes::new(settings, &Board::default(), Clock::start().wall());
    if let Some(found) = routes.find(&options.model) {
        let title = format!("by the settings alone, with no call made yet: {why}");
        show(options, explained(&found.route.chain, Moment::START), "settings", &title);
        return ExitCode::SUCCESS;
    }
    match routes.unserved(&options.model) {
        Some(variables) => {
            eprintln!("stagedoor: none of its providers has a key; set {}", variables.join(" or "));
            ExitCode::from(FINDING)
        }
        None => {
            let names: Vec<_> = routes.served().map(|(name, _)| name).collect();
            eprintln!("stagedoor: the settings have no model {:?}; they have {}", options.model, names.join(", "));
            ExitCode::from(WRONG_USE)
        }
    }
}

fn show(options: &Options, mut answer: Value, source: &str, title: &str) {
    if options.json {
        answer["source"] = source.into();
        println!("{answer}");
    } else {
        print!("{}", table(&answer, title));
    }
}

/// Without what a terminal would obey: whoever listens there may say anything.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The answer for people. It may come from another version's gateway: what it lacks is blank.
fn table(answer: &Value, title: &str) -> String {
    let text = |value: &Value| harmless(value.as_str().unwrap_or_default());
    let row = |target: &Value| {
        let order = if target["in"] == true { target["order"].to_string() } else { "-".to_owned() };
        let score = target["score"].as_f64().map_or_else(|| "-".to_owned(), |score| format!("{score:.0}"));
        let name = format!("{}/{}", text(&target["provider"]), text(&target["model"]));
        let keys = target["keys"].as_array().into_iter().flatten().filter(|key| key["status"] != "active");
        let keys = keys.fold(String::new(), |all, key| format!("{all}; key {} {}", text(&key["name"]), text(&key["status"])));
        [order, name, text(&target["pool"]), text(&target["state"]), score, text(&target["reason"]) + &keys]
    };
    let head = ["", "target", "model", "state", "score", "why"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(answer["targets"].as_array().into_iter().flatten().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut table = format!("{}, {title}\n\n", text(&answer["model"]));
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a String can't fail. Numbers stand right.
            let _ = if column == 4 { write!(line, "{cell:>width$}  ") } else { write!(line, "{cell:<width$}  ") };
        }
        let _ = writeln!(table, "{}", line.trim_end());
    }
    let left_out: Vec<_> = answer["left_out"].as_array().into_iter().flatten().map(text).collect();
    if !left_out.is_empty() {
        let _ = writeln!(table, "\nleft out, since their provider has no key: {}", left_out.join(", "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_tells_the_order_and_why() {
        let answer = serde_json::json!({
            "model": "m", "left_out": ["gamma/m"],
            "targets": [
                { "order": 1, "provider": "beta", "model": "m", "pool": "m", "state": "ready", "in": true, "score": 1500.4, "reason": "healthy",
                  "keys": [{ "name": "K1", "status": "active" }, { "name": "K2", "status": "cooling" }] },
                { "order": 2, "provider": "alpha", "model": "m", "pool": "m", "state": "out", "in": false, "score": null, "reason": "breaker open for 3.1 s" },
            ],
        });
        let expected = "m, now\n\n   target   model  state  score  why\n\
            1  beta/m   m      ready   1500  healthy; key K2 cooling\n\
            -  alpha/m  m      out        -  breaker open for 3.1 s\n\n\
            left out, since their provider has no key: gamma/m\n";
        assert_eq!(table(&answer, "now"), expected);
        assert!(!table(&serde_json::json!({ "model": "\u{1b}[2J", "left_out": ["\u{7}"] }), "now").contains(['\u{1b}', '\u{7}']));
        assert!(table(&Value::Null, "now").contains("target"), "a strange answer is no panic");
    }
}
