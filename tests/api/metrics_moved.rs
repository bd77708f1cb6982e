//! Every metric moves in a scrape after the traffic that moves it, and none says more than what callers and upstreams counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use stagedoor::telemetry::names;

use super::support::faults::{SHORT, alone, closed_port, healthy, provider_at, spared};
use super::support::{
    Call, Client, Redis, Reply, STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chat_body, chunk, event, plain, status, stream,
    stream_body,
};
use super::{actors, durability, faults_connect, hedging, probes};

/// /metrics as series and their values, and the families that are gauges.
#[derive(Default)]
pub(super) struct Scrape {
    pub(super) series: BTreeMap<String, f64>,
    gauges: BTreeSet<String>,
}

impl Scrape {
    fn of(app: &TestApp) -> Self {
        let page = app.client().get("/metrics").text();
        let (mut series, mut gauges) = (BTreeMap::new(), BTreeSet::new());
        for line in page.lines() {
            match line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" gauge")) {
                Some(gauge) => _ = gauges.insert(gauge.to_owned()),
                None if line.starts_with('#') => {}
                None => {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    series.insert(name.to_owned(), value.parse().unwrap());
                }
            }
        }
        Self { series, gauges }
    }

    fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// All series of a family together.
    fn sum(&self, family: &str) -> f64 {
        let own = |name: &str| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.series.iter().filter(|(name, _)| own(name)).map(|(_, value)| value).sum()
    }

    /// The families that are more than they were, and the gauges that say something.
    fn moved_since(&self, before: &Self) -> BTreeSet<&'static str> {
        let moved = |name: &&str| {
            if self.gauges.contains(*name) {
                return self.sum(name) > 0.0;
            }
            ["_total", "_count"].iter().any(|end| self.sum(&format!("{name}{end}")) > before.sum(&format!("{name}{end}")))
        };
        names::ALL.iter().map(|name| name.name).filter(moved).collect()
    }
}

/// Two prices, and a fallback of another provider.
fn mixed(p: &Upstream, spare: &Upstream) -> TestApp {
    let models = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\", price = { input = 1.0, output = 10.0 } }]\nfailover = [\"spare\"]\n\
                  [models.spare]\ntargets = [{ provider = \"spare\", model = \"spare\", price = { input = 1.0, output = 10.0 } }]\n";
    let house = "[breaker]\nconsecutive_failures = 2\nopen_for = \"1h\"\nopen_for_max = \"1h\"\n[retry]\nbackoff = \"0ms\"\n[cache]\nmode = \"exact\"\n[server]\nworkers = 2\nmax_streams = 2\n";
    TestApp::administered(&format!("{house}{}{}{models}", p.provider("p"), spare.provider("spare")))
}

const USAGE: &str = r#""usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}"#;

/// Says words of a stream some time apart, and its usage where it is asked for.
fn drip(call: &Call, stream: &mut std::net::TcpStream, words: &[&str]) -> bool {
    let _ = stream.write_all(STREAM_HEAD.as_bytes());
    for word in words {
        let _ = stream.write_all(chunk(&event(word)).as_bytes());
        std::thread::sleep(Duration::from_millis(15));
    }
    let usage =
        format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\"choices\":[],{USAGE}}}\n\n");
    let usage = if call.text().contains("include_usage") { usage } else { String::new() };
    let (finish, done) = STREAM_END.split_once("\n\n").unwrap();
    let last = chunk(&format!("{finish}\n\n{usage}{done}"));
    stream.write_all(format!("{last}0\r\n\r\n").as_bytes()).is_ok()
}

fn ask(client: Client, body: &str, more: &str) -> Reply {
    client.post("/v1/chat/completions", &[], &body.replace("Hello", more))
}

/// An upstream that fails where it is told to, answers what it is asked to, and holds what it is asked to hold.
fn obedient(held: std::sync::mpsc::Receiver<()>) -> Upstream {
    let held = Mutex::new(held);
    Upstream::start(move |call, stream| {
        let text = call.text();
        if text.contains("hold") {
            let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(20));
        }
        if text.contains("fail") {
            return stream.write_all(&status(500, "", "")).is_ok();
        }
        if text.contains(r#""stream":true"#) {
            return drip(call, stream, &["one ", "two ", "three ", "four"]);
        }
        let whole = answer("hi");
        let whole = String::from_utf8(whole).unwrap();
        let body = whole.split_once("\r\n\r\n").unwrap().1;
        let (front, _) = body.split_once(r#""usage""#).unwrap();
        stream.write_all(&plain(&format!("{front}{USAGE}}}"))).is_ok()
    })
}

/// Plain calls, streams, a failover, refusals, a stored answer, a reload: counted by both sides, and by /metrics.
pub(super) fn traffic(seen: &mut BTreeSet<&'static str>) -> Scrape {
    let (release, held) = channel();
    let (p, spare) = (obedient(held), healthy());
    let app = mixed(&p, &spare);
    let before = Scrape::of(&app);
    let began = Instant::now();
    let client = app.client();
    let mut replies = Vec::new();
    for number in 0..3 {
        replies.push((false, ask(client, &chat_body("m"), &format!("plain {number}"))));
        replies.push((true, ask(client, &stream_body("m"), &format!("stream {number}"))));
    }
    replies.push((false, ask(client, &chat_body("m"), "plain 0")));
    replies.push((false, ask(client, &chat_body("nobody"), "x")));
    replies.push((false, ask(client, "{", "")));
    let under_way = std::thread::scope(|scope| {
        let holding: Vec<_> =
            (0..2).map(|number| scope.spawn(move || (true, ask(client, &stream_body("m"), &format!("hold {number}"))))).collect();
        app.until("both are under way", |app| app.metric("stagedoor_in_flight{provider=\"p\"}") == 2.0);
        let under_way = Scrape::of(&app);
        assert_eq!(under_way.value("stagedoor_open_requests{stream=\"true\"}"), 2.0);
        replies.push((true, ask(client, &stream_body("m"), "one too many")));
        (0..2).for_each(|_| release.send(()).unwrap());
        replies.extend(holding.into_iter().map(|call| call.join().unwrap()));
        under_way
    });
    replies.push((false, ask(client, &chat_body("m"), "fail")));
    assert_eq!(app.admin("/admin/reload", "").status, 200);
    let after = Scrape::of(&app);
    seen.extend(under_way.moved_since(&before));
    seen.extend(after.moved_since(&before));

    let count =
        |status: u16, stream: bool| replies.iter().filter(|(asked, reply)| (*asked, reply.status) == (stream, status)).count() as f64;
    for (model, status, stream) in [("m", 200, false), ("m", 200, true), ("unknown", 404, false), ("unknown", 400, false), ("m", 503, true)]
    {
        let series = format!("stagedoor_requests_total{{model=\"{model}\",status=\"{status}\",stream=\"{stream}\"}}");
        assert_eq!(after.value(&series), count(status, stream), "{series}");
    }
    assert_eq!(after.sum("stagedoor_requests_total"), replies.len() as f64);
    assert_eq!(after.sum("stagedoor_errors_total"), replies.iter().filter(|(_, reply)| reply.status != 200).count() as f64);
    assert_eq!(after.value("stagedoor_errors_total{kind=\"model_not_found\"}"), 1.0);
    assert_eq!(after.sum("stagedoor_attempts_total"), (p.count() + spare.count()) as f64);
    assert_eq!(after.value("stagedoor_limit_refusals_total{kind=\"max_streams\"}"), 1.0);
    assert_eq!(after.value("stagedoor_cache_total{result=\"hit\"}"), 1.0);
    assert_eq!(
        after.value("stagedoor_retries_total{reason=\"status_500\"}"),
        p.calls().iter().filter(|call| call.text().contains("fail")).count() as f64 - 1.0
    );
    let (streams, served) = (count(200, true), count(200, true) + count(200, false) - 1.0);
    // What was failed over to and what was stored doesn't count by `p`, whose usage says 7 and 5.
    let own = served - 1.0;
    let tokens = |kind: &str| after.value(&format!("stagedoor_tokens_total{{model=\"m\",kind=\"{kind}\"}}"));
    assert_eq!((tokens("input"), tokens("output")), (own * 7.0 + 1.0, own * 5.0 + 1.0));
    let dollars = (tokens("input") + 10.0 * tokens("output")) / 1e6;
    assert!((after.sum("stagedoor_cost_usd_total") - dollars).abs() < 1e-12);
    // Four words are three gaps at the most: those that met on the way are told as one.
    assert_eq!(after.sum("stagedoor_time_to_first_token_seconds_count"), streams);
    let gaps = after.value("stagedoor_inter_token_seconds_count{provider=\"p\"}");
    assert!(gaps > streams && gaps <= streams * 3.0, "{gaps} gaps of {streams} streams");
    let waited = after.value("stagedoor_inter_token_seconds_sum{provider=\"p\"}");
    assert!(waited > 0.010 * gaps && waited < streams * began.elapsed().as_secs_f64(), "{waited} s in {gaps} gaps");
    assert!(after.sum("stagedoor_request_duration_seconds_sum") < replies.len() as f64 * began.elapsed().as_secs_f64());
    assert!(after.sum("stagedoor_request_duration_seconds_count") <= replies.len() as f64);
    assert!(after.sum("stagedoor_overhead_seconds_count") <= replies.len() as f64);
    assert!(after.sum("process_resident_memory_bytes") > (1 << 20) as f64 && after.sum("process_cpu_seconds_total") > 0.0);
    after
}

/// What streams meet: no JSON, a break that another goes on after.
fn streams(seen: &mut BTreeSet<&'static str>) {
    let odd = Upstream::start(|_, stream| {
        let body = chunk(&event("one")) + &chunk("data: {oops\n\n") + &chunk(STREAM_END) + "0\r\n\r\n";
        stream.write_all(format!("{STREAM_HEAD}{body}").as_bytes()).is_ok()
    });
    let collector = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let app = alone(&odd.provider("p"), &format!("{SHORT}[telemetry]\notlp = \"http://{}\"\n", collector.address));
    let before = Scrape::of(&app);
    assert_eq!(app.stream("m").terminals(), 1);
    app.until("the spans are sent", |app| app.metric("stagedoor_spans_total{result=\"sent\"}") == 2.0);
    seen.extend(Scrape::of(&app).moved_since(&before));

    let dying = Upstream::start(|_, stream| {
        let _ = stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("sp"))).as_bytes());
        false
    });
    let (app, spare) = spared(&dying.provider("p"), &SHORT.replace("\"error\"", "\"continue\""));
    let before = Scrape::of(&app);
    assert_eq!(app.stream("m").words(), "spare");
    let after = Scrape::of(&app);
    assert_eq!((after.sum("stagedoor_recoveries_total"), spare.count()), (1.0, 1));
    seen.extend(after.moved_since(&before));
}

/// What happens to connections and to late calls.
fn calls(seen: &mut BTreeSet<&'static str>) {
    let upstream = faults_connect::once_a_connection();
    let app = alone(&upstream.provider("p"), "[server]\nworkers = 1\n");
    let before = Scrape::of(&app);
    (0..2).for_each(|_| assert_eq!(app.chat("m").status, 200));
    seen.extend(Scrape::of(&app).moved_since(&before));

    let (p, q) = (hedging::Target::new("first"), hedging::Target::new("second"));
    let app = hedging::pair(&p, &q, hedging::ALWAYS);
    hedging::warm(&app, &p, false);
    let before = Scrape::of(&app);
    p.takes(5_000);
    assert_eq!(app.chat("m").content(), "second");
    seen.extend(Scrape::of(&app).moved_since(&before));

    let late = Upstream::by(|_| {
        std::thread::sleep(Duration::from_millis(30));
        stream(&["late"])
    });
    let app = alone(&late.provider("p"), "[breaker]\nslow_call = \"10ms\"\n");
    let before = Scrape::of(&app);
    (0..3).for_each(|_| assert_eq!(app.stream("m").words(), "late"));
    app.until("it is slow", |app| app.metric("stagedoor_target_slow{provider=\"p\",model=\"up\"}") == 1.0);
    seen.extend(Scrape::of(&app).moved_since(&before));

    let patient = probes::Patient::new();
    let app = alone(&patient.upstream.provider("p"), probes::ACTIVE);
    let before = Scrape::of(&app);
    patient.trip(&app);
    app.until("it is probed", |app| app.metric("stagedoor_probes_total{provider=\"p\",result=\"bad\"}") > 0.0);
    let after = Scrape::of(&app);
    assert!(after.sum("stagedoor_probes_total") <= patient.probes().len() as f64);
    seen.extend(after.moved_since(&before));
}

/// A store that is locked, a journal that is damaged, a Redis that isn't there.
fn kept(seen: &mut BTreeSet<&'static str>) {
    let upstream = Upstream::answering(answer("hi"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.db");
    std::fs::write(folder.path().join("s.db.ledger-0-0.jsonl"), "{\"torn\n").unwrap();
    let app = TestApp::start(&durability::settings(&upstream, &path.display().to_string()));
    app.until("the damaged row is counted", |app| app.metric("stagedoor_ledger_lost_total") == 1.0);
    let locked = durability::Locked::on(&path);
    assert_eq!(app.chat("m").status, 200);
    std::thread::sleep(Duration::from_millis(200));
    app.until("a row waits", |app| app.metric("stagedoor_ledger_queue") == 1.0);
    let behind = Scrape::of(&app);
    let lag = behind.value("stagedoor_ledger_lag_seconds");
    assert!((0.1..20.0).contains(&lag), "{lag}");
    seen.extend(behind.moved_since(&Scrape::default()));
    drop(locked);
    app.until("nothing waits", |app| (app.metric("stagedoor_ledger_queue"), app.metric("stagedoor_ledger_lag_seconds")) == (0.0, 0.0));

    let limits = "[[auth.keys]]\nname = \"team\"\nkey = { value = \"sk-limited-0123456789abcdef\" }\nrpm = 100\n";
    let app = alone(&upstream.provider("p"), &format!("[shared]\nurl = \"redis://{}\"\n{limits}", closed_port()));
    let before = Scrape::of(&app);
    seen.extend(before.moved_since(&before));
    let key = ("authorization", "Bearer sk-limited-0123456789abcdef");
    assert_eq!(app.client().post("/v1/chat/completions", &[key], &chat_body("m")).status, 200);
    seen.extend(Scrape::of(&app).moved_since(&before));
}

const NEWS: [&str; 2] = ["stagedoor_shared_news_told", "stagedoor_shared_news_heard"];

/// What gateways tell each other.
fn news(seen: &mut BTreeSet<&'static str>) {
    let Some(redis) = Redis::start() else {
        seen.extend(NEWS);
        return;
    };
    let upstream = Upstream::answering(answer("hi"));
    let text = format!("[shared]\nurl = \"{}\"\n[store]\nurl = \"sqlite://s.db\"\n{}", redis.url(), upstream.provider("p"));
    let app = TestApp::administered(&text);
    let before = Scrape::of(&app);
    app.until("it listens", |_| redis.order("PUBSUB NUMSUB stagedoor:news").contains("\r\n:1\r\n"));
    assert_eq!(app.admin("/admin/keys", r#"{"name": "team"}"#).status, 201);
    redis.call(&["PUBLISH", "stagedoor:news", r#"{"from": "another", "keys": true}"#]);
    app.until("both is counted", |app| {
        let now = Scrape::of(app);
        NEWS.iter().all(|name| now.value(&format!("{name}_total")) == 1.0)
    });
    seen.extend(Scrape::of(&app).moved_since(&before));
}

/// Actors that die, and one that is told more than it can hold.
fn house(seen: &mut BTreeSet<&'static str>) {
    let dead = provider_at("p", &format!("http://{}/v1", closed_port()), "");
    let (app, _spare) = spared(&dead, &SHORT.replace("[retry]", "[retry]\nsame_target = 0"));
    let before = Scrape::of(&app);
    let release = actors::tarrying(&app, "p");
    let fitting = (0..100_000).take_while(|_| actors::told_nothing(&app, "p")).count();
    assert_eq!(app.chat("m").content(), "spare");
    app.until("the lost report is counted", |app| app.metric("stagedoor_dropped_reports_total") == 1.0);
    let full = Scrape::of(&app);
    let waiting = full.value("stagedoor_waiting_reports{provider=\"p\"}");
    assert!(waiting > 0.0 && waiting <= fitting as f64 + 1.0, "{waiting} of {fitting}");
    seen.extend(full.moved_since(&before));
    release.send(()).unwrap();
    app.until("all is heard", |app| app.metric("stagedoor_waiting_reports{provider=\"p\"}") == 0.0);

    actors::kill_routers(&app);
    assert_eq!(app.chat("m").content(), "spare");
    seen.extend(Scrape::of(&app).moved_since(&before));
}

#[test]
fn every_metric_is_moved_by_its_traffic_and_by_no_more_than_that() {
    let mut seen = BTreeSet::new();
    traffic(&mut seen);
    for scenario in [streams, calls, kept, house, news] {
        scenario(&mut seen);
    }
    // Only a whole process has a log: see `log`.
    seen.insert("stagedoor_log_unwritten_lines");
    let still: Vec<_> = names::ALL.iter().map(|name| name.name).filter(|name| !seen.contains(name)).collect();
    assert!(still.is_empty(), "nothing moved {still:?}");
}
