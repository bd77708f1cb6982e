//! Stored answers that several gateways share: what one was given the other gives, and whatever is wrong with Redis or with what lies
//! there is a call more, never a wrong answer and never a wait.

use std::time::{Duration, Instant};

use super::support::{Redis, Reply, TestApp, Upstream, answer, chat_body, stream};

/// Answers each call with its number, plain or as a stream.
fn counting() -> Upstream {
    Upstream::by(|call| {
        let number = call.number.to_string();
        if call.text().contains(r#""stream":true"#) { stream(&["call ", &number]) } else { answer(&number) }
    })
}

fn gateway(redis: &Redis, upstream: &Upstream, more: &str) -> TestApp {
    TestApp::start(&format!(
        "[shared]\nurl = \"{}\"\n[cache]\nmode = \"exact\"\n{more}\n{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        redis.url(),
        upstream.provider("p")
    ))
}

fn cache(reply: &Reply) -> &str {
    reply.header("x-stagedoor-cache").unwrap_or_default()
}

fn ask(app: &TestApp, text: &str) -> Reply {
    app.client().post("/v1/chat/completions", &[], &chat_body("m").replace("Hello", text))
}

/// Waits until so many answers lie there, and gives their names.
fn kept(app: &TestApp, redis: &Redis, count: usize) -> Vec<String> {
    let names = || {
        let listed = redis.order("KEYS stagedoor:answer:*");
        listed.lines().filter(|line| line.starts_with("stagedoor:")).map(str::to_owned).collect::<Vec<_>>()
    };
    app.until("they are kept", |_| names().len() == count);
    names()
}

#[test]
fn what_one_gateway_was_given_the_other_gives() {
    let Some(redis) = Redis::start() else { return };
    let upstream = counting();
    let (one, other) = (gateway(&redis, &upstream, "ttl = \"1h\""), gateway(&redis, &upstream, "ttl = \"1h\""));
    // On a machine that is busy an answer may come too late to be one: the next is tried then.
    let tries = (1..=10).map(|number| {
        let first = ask(&one, &format!("{number}"));
        assert_eq!(cache(&first), "miss");
        let names = kept(&one, &redis, number);
        (first, ask(&other, &format!("{number}")), names)
    });
    let (first, second, names) = tries.into_iter().find(|(_, second, _)| cache(second) == "hit").expect("it comes in time");
    assert_eq!(second.body, first.body);
    assert_eq!((second.header("x-stagedoor-provider"), second.header("x-stagedoor-model")), (Some("p"), Some("up")));
    assert_eq!((second.header("x-stagedoor-cost"), second.header("x-stagedoor-attempts")), (Some("0"), Some("0")));
    let left: i64 = redis.order(&format!("TTL {}", names[0])).trim_start_matches(':').trim().parse().unwrap();
    assert!((3_500..=3_600).contains(&left), "{left}");
    let told = one.stream("m");
    kept(&one, &redis, names.len() + 1);
    let again = other.stream("m");
    assert_eq!((cache(&told), again.terminals()), ("miss", 1));
    assert!(cache(&again) != "hit" || again.body == told.body, "the same events");
    // Anew at one: the other has it, once what is kept close at hand is old.
    let anew = one.client().post("/v1/chat/completions", &[("x-stagedoor-cache", "refresh")], &chat_body("m"));
    let anew = anew.content();
    kept(&one, &redis, names.len() + 2);
    let known = other.chat("m");
    assert!(cache(&known) != "hit" || known.content() == anew, "{}", known.content());
}

#[test]
fn what_is_broken_too_large_or_something_else_is_a_miss() {
    let Some(redis) = Redis::start() else { return };
    let upstream = Upstream::by(|call| {
        let text = call.text();
        answer(&if text.contains("large") { "x".repeat(5 << 20) } else { call.number.to_string() })
    });
    let (one, other) = (gateway(&redis, &upstream, ""), gateway(&redis, &upstream, ""));
    assert_eq!(ask(&one, "a").content(), "0");
    let name = kept(&one, &redis, 1).remove(0);
    let length: usize = redis.order(&format!("STRLEN {name}")).trim_start_matches(':').trim().parse().unwrap();
    for spoilt in [
        format!("SETRANGE {name} {} x", length - 3),
        format!("SETRANGE {name} 0 xxxx"),
        format!("SET {name} letters"),
        format!("APPEND {name} x"),
        format!("SETRANGE {name} {} x", 6 << 20),
        format!("DEL {name}"),
    ] {
        assert!(!redis.order(&spoilt).starts_with('-'), "{spoilt}");
        // These have nothing close at hand: they ask, and the first puts it right.
        let (before, fresh) = (upstream.count(), gateway(&redis, &upstream, ""));
        let reply = ask(&fresh, "a");
        assert_eq!((cache(&reply), reply.content()), ("miss", before.to_string()), "{spoilt}");
        let again = gateway(&redis, &upstream, "");
        again.until("it is put right", |again| cache(&ask(again, "a")) == "hit");
    }
    assert!(redis.order(&format!("DEL {name}")).starts_with(":1"));
    assert!(redis.order(&format!("LPUSH {name} x")).starts_with(":1"));
    let fresh = gateway(&redis, &upstream, "");
    assert_eq!(cache(&ask(&fresh, "a")), "miss", "a list is no answer");
    assert_eq!(fresh.metric("stagedoor_shared_up"), 1.0, "and no reason to think that Redis is away");
    assert_eq!(ask(&one, "large").content().len(), 5 << 20);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((kept(&one, &redis, 1).len(), cache(&ask(&other, "large"))), (1, "miss"), "it would take longer than anybody waits");
}

#[test]
fn a_redis_that_is_away_or_slow_is_a_miss_and_holds_nobody_up() {
    let Some(mut redis) = Redis::start() else { return };
    let upstream = counting();
    let app = gateway(&redis, &upstream, "coalesce = false");
    assert_eq!(cache(&ask(&app, "a")), "miss");
    kept(&app, &redis, 1);
    assert!(redis.order("CLIENT PAUSE 2000 ALL").starts_with("+OK"));
    let waits = (0..40).map(|number| {
        let began = Instant::now();
        assert_eq!(cache(&ask(&app, &format!("slow {number}"))), "miss");
        began.elapsed()
    });
    let waits: Vec<_> = waits.collect();
    // Two late answers on each worker, then nobody waits. On a busy machine all may be slow, but waiting nobody would be this quick.
    let quickest = waits[10..].iter().min().unwrap();
    assert!(*quickest < Duration::from_millis(45), "{waits:?}");
    app.until("it is back", |app| app.metric("stagedoor_shared_up") == 1.0);
    assert_eq!(cache(&ask(&app, "b")), "miss");
    std::thread::sleep(Duration::from_millis(2_100));
    assert_eq!(cache(&ask(&app, "b")), "hit", "from Redis: what is close at hand is old");
    redis.kill();
    let began = Instant::now();
    assert_eq!(ask(&app, "c").status, 200);
    assert!(began.elapsed() < Duration::from_secs(1));
    redis.again();
    app.until("it is used again", |app| app.metric("stagedoor_shared_up") == 1.0 && !kept_any(app, &redis).is_empty());
}

/// Asks something new, and gives what lies there a moment later.
fn kept_any(app: &TestApp, redis: &Redis) -> String {
    ask(app, &format!("{:?}", Instant::now()).replace(['"', '{', '}'], ""));
    std::thread::sleep(Duration::from_millis(20));
    redis.order("KEYS stagedoor:answer:*").lines().find(|line| line.starts_with("stagedoor:")).unwrap_or_default().to_owned()
}

#[test]
fn keys_share_no_answer_over_redis_either() {
    let Some(redis) = Redis::start() else { return };
    let upstream = counting();
    let keys = ["a", "b"]
        .map(|name| format!("[[auth.keys]]\nname = \"{name}\"\nkey = {{ value = \"sk-{name}-0123456789abcdef0123456789\" }}\n"))
        .concat();
    let (one, other) = (gateway(&redis, &upstream, &keys), gateway(&redis, &upstream, &keys));
    let ask = |app: &TestApp, name: &str| {
        app.client().post(
            "/v1/chat/completions",
            &[("authorization", &format!("Bearer sk-{name}-0123456789abcdef0123456789"))],
            &chat_body("m"),
        )
    };
    assert_eq!(ask(&one, "a").content(), "0");
    kept(&one, &redis, 1);
    assert_eq!((ask(&other, "b").content(), ask(&other, "a").content()), ("1".into(), "0".into()));
    assert_eq!(upstream.count(), 2);
}
