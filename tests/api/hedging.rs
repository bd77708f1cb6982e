//! A second target is called where the first is late, for few requests, and the one that loses is let go.

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::load::{paced, quantile};
use super::support::{Call, Client, Process, TestApp, Upstream, answer, chat_body, chat_bytes, status, stream, stream_body};

/// An upstream that takes as long as it is told, and notes when it is let go meanwhile.
pub(super) struct Target {
    upstream: Upstream,
    delay_ms: Arc<AtomicU64>,
    let_go: Arc<Mutex<Vec<Instant>>>,
}

impl Target {
    pub(super) fn new(name: &'static str) -> Self {
        Self::by(move |call| if call.text().contains("\"stream\":true") { stream(&[name, "!"]) } else { answer(name) })
    }

    fn by(says: impl Fn(&Call) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let (delay_ms, let_go): (Arc<AtomicU64>, Arc<Mutex<Vec<Instant>>>) = Default::default();
        let (delay, gone) = (Arc::clone(&delay_ms), Arc::clone(&let_go));
        let upstream = Upstream::start(move |call, stream| {
            let delay = Duration::from_millis(delay.load(Ordering::SeqCst));
            if !delay.is_zero() {
                stream.set_read_timeout(Some(delay)).unwrap();
                let waited = stream.read(&mut [0; 16]).is_err_and(|error| !matches!(error.kind(), ErrorKind::ConnectionReset));
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                if !waited {
                    gone.lock().unwrap().push(Instant::now());
                    return false;
                }
            }
            stream.write_all(&says(call)).is_ok()
        });
        Self { upstream, delay_ms, let_go }
    }

    pub(super) fn takes(&self, ms: u64) {
        self.delay_ms.store(ms, Ordering::SeqCst);
    }
}

/// `p` first, then `q`, tried in this order, and what more the settings say.
pub(super) fn pair(p: &Target, q: &Target, retry: &str) -> TestApp {
    TestApp::start(&format!(
        "{}{}[retry]\n{retry}\n[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"b\" }}]\n",
        p.upstream.provider("p"),
        q.upstream.provider("q"),
    ))
}

/// Enough calls for percentiles, counted by their actor. At once, so that none of them has any yet.
pub(super) fn warm(app: &TestApp, p: &Target, streamed: bool) {
    p.takes(100);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let reply = if streamed { app.stream("m") } else { app.chat("m") };
                assert_eq!(reply.header("x-stagedoor-provider"), Some("p"), "{}", reply.text());
            });
        }
    });
    app.until("the calls are counted", |app| app.health()["providers"]["p"]["window"]["calls"] == 20);
}

fn hedges(app: &TestApp, result: &str) -> f64 {
    app.metric(&format!("stagedoor_hedges_total{{result=\"{result}\"}}"))
}

pub(super) const ALWAYS: &str = "hedge = \"p95\"\nhedge_ratio = 1.0";

#[test]
fn a_late_answer_is_overtaken_and_let_go() {
    for streamed in [false, true] {
        let (p, q) = (Target::new("first"), Target::new("second"));
        let app = pair(&p, &q, ALWAYS);
        warm(&app, &p, streamed);
        p.takes(5_000);
        let begun = Instant::now();
        let reply = if streamed { app.stream("m") } else { app.chat("m") };
        let answered = Instant::now();
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        if streamed {
            assert_eq!((reply.words().as_str(), reply.terminals()), ("second!", 1));
        } else {
            assert_eq!(reply.content(), "second");
        }
        assert_eq!((reply.header("x-stagedoor-provider"), reply.header("x-stagedoor-attempts")), (Some("q"), Some("2")));
        assert_eq!(reply.header("x-stagedoor-route"), Some("p/up!outpaced,q/b"));
        app.until("it is let go", |_| p.let_go.lock().unwrap().len() == 1);
        let after = p.let_go.lock().unwrap()[0].saturating_duration_since(answered);
        assert!(after < Duration::from_secs(1), "let go {after:?} after the answer");
        assert_eq!((hedges(&app, "won"), hedges(&app, "lost"), hedges(&app, "refused")), (1.0, 0.0, 0.0));
        // What was outpaced is counted as a call, and held against nobody.
        assert_eq!(app.metric("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"abandoned\"}"), 1.0);
        let health = app.health();
        let p = &health["providers"]["p"];
        assert_eq!((&p["window"]["calls"], &p["window"]["failures"], &p["in_flight"]), (&20.into(), &0.into(), &0.into()));
    }
}

#[test]
fn the_first_may_still_win() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    let app = pair(&p, &q, ALWAYS);
    warm(&app, &p, false);
    p.takes(700);
    q.takes(10_000);
    let reply = app.chat("m");
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-attempts")), ("first", Some("2")));
    assert_eq!(reply.header("x-stagedoor-route"), Some("q/b!outpaced,p/up"));
    assert_eq!((hedges(&app, "won"), hedges(&app, "lost")), (0.0, 1.0));
    app.until("the other is let go", |_| q.let_go.lock().unwrap().len() == 1);
}

#[test]
fn both_calls_of_a_hedge_are_in_the_ledger_and_add_up() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    let price = "price = { input = 1000, output = 1000 }";
    let app = TestApp::administered(&format!(
        "[store]\nledger = \"all\"\n{}{}[retry]\n{ALWAYS}\n[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\", {price} }}, {{ provider = \"q\", model = \"b\", {price} }}]\n",
        p.upstream.provider("p"),
        q.upstream.provider("q"),
    ));
    warm(&app, &p, false);
    p.takes(5_000);
    let before = app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}");
    let reply = app.chat("m");
    assert_eq!(reply.content(), "second");
    let row = super::ledger::rows(&app, "?limit=1").remove(0);
    assert_eq!((row["provider"].as_str(), row["status"].as_u64(), row["source"].as_str()), (Some("q"), Some(200), Some("both")), "{row}");
    let calls: Vec<_> = row["attempts"].as_array().unwrap().iter().collect();
    let told = |n: usize| (calls[n]["provider"].as_str(), calls[n]["outcome"].as_str(), calls[n]["hedge"].as_bool());
    assert_eq!((calls.len(), told(0), told(1)), (2, (Some("p"), Some("abandoned"), Some(false)), (Some("q"), Some("ok"), Some(true))));
    // The one that lost had read its prompt: what is billed is both, and the metrics, the header and the row say the same.
    let usage = &reply.json()["usage"];
    let (tokens_in, tokens_out) = (row["tokens_in"].as_u64().unwrap(), row["tokens_out"].as_u64().unwrap());
    assert!(tokens_in > usage["prompt_tokens"].as_u64().unwrap() && Some(tokens_out) == usage["completion_tokens"].as_u64());
    assert_eq!(app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}") - before, tokens_in as f64);
    assert_eq!(reply.header("x-stagedoor-cost"), Some(format!("{}", (tokens_in + tokens_out) as f64 / 1e3).as_str()));
    assert_eq!(row["cost_usd"].as_f64(), Some((tokens_in + tokens_out) as f64 / 1e3));
    assert_eq!(super::ledger::get(&app, "/admin/usage").json()["total"]["requests"], 21);
}

#[test]
fn without_the_setting_nobody_else_is_called() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    for retry in ["", "hedge = \"off\"\nhedge_ratio = 1.0", "attempts = 1\nhedge = \"p95\"\nhedge_ratio = 1.0"] {
        let app = pair(&p, &q, retry);
        warm(&app, &p, false);
        p.takes(400);
        let reply = app.chat("m");
        assert_eq!((reply.content().as_str(), q.upstream.count()), ("first", 0), "{retry}: {:?}", reply.header("x-stagedoor-route"));
    }
}

#[test]
fn too_few_calls_tell_nothing() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    let app = pair(&p, &q, ALWAYS);
    assert_eq!(app.chat("m").content(), "first");
    p.takes(400);
    assert_eq!((app.chat("m").content().as_str(), q.upstream.count()), ("first", 0));
}

#[test]
fn few_requests_are_hedged() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    let app = pair(&p, &q, "hedge = \"p95\"\nhedge_ratio = 0.1");
    warm(&app, &p, false);
    p.takes(300);
    // Twenty requests have earned two.
    let seconds = (0..5).filter(|_| app.chat("m").content() == "second").count();
    assert_eq!((seconds, q.upstream.count()), (2, 2));
    assert_eq!(hedges(&app, "won"), 2.0);
    // Those that weren't are soon no longer later than most.
    assert!((1.0..=3.0).contains(&hedges(&app, "refused")));
    // They cost of the budget for repeats, too.
    let poor = pair(&p, &q, &format!("{ALWAYS}\nbudget_ratio = 0\nbudget_min = 0"));
    warm(&poor, &p, false);
    p.takes(300);
    assert_eq!((poor.chat("m").content().as_str(), hedges(&poor, "refused")), ("first", 1.0));
}

#[test]
fn what_fails_while_the_other_goes_on_costs_nothing() {
    let p = Target::by(|call| if call.number < 20 { answer("first") } else { status(500, "", "") });
    let q = Target::new("second");
    let app = pair(&p, &q, ALWAYS);
    warm(&app, &p, false);
    p.takes(500);
    q.takes(1_500);
    let reply = app.chat("m");
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-route")), ("second", Some("p/up!500,q/b")));
    assert_eq!((hedges(&app, "won"), p.upstream.count(), q.upstream.count()), (1.0, 21, 1));
}

#[test]
fn where_both_fail_failover_goes_on() {
    let p = Target::by(|call| if call.number < 20 { answer("first") } else { status(500, "", "") });
    let q = Target::by(|_| status(503, "", ""));
    let spare = Upstream::answering(answer("spare"));
    let app = TestApp::start(&format!(
        "{}{}{}[retry]\n{ALWAYS}\nsame_target = 0\n[models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, \
         {{ provider = \"q\", model = \"b\" }}, {{ provider = \"r\", model = \"c\" }}]\n",
        p.upstream.provider("p"),
        q.upstream.provider("q"),
        spare.provider("r"),
    ));
    warm(&app, &p, false);
    p.takes(500);
    let reply = app.chat("m");
    assert_eq!((reply.content().as_str(), reply.header("x-stagedoor-attempts")), ("spare", Some("3")));
    assert_eq!(reply.header("x-stagedoor-route"), Some("q/b!503,p/up!500,r/c"));
    assert_eq!(hedges(&app, "failed"), 1.0);
}

#[test]
fn what_the_caller_did_wrong_ends_both() {
    let p = Target::by(|call| if call.number < 20 { answer("first") } else { status(400, "invalid", "") });
    let q = Target::new("second");
    let app = pair(&p, &q, ALWAYS);
    warm(&app, &p, false);
    p.takes(500);
    q.takes(10_000);
    let reply = app.chat("m");
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid"));
    app.until("the other is let go", |_| q.let_go.lock().unwrap().len() == 1);
}

#[test]
fn a_caller_who_leaves_lets_both_go() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    let app = pair(&p, &q, ALWAYS);
    warm(&app, &p, true);
    p.takes(10_000);
    q.takes(10_000);
    let prompts = |app: &TestApp| app.metric("stagedoor_tokens_total{model=\"m\",kind=\"input\"}");
    let before = prompts(&app);
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    app.until("both are called", |_| q.upstream.count() == 1);
    drop(caller);
    // "Hello" is estimated at two, and four for its message.
    app.until("each has had its prompt", |app| prompts(app) - before == 12.0);
    app.until("both are let go", |_| p.let_go.lock().unwrap().len() + q.let_go.lock().unwrap().len() == 2);
    app.until("it is counted", |app| hedges(app, "left") == 1.0);
    assert_eq!(app.metric("stagedoor_in_flight{provider=\"p\"}") + app.metric("stagedoor_in_flight{provider=\"q\"}"), 0.0);
}

#[test]
fn an_outpaced_call_is_on_record_as_one() {
    let (p, q) = (Target::new("first"), Target::new("second"));
    let settings = format!(
        "[telemetry]\nlog = \"json\"\n{}{}[retry]\n{ALWAYS}\n[models.m]\nstrategy = \"ordered\"\n\
         targets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"b\" }}]\n",
        p.upstream.provider("p"),
        q.upstream.provider("q"),
    );
    let process = Process::serve(&settings, &[]);
    let client = process.client();
    for _ in 0..20 {
        client.post("/v1/chat/completions", &[], &chat_body("m"));
    }
    let counted = |text: &str| text.lines().filter(|line| line.contains("\"message\":\"attempt\"")).count() >= 20;
    process.stderr.until("the calls are counted", counted);
    p.takes(5_000);
    client.post("/v1/chat/completions", &[], &chat_body("m"));
    let log = process
        .stderr
        .until("both are on record", |text| text.contains("another target answered first") && text.contains("\"hedge\":true"));
    let lost = log.lines().find(|line| line.contains("another target answered first")).unwrap();
    assert!(
        lost.contains("\"outcome\":\"abandoned\"") && lost.contains("\"provider\":\"p\"") && lost.contains("\"hedge\":false"),
        "{lost}"
    );
    let won = log.lines().find(|line| line.contains("\"hedge\":true")).unwrap();
    assert!(won.contains("\"outcome\":\"ok\"") && won.contains("\"provider\":\"q\""), "{won}");
}

/// The acceptance: of one provider's calls, 2 in 100 take 20 times as long.
#[test]
fn with_two_in_a_hundred_calls_late_the_99th_falls_fivefold_for_few_more_calls() {
    const USUAL: Duration = Duration::from_millis(100);
    const CALLS: usize = 600;
    let run = |retry: &str| {
        let p = Upstream::start(|call, stream| {
            let late = call.number % 50 == 49;
            stream.set_read_timeout(Some(if late { USUAL * 20 } else { USUAL })).unwrap();
            let waited = stream.read(&mut [0; 16]).is_err();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            waited && stream.write_all(&answer("first")).is_ok()
        });
        let q = Upstream::start(|_, stream| {
            std::thread::sleep(USUAL);
            stream.write_all(&answer("second")).is_ok()
        });
        let app = TestApp::start(&format!(
            "{}{}[retry]\n{retry}\n[models.m]\nstrategy = \"ordered\"\n\
             targets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"q\", model = \"b\" }}]\n",
            p.provider("p"),
            q.provider("q"),
        ));
        let call = |client: Client| client.post("/v1/chat/completions", &[], &chat_body("m"));
        let samples = paced(app.client(), CALLS, 100, 32, call);
        assert!(samples.iter().all(|sample| sample.reply.status == 200));
        // What came before there were percentiles is not what hedging is about.
        let share = |at: f64| quantile(&samples[100..], at).as_millis();
        let calls = p.count() + q.count();
        println!("{retry:?}: p50 {} ms, p99 {} ms, {calls} upstream calls for {CALLS} requests", share(0.5), share(0.99));
        (share(0.99), calls)
    };
    let ((without, plain), (with, calls)) = std::thread::scope(|scope| {
        let without = scope.spawn(|| run("hedge = \"off\""));
        let with = run("hedge = \"p95\"");
        (without.join().unwrap(), with)
    });
    assert_eq!(plain, CALLS);
    assert!(with * 5 <= without, "{with} ms with it, {without} ms without");
    assert!(calls * 100 <= CALLS * 106, "{calls} calls for {CALLS} requests");
}
