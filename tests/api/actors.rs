//! Actors that die or are flooded: callers notice neither.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use actix::{Handler, Message};
use stagedoor::actors::{Provider, Reports, Router};
use stagedoor::health::{Admitted, Origin, Outcome, Told};

use super::support::faults::{SHORT, breaker, closed_port, healthy, provider_at, spared};
use super::support::{STREAM_END, STREAM_HEAD, TestApp, Upstream, chat_bytes, chunk, event, read_rest, read_until, status};

/// What kills the actor that is told it. No code but this test's knows it.
#[derive(Message)]
#[rtype(result = "()")]
struct Die;

/// A panic as any other, but without a backtrace: to find its lines takes a debug build a second, on the actors' own thread.
fn die() {
    std::panic::resume_unwind(Box::new("told to die"));
}

impl Handler<Die> for Provider {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Self::Context) {
        die();
    }
}

impl Handler<Die> for Router {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Self::Context) {
        die();
    }
}

/// What keeps the actor that is told it busy: it says when that begins, and waits to be released.
#[derive(Message)]
#[rtype(result = "()")]
struct Tarry(Sender<()>, Receiver<()>);

impl Handler<Tarry> for Provider {
    type Result = ();

    fn handle(&mut self, Tarry(begun, until): Tarry, _: &mut Self::Context) {
        let _ = begun.send(());
        let _ = until.recv_timeout(Duration::from_secs(20));
    }
}

fn place(app: &TestApp, name: &str) -> usize {
    app.gateway.edition.load().routes.providers.iter().find(|(slot, _)| &*slot.name == name).unwrap().0.place
}

/// The end of a good call of a provider's first target.
fn good_end(app: &TestApp, name: &str) -> Told {
    let edition = app.gateway.edition.load();
    let (slot, targets) = edition.routes.providers.iter().find(|(slot, _)| &*slot.name == name).unwrap();
    let now = app.gateway.clock.now();
    Told {
        origin: Origin::default(),
        target: Arc::clone(&targets[0].vitals),
        key: None,
        outcome: Outcome::Ok,
        at: now,
        latency: Duration::from_millis(1),
        first_token: None,
        first_token_limit: Duration::from_secs(1),
        message: String::new(),
        by_provider: Admitted::at(&slot.vitals, true, now).unwrap(),
        by_target: Admitted::at(&targets[0].vitals, true, now).unwrap(),
    }
}

fn kill_provider(app: &TestApp, name: &str) {
    app.gateway.cast.at(place(app, name)).unwrap().do_send(Die);
}

pub(super) fn kill_routers(app: &TestApp) -> usize {
    let routers: Vec<_> = app.gateway.workers.lock().unwrap().iter().map(|(router, _)| router.clone()).collect();
    routers.iter().for_each(|router| router.do_send(Die));
    let begun = Instant::now();
    while routers.iter().any(|router| router.connected()) {
        assert!(begun.elapsed() < Duration::from_secs(5), "they live on");
        std::thread::sleep(Duration::from_millis(1));
    }
    routers.len()
}

/// Keeps a provider's actor busy until the answer is sent to.
pub(super) fn tarrying(app: &TestApp, name: &str) -> Sender<()> {
    let ((begin, begun), (release, held)) = (channel(), channel());
    let actor = app.gateway.cast.at(place(app, name)).unwrap();
    actor.try_send(Tarry(begin, held)).unwrap();
    begun.recv_timeout(Duration::from_secs(10)).unwrap();
    release
}

/// Tells a provider's actor of no call at all; whether its mailbox took it.
pub(super) fn told_nothing(app: &TestApp, name: &str) -> bool {
    app.gateway.cast.tell(place(app, name), Reports(Vec::new()))
}

fn restarts(app: &TestApp, actor: &str) -> f64 {
    app.metric(&format!("stagedoor_actor_restarts_total{{actor=\"{actor}\"}}"))
}

#[test]
fn row_60_a_provider_actor_that_dies_is_back_within_a_second_with_its_breakers() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let breakers = "[breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_for_max = \"1h\"\n";
    let (app, spare) = spared(&dead, &format!("{SHORT}{breakers}").replace("[retry]", "[retry]\nsame_target = 0"));
    for _ in 0..2 {
        assert_eq!(app.chat("m").content(), "spare");
    }
    let before = app.health()["providers"]["p"].clone();
    assert_eq!((before["breaker"].as_str(), spare.count()), (Some("open"), 2));
    let died = Instant::now();
    kill_provider(&app, "p");
    kill_provider(&app, "spare");
    // Not one request notices, from the moment of death on.
    while restarts(&app, "provider") < 2.0 {
        assert_eq!(app.chat("m").content(), "spare");
        assert!(died.elapsed() < Duration::from_secs(1), "not within a second");
    }
    let after = app.health()["providers"]["p"].clone();
    assert_eq!((&after["breaker"], &after["retry_at"], &after["since"]), (&before["breaker"], &before["retry_at"], &before["since"]));
    // It is heard and told again.
    let route = app.chat("m").header("x-stagedoor-route").unwrap().to_owned();
    assert_eq!(route, "spare/spare", "p is left alone");
    app.until("calls are counted again", |app| app.health()["providers"]["spare"]["window"]["calls"].as_u64().unwrap() >= 1);
    assert_eq!(restarts(&app, "provider"), 2.0);
}

#[test]
fn row_60_a_new_provider_actor_opens_its_breaker_as_the_old_one_would() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let breakers = "[breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_for_max = \"1h\"\n";
    let (app, _spare) = spared(&dead, &format!("{SHORT}{breakers}").replace("[retry]", "[retry]\nsame_target = 0"));
    kill_provider(&app, "p");
    app.until("another actor is there", |app| restarts(app, "provider") == 1.0);
    for _ in 0..2 {
        assert_eq!(app.chat("m").content(), "spare");
    }
    assert_eq!(breaker(&app), "open");
}

#[test]
fn row_60_a_router_actor_that_dies_costs_no_request_and_is_replaced() {
    let upstream = healthy();
    let app = TestApp::start(&format!(
        "[server]\nworkers = 2\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        upstream.provider("p")
    ));
    assert_eq!(app.chat("m").status, 200);
    let killed = kill_routers(&app);
    assert_eq!(killed, 2);
    // actix hands connections to its workers in turn.
    for _ in 0..6 {
        assert_eq!((app.chat("m").status, app.stream("m").terminals()), (200, 1));
    }
    assert_eq!((restarts(&app, "router"), app.metric("stagedoor_router_fallbacks_total")), (2.0, 2.0));
    // The new ones carry what calls came to.
    assert_eq!(app.metric("stagedoor_attempts_total{provider=\"p\",model=\"up\",outcome=\"ok\"}"), 13.0);
    let counted = app.health()["providers"]["p"]["models"]["up"]["calls"].as_f64().unwrap();
    assert_eq!(counted + app.metric("stagedoor_dropped_reports_total"), 13.0, "told, or counted as lost");
}

#[test]
fn row_60_a_stream_outlives_its_provider_actor_and_its_router() {
    let (release, held) = channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = Upstream::start(move |_, stream| {
        stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("first"))).as_bytes()).unwrap();
        let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
        stream.write_all(format!("{}{}0\r\n\r\n", chunk(&event("last")), chunk(STREAM_END)).as_bytes()).is_ok()
    });
    let app = TestApp::start(&format!("{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", upstream.provider("p")));
    let mut caller = app.client().connect();
    caller.write_all(&chat_bytes(&[("connection", "close")], &super::support::stream_body("m"))).unwrap();
    read_until(&mut caller, "first");
    kill_provider(&app, "p");
    kill_routers(&app);
    app.until("another actor is there", |app| restarts(app, "provider") == 1.0);
    release.send(()).unwrap();
    let rest = read_rest(&mut caller);
    assert!(rest.contains("last") && rest.contains("[DONE]"), "{rest}");
    app.until("its end was told to the new one", |app| app.health()["providers"]["p"]["models"]["up"]["calls"] == 1);
    assert_eq!(app.metric("stagedoor_in_flight{provider=\"p\"}"), 0.0);
}

/// Says that it is over, however that comes: a test that fails may not leave its threads at work.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Quantile 99 of some requests' times.
fn p99(app: &TestApp, count: usize) -> Duration {
    let mut times: Vec<_> = (0..count)
        .map(|_| {
            let begun = Instant::now();
            assert_eq!(app.chat("m").content(), "spare");
            begun.elapsed()
        })
        .collect();
    times.sort();
    times[count * 99 / 100]
}

#[test]
fn row_61_a_hundred_thousand_messages_a_second_delay_no_request_and_no_timer() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let breakers = "[breaker]\nconsecutive_failures = 1\nopen_for = \"400ms\"\nopen_for_max = \"400ms\"\n";
    let (app, _spare) = spared(&dead, &format!("{SHORT}{breakers}").replace("[retry]", "[retry]\nsame_target = 0"));
    let calm = p99(&app, 200);
    let (over, sent, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let place = place(&app, "p");
    let began = Instant::now();
    let (busy, late) = std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                // Looked at first: what a busy machine kept it from sending is sent before it ends.
                let last = over.load(Ordering::Relaxed);
                let due = began.elapsed().as_micros() as u64 / 10;
                while sent.load(Ordering::Relaxed) < due {
                    sent.fetch_add(1, Ordering::Relaxed);
                    let told = app.gateway.cast.tell(place, Reports(Vec::new()));
                    refused.fetch_add(u64::from(!told), Ordering::Relaxed);
                }
                if last {
                    break;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let _over = Over(&over);
        let busy = p99(&app, 200);
        // The actor's own timer ends the open period, and nothing else does: no request is made now.
        app.until("it is open", |app| {
            app.chat("m");
            breaker(app) == "open"
        });
        let half_open = "stagedoor_breaker_transitions_total{provider=\"p\",model=\"up\",to=\"half_open\",reason=\"period_over\"}";
        let before = app.metric(half_open);
        let opened = Instant::now();
        app.until("its time is over", |app| app.metric(half_open) > before);
        let late = opened.elapsed().saturating_sub(Duration::from_millis(440));
        (busy, late)
    });
    let (sent, refused) = (sent.into_inner(), refused.into_inner());
    let rate = sent as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} messages/s, {refused} of {sent} refused; p99 {calm:?} without, {busy:?} with; timer {late:?} late");
    assert!(rate > 80_000.0, "{rate}");
    assert!(busy < calm * 3 + Duration::from_millis(20), "{calm:?} -> {busy:?}");
    assert!(late < Duration::from_millis(500), "{late:?}");
}

#[test]
fn what_is_published_of_a_breaker_is_told_for_an_actor_that_is_silent() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let breakers = "[breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_for_max = \"1h\"\n";
    let (app, _spare) = spared(&dead, &format!("{SHORT}{breakers}").replace("[retry]", "[retry]\nsame_target = 0"));
    (0..2).for_each(|_| assert_eq!(app.chat("m").content(), "spare"));
    let before = app.health()["providers"]["p"].clone();
    let release = tarrying(&app, "p");
    let silent = app.health()["providers"]["p"].clone();
    release.send(()).unwrap();
    assert_eq!(silent["reason"], "its actor does not answer; calls go on");
    assert_eq!(before["breaker"], "open");
    for field in ["breaker", "status", "since", "retry_at"] {
        assert_eq!(silent[field], before[field], "{field}");
    }
}

#[test]
fn row_61_what_a_full_mailbox_refuses_is_counted_and_costs_no_request() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let (app, _spare) = spared(&dead, &SHORT.replace("[retry]", "[retry]\nsame_target = 0"));
    let release = tarrying(&app, "p");
    let fitting = (0..100_000).take_while(|_| told_nothing(&app, "p")).count();
    assert!((100..100_000).contains(&fitting), "{fitting}");
    for _ in 0..3 {
        assert_eq!(app.chat("m").content(), "spare");
    }
    app.until("each lost report is counted", |app| app.metric("stagedoor_dropped_reports_total") == 3.0);
    release.send(()).unwrap();
    app.until("it takes reports again", |app| app.chat("m").status == 200 && app.health()["providers"]["p"]["window"]["calls"] != 0);
}

#[test]
fn a_model_that_is_missing_is_asked_for_once_however_late_its_actor_hears_of_it() {
    let upstream = Upstream::answering(status(404, "model_not_found", ""));
    let (app, _spare) = spared(&provider_at("p", &upstream.url(), ""), SHORT);
    let release = tarrying(&app, "p");
    for _ in 0..3 {
        assert_eq!(app.chat("m").content(), "spare");
    }
    assert_eq!(upstream.count(), 1, "who heard of it told the others");
    release.send(()).unwrap();
    app.until("it is on record", |app| app.health()["providers"]["p"]["status"] == "disabled");
    let own = app.health()["providers"]["p"].clone();
    assert_eq!((own["reason"].as_str(), own["breaker"].as_str()), (Some("model_missing"), Some("closed")));
    assert_eq!((app.chat("m").content().as_str(), upstream.count()), ("spare", 1));
}

#[test]
fn row_61_a_mailbox_that_never_empties_holds_up_no_other_actor() {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let breakers = "[breaker]\nconsecutive_failures = 1\nopen_for = \"400ms\"\nopen_for_max = \"400ms\"\n";
    let (app, _spare) = spared(&dead, &format!("{SHORT}{breakers}").replace("[retry]", "[retry]\nsame_target = 0"));
    let (p, spare) = (place(&app, "p"), place(&app, "spare"));
    let (over, told, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let late = std::thread::scope(|scope| {
        // Both actors share a thread. One is told more than it can take, without a pause.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let reports = Reports((0..20).map(|_| good_end(&app, "spare")).collect());
                let count = if app.gateway.cast.tell(spare, reports) { &told } else { &refused };
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _over = Over(&over);
        let half_open = "stagedoor_breaker_transitions_total{provider=\"p\",model=\"up\",to=\"half_open\",reason=\"period_over\"}";
        let opens = "stagedoor_breaker_transitions_total{provider=\"p\",model=\"up\",to=\"open\",reason=\"consecutive_failures\"}";
        let begun = Instant::now();
        app.chat("m");
        app.until("it opens", |app| app.metric(opens) == 1.0);
        app.until("its time is over", |app| app.metric(half_open) == 1.0);
        let late = begun.elapsed().saturating_sub(Duration::from_millis(440));
        assert_eq!(app.health()["providers"]["p"]["breaker"], "half_open");
        late
    });
    assert!(app.gateway.cast.at(p).is_some_and(|actor| actor.connected()));
    println!("{} taken, {} refused, {late:?} late", told.into_inner(), refused.into_inner());
    assert!(late < Duration::from_millis(500), "{late:?}");
}
