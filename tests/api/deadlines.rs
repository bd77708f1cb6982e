//! How long a request may take in all: by the settings, by its model's own, by its caller's wish.

use std::time::{Duration, Instant};

use super::support::faults::provider_at;
use super::support::{Reply, TestApp, Upstream, chat_body};

/// Takes a request and says nothing for much longer than any test's limit.
fn silent() -> Upstream {
    Upstream::start(|_, _| {
        std::thread::sleep(Duration::from_secs(5));
        false
    })
}

fn app(p: &Upstream, spare: &Upstream, more: &str) -> TestApp {
    TestApp::start(&format!(
        "{more}{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\nfailover = [\"n\"]\n\
         [models.n]\ntargets = [{{ provider = \"s\", model = \"sp\" }}]\n",
        provider_at("p", &p.url(), ""),
        spare.provider("s")
    ))
}

/// Asks, and expects the whole request's time to be over soon.
fn cut(app: &TestApp, headers: &[(&str, &str)]) -> Reply {
    let began = Instant::now();
    let reply = app.client().post("/v1/chat/completions", headers, &chat_body("m"));
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"), "{}", reply.text());
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(3), "{took:?}");
    reply
}

#[test]
fn a_models_own_total_holds_for_its_whole_chain() {
    let (p, spare) = (silent(), silent());
    let reply = cut(&app(&p, &spare, "[models.m.timeouts]\ntotal = \"300ms\"\n"), &[]);
    assert_eq!((reply.header("x-stagedoor-attempts"), p.count(), spare.count()), (Some("1"), 1, 0));
    // Each call gets what is left of it.
    let reply = cut(&app(&p, &spare, "[models.m.timeouts]\ntotal = \"400ms\"\nfirst_byte = \"250ms\"\n"), &[]);
    assert_eq!((reply.header("x-stagedoor-attempts"), spare.count()), (Some("2"), 1));
}

#[test]
fn the_settings_total_and_the_callers_wish_cut_as_well_and_the_shorter_one_holds() {
    let (p, spare) = (silent(), silent());
    let limited = app(&p, &spare, "[timeouts]\ntotal = \"300ms\"\n");
    cut(&limited, &[]);
    cut(&limited, &[("x-stagedoor-timeout", "1h")]);
    cut(&app(&p, &spare, ""), &[("x-stagedoor-timeout", "300ms")]);
}
