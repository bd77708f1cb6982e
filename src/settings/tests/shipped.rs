//! The files that are shipped: they load, they say what the documentation promises, and they agree with the code's defaults.

use super::*;

#[test]
fn with_no_key_the_rehearsal_serves_all_seven_models() {
    let settings = Bench::new().load();
    assert!(settings.rehearsing);
    let names = ["claude-haiku", "claude-sonnet", "deepseek-chat", "deepseek-reasoner", "gemini-flash", "gpt-4o", "gpt-4o-mini"];
    assert_eq!(settings.models.keys().collect::<Vec<_>>(), names);
    assert_eq!(settings.providers.keys().collect::<Vec<_>>(), ["rehearsal"]);
    for (name, model) in &settings.models {
        assert_eq!((model.targets[0].provider.as_str(), model.targets[0].model.as_str()), ("rehearsal", name.as_str()));
        assert_eq!(model.targets.len(), 2, "its own target stays, to say why it is out");
    }
    assert_eq!(settings.left_out["google"], ["GOOGLE_API_KEY"]);
}

#[test]
fn with_one_key_nothing_is_rehearsed() {
    let settings = Bench::new().env("OPENAI_API_KEY", "sk-a").load();
    assert!(!settings.rehearsing);
    assert_eq!(settings.providers.keys().collect::<Vec<_>>(), ["openai"]);
    assert_eq!(settings.left_out.keys().collect::<Vec<_>>(), ["anthropic", "deepseek", "google"]);
    assert_eq!(settings.models["gpt-4o"].targets.len(), 1);
    assert_eq!(settings.models["gpt-4o"].failover, ["claude-sonnet", "deepseek-chat"]);
}

#[test]
fn each_vendor_is_spoken_to_in_its_own_dialect() {
    let settings = Bench::new().env("OPENAI_API_KEY", "a").env("ANTHROPIC_API_KEY", "b").env("GOOGLE_API_KEY", "c").load();
    let spoken = |name: &str| format!("{:?}", settings.providers[name].dialect);
    assert_eq!([spoken("openai"), spoken("anthropic"), spoken("google")], ["OpenAi", "Anthropic", "Gemini"]);
}

#[test]
fn a_wildcard_row_is_rehearsed_by_what_it_matched() {
    let text = "[providers.p]\ndialect = \"openai\"\nbase_url = \"https://p\"\nkeys = [{ env = \"A\" }]\n\
                [models.\"p/*\"]\ntargets = [{ provider = \"p\", model = \"*\" }]";
    assert_eq!(Bench::alone(text).load().models["p/*"].targets[0].model, "*");
}

#[test]
fn the_shipped_files_tell_of_missing_keys_alone() {
    let bench = Bench::new();
    assert_eq!(bench.notes(NoteKind::NoEffectYet), [""; 0]);
    assert_eq!(bench.notes(NoteKind::Warning), [""; 0]);
}

#[test]
fn default_toml_agrees_with_the_built_in_defaults() {
    // A file that says nothing gets the defaults of the code; default.toml must say the same.
    let (shipped, built_in) = (Bench::new().load(), small_and("").load());
    assert_eq!(format!("{:?}", shipped.server), format!("{:?}", built_in.server));
    assert_eq!(format!("{:?}", shipped.telemetry), format!("{:?}", built_in.telemetry));
    let (mine, code) = (&shipped.providers["rehearsal"], &built_in.providers["local"]);
    assert_eq!((&mine.breaker, &mine.timeouts), (&code.breaker, &code.timeouts));
    assert_eq!((mine.when_all_open, mine.key_quarantine), (code.when_all_open, code.key_quarantine));
    assert_eq!(shipped.models["gpt-4o"].retry, built_in.models["small"].retry);
    assert_eq!(shipped.auth.mode, built_in.auth.mode);
}

#[test]
fn production_wants_a_caller_key() {
    let bench = Bench::new().env("STAGEDOOR_PROFILE", "production");
    assert!(bench.mistakes().contains("set GATEWAY_API_KEY"), "{}", bench.mistakes());
    let settings = bench.env("GATEWAY_API_KEY", "0123456789abcdef01234567").load();
    assert_eq!((settings.server.host.as_str(), settings.telemetry.log), ("0.0.0.0", LogForm::Json));
    assert!(settings.telemetry.metrics_need_admin);
}
