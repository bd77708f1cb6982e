//! `stagedoor route MODEL`: what the running gateway says, or the settings alone.

use super::support::faults::{closed_port, provider_at};
use super::support::{Finished, Process, Upstream, answer, chat_body, plain, status};

const KEY: &str = "sk-route-0123456789abcdef0123";

fn settings(sick: &Upstream, well: &Upstream) -> String {
    format!(
        "[breaker]\nconsecutive_failures = 1\nopen_for = \"10m\"\nopen_for_max = \"10m\"\n[retry]\nsame_target = 0\n\
         [[auth.keys]]\nname = \"other\"\nkey = {{ value = \"sk-other-0123456789abcdef0123\" }}\nmodels = [\"x\"]\n\
         [[auth.keys]]\nname = \"app\"\nkey = {{ value = \"{KEY}\" }}\nmodels = [\"m\", \"z*\"]\n{}{}\
         [providers.r]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\nkeys = [{{ env = \"R_KEY\" }}]\n\
         [models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"a\" }}, {{ provider = \"q\", model = \"b\" }}, {{ provider = \"r\", model = \"c\" }}]\n\
         [models.z]\ntargets = [{{ provider = \"r\", model = \"c\" }}]\n",
        provider_at("p", &sick.url(), ""),
        provider_at("q", &well.url(), ""),
    )
}

/// `stagedoor route ARGS` by these settings, with the gateway's port.
fn route(args: &[&str], settings: &str, port: u16) -> Finished {
    let args = [&["route", "--settings", "settings.toml"], args].concat();
    let env = [("STAGEDOOR__SERVER__PORT", &*port.to_string())];
    Process::run(&args, &env, |folder| std::fs::write(folder.join("settings.toml"), settings).unwrap()).finish()
}

#[test]
fn the_running_gateway_says_where_a_request_would_go() {
    let (sick, well) = (Upstream::answering(status(500, "", "")), Upstream::answering(answer("hi")));
    let settings = settings(&sick, &well);
    let process = Process::serve(&settings, &[]);
    let client = process.client();
    let asked = client.post("/v1/chat/completions", &[("authorization", &format!("Bearer {KEY}"))], &chat_body("m"));
    assert_eq!(asked.status, 200, "{}", asked.text());
    let (port, calls) = (process.address().port(), sick.count() + well.count());
    let told = route(&["m"], &settings, port);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let lines: Vec<_> = told.stdout.lines().collect();
    assert!(lines[0].starts_with(&format!("m, as the gateway at http://127.0.0.1:{port}")), "{}", told.stdout);
    assert!(lines[3].starts_with("1  q/b") && lines[3].ends_with("healthy"), "{}", told.stdout);
    assert!(lines[4].starts_with("-  p/a") && lines[4].contains("breaker open for"), "{}", told.stdout);
    assert!(told.stdout.ends_with("no key: r/c\n"), "{}", told.stdout);
    let json: serde_json::Value = serde_json::from_str(&route(&["m", "--json"], &settings, port).stdout).unwrap();
    assert_eq!((&json["targets"][0]["provider"], &json["source"]), (&"q".into(), &format!("http://127.0.0.1:{port}").into()));
    let unknown = route(&["zz"], &settings, port);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("says: "), "{}", unknown.stderr);
    assert_eq!(sick.count() + well.count(), calls, "it sends nothing");
}

#[test]
fn where_no_gateway_answers_the_settings_say_it() {
    let (sick, well) = (Upstream::answering(status(500, "", "")), Upstream::answering(answer("hi")));
    let settings = settings(&sick, &well);
    let told = route(&["m"], &settings, closed_port().port());
    assert!(
        told.code == Some(0) && told.stdout.contains("by the settings alone, with no call made yet: no gateway answers at"),
        "{told:?}"
    );
    assert!(told.stdout.lines().nth(3).unwrap().starts_with("1  p/a"), "nobody has told them that it is sick: {}", told.stdout);
    let json: serde_json::Value = serde_json::from_str(&route(&["m", "--json"], &settings, closed_port().port()).stdout).unwrap();
    assert_eq!((&json["targets"][0]["provider"], &json["source"]), (&"p".into(), &"settings".into()));
    for (model, code, part) in [("nope", 2, "no model \"nope\"; they have m"), ("z", 1, "set R_KEY")] {
        let told = route(&[model], &settings, closed_port().port());
        assert!(told.code == Some(code) && told.stderr.contains(part), "{told:?}");
    }
    for stranger in [plain("[1]"), b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nsorry".to_vec()] {
        let other = Upstream::answering(stranger);
        let told = route(&["m"], &settings, other.address.port());
        assert!(told.code == Some(0) && told.stdout.contains("is no gateway"), "{told:?}");
    }
    assert_eq!(route(&[], &settings, 1).code, Some(2));
    assert_eq!((sick.count(), well.count()), (0, 0));
}
