//! Where more is asked than there is room for: who is refused, who goes on, and that it passes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::support::faults::{attempts, breaker};
use super::support::load::{paced, quantile};
use super::support::{
    Client, Process, STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chat_body, chat_bytes, chunk, event, read_rest, read_until,
    status, stream_body,
};

/// An upstream that takes every call, holds it without a thread of its own, and answers none.
struct Silent {
    address: SocketAddr,
    held: Arc<Mutex<Vec<TcpStream>>>,
    stopped: Arc<AtomicBool>,
}

impl Silent {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = Self { address: listener.local_addr().unwrap(), held: Arc::default(), stopped: Arc::default() };
        let (held, stopped) = (Arc::clone(&silent.held), Arc::clone(&silent.stopped));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                if matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    held.lock().unwrap().push(stream);
                }
            }
        });
        silent
    }

    fn provider(&self, name: &str, more: &str) -> String {
        format!("[providers.{name}]\ndialect = \"openai\"\nbase_url = \"http://{}/v1\"\nkeys = []\n{more}\n", self.address)
    }

    fn count(&self) -> usize {
        self.held.lock().unwrap().len()
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Sends a call and doesn't wait for its answer.
fn begin(client: Client, model: &str) -> TcpStream {
    let mut caller = client.connect();
    caller.write_all(&chat_bytes(&[], &chat_body(model))).unwrap();
    caller
}

fn refusals(client: Client, kind: &str) -> f64 {
    let page = client.get("/metrics").text();
    let series = format!("stagedoor_limit_refusals_total{{kind=\"{kind}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series)).expect("it is there from the start").parse().unwrap()
}

#[test]
fn row_66_with_every_target_open_callers_are_refused_at_once_and_targets_left_alone() {
    let upstreams: Vec<_> = (0..3).map(|_| Upstream::answering(status(500, "", ""))).collect();
    let providers: String = upstreams.iter().enumerate().map(|(n, upstream)| upstream.provider(&format!("p{n}"))).collect();
    let targets: Vec<_> = (0..3).map(|n| format!("{{ provider = \"p{n}\", model = \"x\" }}")).collect();
    // Open periods far below a second: what bounds the probes is the policy.
    let app = TestApp::start(&format!(
        "[breaker]\nwhen_all_open = \"refuse\"\nopen_for = \"100ms\"\nopen_for_max = \"100ms\"\n{providers}\
         [models.m]\ntargets = [{}]\n",
        targets.join(", ")
    ));
    app.until("all are open", |app| app.chat("m").code() == "no_healthy_target");
    let (begun, before): (_, usize) = (Instant::now(), upstreams.iter().map(Upstream::count).sum());
    let mut refused = Vec::new();
    while begun.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        let reply = app.chat("m");
        match reply.status {
            503 => {
                assert_eq!((reply.code().as_str(), reply.header("x-should-retry")), ("no_healthy_target", Some("true")));
                let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
                assert!(wait >= 1);
                refused.push(asked.elapsed());
            }
            // It was a probe.
            status => assert_eq!(status, 502, "{}", reply.text()),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let calls = upstreams.iter().map(Upstream::count).sum::<usize>() - before;
    refused.sort();
    let (median, count) = (refused[refused.len() / 2], refused.len());
    println!("{count} refused, median {median:?}; {calls} calls to 3 targets in {seconds:.1} s");
    assert!(median < Duration::from_millis(5), "{median:?}");
    // One a second and target, and the one that a second begins with.
    assert!(calls as f64 <= 3.0 * (seconds + 1.0), "{calls} calls in {seconds} s");
    assert!(count > 100, "{count}");
}

#[test]
fn row_69_a_provider_that_hangs_slows_no_other_and_its_full_house_is_held_against_nobody() {
    const HOUSE: usize = 500;
    const USUAL: Duration = Duration::from_millis(100);
    let hung = Silent::start();
    let well = Upstream::start(|_, stream| {
        std::thread::sleep(USUAL);
        stream.write_all(&answer("well")).is_ok()
    });
    let app = TestApp::start(&format!(
        "[timeouts]\nfirst_byte = \"60s\"\n{}{}[models.hung]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n\
         [models.well]\ntargets = [{{ provider = \"w\", model = \"up\" }}]\n\
         [models.either]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\" }}, {{ provider = \"w\", model = \"up\" }}]\n",
        hung.provider("p", &format!("max_concurrency = {HOUSE}")),
        well.provider("w"),
    ));
    let others = || {
        let samples = paced(app.client(), 300, 60, 16, |client| client.post("/v1/chat/completions", &[], &chat_body("well")));
        assert!(samples.iter().all(|sample| sample.reply.status == 200));
        (quantile(&samples, 0.5), quantile(&samples, 0.99))
    };
    let alone = others();
    let callers: Vec<_> = (0..HOUSE).map(|_| begin(app.client(), "hung")).collect();
    app.until("all of them hang", |_| hung.count() == HOUSE);
    let beside = others();
    println!("p50, p99 of the others: {alone:?} alone, {beside:?} with {HOUSE} calls hanging");
    // Five in a hundred, and what a busy machine's scheduler may add to a call.
    assert!(beside.0 <= alone.0.mul_f64(1.05) + Duration::from_millis(5), "{alone:?} {beside:?}");
    assert!(beside.1 <= alone.1.mul_f64(1.05) + Duration::from_millis(60), "{alone:?} {beside:?}");
    // Full, it is passed over at once by those who have another; nobody else is let in, and nothing is counted against it.
    let asked = Instant::now();
    assert_eq!(app.chat("either").content(), "well");
    let refused = app.chat("hung");
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (503, "no_healthy_target", Some("1")));
    assert!(refused.text().contains("at its concurrency limit"), "{}", refused.text());
    assert_eq!((hung.count(), attempts(&app, "transient"), breaker(&app).as_str()), (HOUSE, 0.0, "closed"));
    assert_eq!(app.health()["providers"]["p"]["window"]["calls"], 0);
    drop(callers);
    app.until("its places are free again", |app| app.metric("stagedoor_in_flight{provider=\"p\"}") == 0.0);
    let another = begin(app.client(), "hung");
    app.until("it is called again", |_| hung.count() == HOUSE + 1);
    drop(another);
}

#[test]
fn what_the_limits_refuse_is_counted_and_health_is_not_refused() {
    let hung = Silent::start();
    let model = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
    let app = TestApp::start(&format!("[server]\nmax_requests = 1\n{}{model}", hung.provider("p", "")));
    let held = begin(app.client(), "m");
    app.until("it is under way", |_| hung.count() == 1);
    for _ in 0..3 {
        let refused = app.chat("m");
        assert_eq!((refused.status, refused.code().as_str(), refused.header("retry-after")), (503, "overloaded", Some("1")));
    }
    assert_eq!((refusals(app.client(), "max_requests"), refusals(app.client(), "memory")), (3.0, 0.0));
    for path in ["/health", "/health/live", "/metrics", "/v1/models"] {
        assert_eq!(app.client().get(path).status, 200, "{path}");
    }
    drop(held);
    app.until("its place is free", |app| app.metric("stagedoor_in_flight{provider=\"p\"}") == 0.0);
    let another = begin(app.client(), "m");
    app.until("it is under way", |_| hung.count() == 2);
    drop(another);
}

/// A stream's upstream that says a first word to each call and the rest when it is told to.
struct Holding {
    upstream: Upstream,
    finish: Arc<AtomicBool>,
}

impl Holding {
    fn start() -> Self {
        let finish: Arc<AtomicBool> = Arc::default();
        let told = Arc::clone(&finish);
        let upstream = Upstream::start(move |_, stream| {
            let _ = stream.write_all(format!("{STREAM_HEAD}{}", chunk(&event("begun"))).as_bytes());
            while !told.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = stream.write_all(format!("{}0\r\n\r\n", chunk(STREAM_END)).as_bytes());
            false
        });
        Self { upstream, finish }
    }

    fn serve(&self) -> Process {
        let model = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";
        Process::serve(&format!("[server]\nworkers = 2\nheartbeat = \"0s\"\n{}{model}", self.upstream.provider("p")), &[])
    }

    /// Lets all streams end: what was under way is whole.
    fn finish(&self, streams: Vec<TcpStream>) {
        self.finish.store(true, Ordering::SeqCst);
        for mut stream in streams {
            read_until(&mut stream, "[DONE]");
        }
    }
}

/// A stream whose first word is there; None: it was refused, as it should be.
fn open_stream(client: Client) -> Option<TcpStream> {
    let mut caller = client.connect();
    caller.write_all(&chat_bytes(&[], &stream_body("m"))).unwrap();
    let mut status = [0; 12];
    caller.read_exact(&mut status).unwrap();
    if status.ends_with(b"200") {
        read_until(&mut caller, "begun");
        return Some(caller);
    }
    assert!(status.ends_with(b"503"), "{}", String::from_utf8_lossy(&status));
    // To the end of the connection: it is closed, so that its descriptor is free.
    let refusal = read_rest(&mut caller);
    assert!(refusal.contains("overloaded") && refusal.contains("retry-after: 1\r\n"), "{refusal}");
    None
}

/// Tries until a stream is begun; leaves it.
fn until_served(client: Client) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match open_stream(client) {
            Some(stream) => return stream.shutdown(Shutdown::Both).unwrap(),
            None => assert!(Instant::now() < end, "still refused"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What a process has spent of the processor, in all its threads.
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn address_space(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Changes a limit of a running process, as `ulimit` would have before it began.
fn limit(process: &Process, resource: rlimit::Resource, soft: u64) {
    let pid = i32::try_from(process.id()).unwrap();
    let (mut old, mut hard) = (0, 0);
    rlimit::prlimit(pid, resource, None, Some((&mut old, &mut hard))).unwrap();
    rlimit::prlimit(pid, resource, Some((soft.min(hard), hard)), None).unwrap();
}

#[test]
fn row_62_without_descriptors_new_requests_are_refused_old_ones_finish_and_it_passes() {
    const LIMIT: u64 = 128;
    let holding = Holding::start();
    let process = holding.serve();
    let client = process.client();
    limit(&process, rlimit::Resource::NOFILE, LIMIT);
    // It looks once a second at what there is.
    std::thread::sleep(Duration::from_millis(1_500));
    let mut streams = Vec::new();
    while let Some(stream) = open_stream(client) {
        streams.push(stream);
        assert!(streams.len() < LIMIT as usize / 2, "nobody is refused");
    }
    let held = streams.len();
    assert!(held >= 10, "{held} streams of {LIMIT} descriptors");
    assert!((0..20).all(|_| open_stream(client).is_none()));
    assert!(refusals(client, "descriptors") >= 21.0);
    assert_eq!(client.get("/health").status, 200, "who asks how it is is answered");
    // Callers who only connect take all that is left; nobody spins meanwhile.
    let idle: Vec<_> = (0..2 * LIMIT).map(|_| client.connect()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let before = processor_time(process.id());
    std::thread::sleep(Duration::from_secs(2));
    let spent = processor_time(process.id()) - before;
    println!("{held} streams held, the next refused; {spent:?} of processor in 2 s without a descriptor");
    assert!(spent < Duration::from_millis(700), "{spent:?}");
    drop(idle);
    holding.finish(streams);
    until_served(client);
    let p = client.get("/health").json()["providers"]["p"].clone();
    assert_eq!((p["breaker"].as_str(), &p["window"]["failures"]), (Some("closed"), &0.into()), "nobody else was blamed");
}

#[test]
fn row_62_without_memory_new_requests_are_refused_old_ones_finish_and_it_passes() {
    let holding = Holding::start();
    let process = holding.serve();
    let client = process.client();
    let stream = open_stream(client).expect("there is room");
    // A little more than it has.
    limit(&process, rlimit::Resource::AS, address_space(process.id()) / 100 * 105);
    let (end, mut others) = (Instant::now() + Duration::from_secs(10), Vec::new());
    while let Some(other) = open_stream(client) {
        assert!(Instant::now() < end, "nobody is refused");
        others.push(other);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(refusals(client, "memory") >= 1.0);
    assert_eq!(client.get("/health/live").status, 200);
    others.push(stream);
    holding.finish(others);
    limit(&process, rlimit::Resource::AS, rlimit::INFINITY);
    until_served(client);
}
