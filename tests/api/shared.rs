//! Two gateways over one Redis, a real one that each test starts: together they keep a key's limits, and where Redis is away or
//! slow each keeps them by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use serde_json::json;
use stagedoor::access::{Budget, Leased, VirtualKey, Window};

use super::support::{Client, Redis, Reply, TestApp, Upstream, plain};

const KEY: &str = "Bearer sk-limited-0123456789abcdef";

/// Answers that used 60 tokens, at a tenth of a cent.
fn upstream() -> Upstream {
    let usage = r#"{"prompt_tokens":50,"completion_tokens":10,"total_tokens":60}"#;
    let choices = r#"[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]"#;
    Upstream::answering(plain(&format!(r#"{{"id":"c","choices":{choices},"usage":{usage}}}"#)))
}

fn gateway(redis: &Redis, upstream: &Upstream, limits: &str) -> TestApp {
    TestApp::start(&format!(
        "[shared]\nurl = \"redis://127.0.0.1:{}\"\n[[auth.keys]]\nname = \"team\"\nkey = {{ value = \"sk-limited-0123456789abcdef\" }}\n{limits}\n{}\
         [models.m]\ntargets = [{{ provider = \"p\", model = \"up\", price = {{ input = 1000, output = 1000 }} }}]\n",
        redis.port,
        upstream.provider("p")
    ))
}

/// May use 75 tokens: seven and a half cents.
fn ask(client: Client) -> Reply {
    let body = |text: &str| json!({"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": text}]}).to_string();
    client.post("/v1/chat/completions", &[("authorization", KEY)], &body(&"x".repeat(220 - body("").len())))
}

/// So many callers at once, half of them at each gateway; each asks again for as long as the gateway says that it may help.
fn crowd(callers: usize, apps: [&TestApp; 2], again: bool) -> Vec<Reply> {
    let gate = Barrier::new(callers);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..callers)
            .map(|number| {
                let (client, gate) = (apps[number % 2].client(), &gate);
                scope.spawn(move || {
                    gate.wait();
                    loop {
                        let reply = ask(client);
                        if !again || reply.header("x-should-retry") != Some("true") {
                            return reply;
                        }
                        std::thread::sleep(Duration::from_millis(20));
                    }
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

fn alone(app: &TestApp) -> f64 {
    app.metric("stagedoor_shared_fallbacks_total")
}

#[test]
fn row_63_two_gateways_never_spend_more_than_one_budget() {
    let Some(redis) = Redis::start() else { return };
    let up = upstream();
    let budget = "budget = { usd = 6.0, window = \"day\" }";
    let (one, other) = (gateway(&redis, &up, budget), gateway(&redis, &up, budget));
    assert_eq!([ask(one.client()).status, ask(other.client()).status], [200, 200]);
    let replies = crowd(1_000, [&one, &other], true);
    let calls = up.count();
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count() + 2, calls);
    assert!(replies.iter().all(|reply| reply.status == 200 || reply.code() == "budget_exceeded"));
    println!("{calls} calls of 1,000 callers at 6 cents, of 6 dollars; {} decided alone", alone(&one) + alone(&other));
    assert!((97..=100).contains(&calls), "{calls} calls at 6 cents, of 6 dollars; alone {} and {}", alone(&one), alone(&other));
}

#[test]
fn row_64_two_gateways_keep_one_rate_and_one_number_at_once() {
    let Some(redis) = Redis::start() else { return };
    let up = upstream();
    let (one, other) = (gateway(&redis, &up, "rpm = 100"), gateway(&redis, &up, "rpm = 100"));
    assert_eq!([ask(one.client()).status, ask(other.client()).status], [200, 200]);
    let began = Instant::now();
    let replies = crowd(1_000, [&one, &other], false);
    let (calls, come) = (up.count(), began.elapsed().as_secs_f64() * 100.0 / 60.0);
    let by_itself = alone(&one) + alone(&other);
    println!("{calls} calls of 1,000 callers at 100 a minute, and {come:.1} more that came meanwhile; {by_itself} decided alone");
    assert!(calls >= 95 && calls as f64 <= 100.0 + come + 1.0, "{calls}; {by_itself} decided alone");
    let refused = replies.iter().find(|reply| reply.status == 429).unwrap();
    assert_eq!((refused.code(), refused.header("retry-after")), ("rate_limit_exceeded".into(), Some("1")));

    let under_way = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let own = Arc::clone(&under_way);
    let slow = Upstream::by(move |_| {
        own.1.fetch_max(own.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        own.0.fetch_sub(1, Ordering::SeqCst);
        plain(r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#)
    });
    redis.order("FLUSHALL");
    let (one, other) = (gateway(&redis, &slow, "concurrency = 10"), gateway(&redis, &slow, "concurrency = 10"));
    let replies = crowd(1_000, [&one, &other], false);
    let (served, most) = (replies.iter().filter(|reply| reply.status == 200).count(), under_way.1.load(Ordering::SeqCst));
    let by_itself = alone(&one) + alone(&other);
    println!("{served} of 1,000 callers served, {most} at once of 10; {by_itself} decided alone");
    assert!(served >= 10 && most <= 10, "{most}; {by_itself} decided alone");
    one.until("the permits are back", |app| ask(app.client()).status == 200);
    assert_eq!(ask(other.client()).status, 200);
}

/// Both know of each other.
fn met(apps: [&TestApp; 2]) {
    apps.iter().for_each(|app| app.until("both are known", |app| app.metric("stagedoor_shared_gateways") == 2.0));
}

#[test]
fn row_64_while_redis_is_away_each_has_its_share() {
    let Some(mut redis) = Redis::start() else { return };
    let up = upstream();
    let limits = "rpm = 100\nbudget = { usd = 60.0 }";
    let (one, other) = (gateway(&redis, &up, limits), gateway(&redis, &up, limits));
    met([&one, &other]);
    assert_eq!([ask(one.client()).status, ask(other.client()).status], [200, 200]);
    redis.kill();
    let began = Instant::now();
    crowd(400, [&one, &other], false);
    let (calls, come) = (up.count(), began.elapsed().as_secs_f64() * 100.0 / 60.0);
    let by_itself = alone(&one) + alone(&other);
    println!("{calls} calls of 400 callers at 100 a minute without Redis, and {come:.1} that came meanwhile");
    assert!(by_itself >= 400.0 && calls >= 90 && calls as f64 <= 100.0 + come + 1.0, "{calls}, of which {come} came meanwhile");
    // What was used meanwhile is told: Redis, new as it is, doesn't begin a minute anew.
    redis.again();
    [&one, &other].iter().for_each(|app| app.until("it is back", |app| app.metric("stagedoor_shared_up") == 1.0));
    crowd(400, [&one, &other], false);
    let (calls, come) = (up.count(), began.elapsed().as_secs_f64() * 100.0 / 60.0);
    println!("{calls} after Redis was there again, of which {come:.1} came meanwhile");
    assert!(calls as f64 <= 105.0 + come + 1.0, "{calls}, of which {come} came meanwhile");
}

#[test]
fn row_63_what_redis_decides_too_late_is_put_right() {
    let Some(redis) = Redis::start() else { return };
    let up = upstream();
    let budget = "budget = { usd = 6.0, window = \"day\" }";
    let (one, other) = (gateway(&redis, &up, budget), gateway(&redis, &up, budget));
    met([&one, &other]);
    assert_eq!([ask(one.client()).status, ask(other.client()).status], [200, 200]);
    redis.stand(true);
    let replies = crowd(300, [&one, &other], false);
    let (meanwhile, by_itself) = (up.count(), alone(&one) + alone(&other));
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count() + 2, meanwhile);
    assert!(by_itself == 300.0 && (80..=100).contains(&meanwhile), "{meanwhile}; {by_itself} decided alone");
    redis.stand(false);
    [&one, &other].iter().for_each(|app| app.until("it is back", |app| app.metric("stagedoor_shared_up") == 1.0));
    crowd(300, [&one, &other], true);
    let calls = up.count();
    println!("{meanwhile}, then {calls} calls at 6 cents, of 6 dollars; {by_itself} decided alone");
    assert!((97..=100).contains(&calls), "{calls}; {meanwhile} of them while Redis was late");
    let spent = || redis.order("HGET stagedoor:{settings:team}:limits spent");
    one.until("all of it is told once", |app| {
        ask(app.client());
        ask(other.client());
        spent().contains(&(calls as u64 * 60_000_000).to_string())
    });
    assert_eq!(redis.order("ZCARD stagedoor:{settings:team}:leases").trim(), ":0", "nothing is left behind");
}

#[test]
fn row_56_a_redis_that_dies_or_forgets_resets_nothing() {
    let Some(mut redis) = Redis::start() else { return };
    let up = upstream();
    // For twelve calls, whoever makes them.
    let terms = "budget = { usd = 0.735, window = \"month\" }";
    let app = gateway(&redis, &up, terms);
    let budget = Budget { nanos: 735_000_000, window: Window::Month, unpriced: false };
    let key = VirtualKey { id: "settings:team".into(), budget: Some(budget), ..VirtualKey::default() };
    // All is settled in Redis, and the first gateway has read that so many calls were paid for.
    let settled = |redis: &Redis, calls: u64| {
        let reserved = || redis.order("HGET stagedoor:{settings:team}:limits reserved");
        app.until("all is settled", |_| reserved().contains("\r\n0\r\n"));
        app.until("that is known", |app| {
            let own = app.gateway.allowances.of(&key, app.gateway.now()).unwrap();
            let (known, untold) = own.tell(app.gateway.now().wall);
            own.untold(untold, Leased::default());
            known == calls * 60_000_000
        });
    };
    assert_eq!([(); 3].map(|()| ask(app.client()).status), [200; 3]);
    settled(&redis, 3);
    assert!(redis.order("FLUSHALL").starts_with("+OK"));
    assert_eq!([(); 2].map(|()| ask(app.client()).status), [200; 2], "18 cents are known here");
    settled(&redis, 5);
    let other = gateway(&redis, &up, terms);
    assert_eq!(ask(other.client()).status, 200);
    app.until("the other's is settled", |_| redis.order("HGET stagedoor:{settings:team}:limits spent").contains("360000000"));
    assert_eq!(ask(app.client()).status, 200);
    settled(&redis, 7);
    redis.kill();
    assert_eq!([(); 2].map(|()| ask(app.client()).status), [200; 2], "by its own account");
    assert!(alone(&app) >= 1.0);
    app.until("it is known to be away", |app| app.metric("stagedoor_shared_up") == 0.0);
    redis.again();
    app.until("it is back", |app| app.metric("stagedoor_shared_up") == 1.0);
    let replies: Vec<_> = (0..8).map(|_| ask(app.client())).collect();
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    assert!(up.count() <= 12 && served >= 2, "{} calls at 6 cents, of 73.5", up.count());
    assert_eq!(replies.last().unwrap().code(), "budget_exceeded");
    // Its connection is a dead one: it may decide once by itself.
    other.until("the other learns it from Redis", |other| ask(other.client()).code() == "budget_exceeded");
}

#[test]
fn row_57_a_slow_redis_holds_nobody_up() {
    let Some(redis) = Redis::start() else { return };
    let up = upstream();
    let app = gateway(&redis, &up, "rpm = 1000\nbudget = { usd = 100.0 }");
    assert_eq!(ask(app.client()).status, 200);
    let held = "stagedoor:{settings:team}:limits";
    let spent = |redis: &Redis| redis.order(&format!("HGET {held} spent"));
    let end = Instant::now() + Duration::from_secs(5);
    // On a machine that is busy the first may have been decided here: the next tells it.
    while !spent(&redis).contains(&(up.count() as u64 * 60_000_000).to_string()) {
        assert!(Instant::now() < end, "what it cost is told: {}", spent(&redis));
        if alone(&app) > 0.0 {
            assert_eq!(ask(app.client()).status, 200);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (before, made) = (alone(&app), up.count());
    assert!(redis.order("CLIENT PAUSE 2000 ALL").starts_with("+OK"));
    let mut waits: Vec<_> = (0..40)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(ask(app.client()).status, 200);
            began.elapsed()
        })
        .collect();
    waits.sort();
    // Two late decisions on each worker, then none waits.
    assert!(waits[15] < Duration::from_millis(45), "{waits:?}");
    assert!(alone(&app) - before >= 39.0, "{} {before}", alone(&app));
    app.until("it is back", |app| app.metric("stagedoor_shared_up") == 1.0);
    // The next decision of Redis' tells it all.
    let now_decided = |app: &TestApp| {
        let before = alone(app);
        assert_eq!(ask(app.client()).status, 200);
        alone(app) == before
    };
    app.until("Redis decides", now_decided);
    assert!(up.count() > made + 40);
    app.until("all is told", |_| spent(&redis).contains(&(up.count() as u64 * 60_000_000).to_string()));
    assert_eq!(redis.order("ZCARD stagedoor:{settings:team}:leases").trim(), ":0", "nothing is left behind");
}

#[test]
fn a_gateway_that_dies_gives_its_permits_back() {
    let Some(redis) = Redis::start() else { return };
    let up = upstream();
    let app = gateway(&redis, &up, "concurrency = 1\nbudget = { usd = 1.0 }");
    assert_eq!(ask(app.client()).status, 200);
    let (held, leases) = ("stagedoor:{settings:team}:limits", "stagedoor:{settings:team}:leases");
    app.until("its lease is over", |_| redis.order(&format!("ZCARD {leases}")).starts_with(":0"));
    // As another gateway would have left it: under way for ever, then over.
    redis.order(&format!("ZADD {leases} 9000000000000000 dead"));
    redis.order(&format!("HSET {held} n:dead 500000000 reserved 500000000"));
    assert_eq!(ask(app.client()).code(), "rate_limit_exceeded");
    redis.order(&format!("ZADD {leases} 1 dead"));
    let reply = ask(app.client());
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!((0..10).map(|_| ask(app.client()).status).filter(|status| *status == 200).count(), 6, "what it had reserved is spent");
}

/// One gateway's question to the script: its number for the window by its own clock, and what it asks for. What came of it, and what is
/// spent.
fn decide(redis: &Redis, window: u64, lease: &str, (rpm, budget, nanos): (u64, u64, u64)) -> (i64, i64) {
    let numbers = script(redis, (rpm, budget, window), ["ask", lease, "1", &nanos.to_string(), "0", "0"]);
    (numbers[6], numbers[2])
}

fn script(redis: &Redis, (rpm, budget, window): (u64, u64, u64), asked: [&str; 6]) -> Vec<i64> {
    let terms = [rpm, 0, 0, budget, window, 0, 0, 0, 0, 60_000_000].map(|number| number.to_string());
    let mut call = vec!["EVAL", include_str!("../../src/proxy/shared/limits.lua"), "2", "{k}:limits", "{k}:leases"];
    call.extend(terms.iter().map(String::as_str));
    call.extend(asked);
    let answer = redis.call(&call);
    let numbers: Vec<i64> = answer.lines().filter_map(|line| line.strip_prefix(':')?.parse().ok()).collect();
    assert_eq!(numbers.len(), 10, "{answer}");
    numbers
}

fn settle(redis: &Redis, (budget, window): (u64, u64), lease: &str, cost: u64) {
    script(redis, (0, budget, window), ["end", lease, "0", "0", &cost.to_string(), "0"]);
}

#[test]
fn row_58_clocks_that_are_an_hour_off_begin_no_window_twice() {
    let Some(redis) = Redis::start() else { return };
    // Gateways whose clocks say yesterday, today and tomorrow, around a midnight; 1,000 may be spent a day.
    let (behind, right, ahead) = (19_999, 20_000, 20_001);
    let mut leases = 0..;
    let mut spend = |window| {
        let lease = leases.next().unwrap().to_string();
        let (code, spent) = decide(&redis, window, &lease, (0, 1_000, 300));
        if code == 0 {
            settle(&redis, (1_000, window), &lease, 300);
        }
        (code, spent)
    };
    assert_eq!([right, behind, right].map(&mut spend), [(0, 0), (0, 300), (0, 600)], "one that is behind begins nothing");
    assert_eq!([right, behind].map(&mut spend), [(4, 900), (4, 900)]);
    assert_eq!(spend(ahead), (0, 0), "a new day, by the first clock that says so");
    assert_eq!([right, ahead, right, ahead].map(&mut spend), [(0, 300), (0, 600), (4, 900), (4, 900)], "and not once more");
    // Redis' own clock goes back by an hour, as the bucket sees it: nothing is given for that, nothing is held back for it.
    redis.order("FLUSHALL");
    let ask = |lease: &str| decide(&redis, right, lease, (600, 0, 0)).0;
    assert_eq!(ask("a"), 0);
    let in_an_hour = 4_000_000_000_000_000u64;
    redis.order(&format!("HSET {{k}}:limits requests 0 requests_at {in_an_hour}"));
    assert_eq!(ask("b"), 1, "no gift");
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(ask("c"), 0, "ten a second come from here on");
    // And forward: a full bucket at most.
    redis.order("HSET {k}:limits requests 0 requests_at 0");
    let began = Instant::now();
    let let_in = (0..700).filter(|number| ask(&format!("d{number}")) == 0).count();
    let come = began.elapsed().as_secs_f64() * 10.0 + 1.0;
    assert!(let_in >= 600 && let_in as f64 <= 600.0 + come, "{let_in}, of which {come} have come since");
}
