//! What limits a key: requests and tokens a minute, requests at once, money. Whoever comes at once, no call beyond a limit
//! reaches an upstream, and what was taken and not used comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::continuing::{Death, dying, mortal, onward, speak, words};
use super::support::{Client, Reply, TestApp, Upstream, chat_bytes, plain, read_until, status, stream_body};

const KEY: &str = "Bearer sk-limited-0123456789abcdef";

/// Answers as a chat that used so many tokens.
fn using(prompt: u64, answer: u64) -> Upstream {
    Upstream::answering(used(prompt, answer))
}

fn used(prompt: u64, answer: u64) -> Vec<u8> {
    let usage = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{answer},"total_tokens":{}}}"#, prompt + answer);
    plain(&format!(
        r#"{{"id":"c","choices":[{{"index":0,"message":{{"role":"assistant","content":"hi"}},"finish_reason":"stop"}}],"usage":{usage}}}"#
    ))
}

/// A key with these limits, and the model `m` at a dollar a thousand tokens.
fn settings(upstream: &Upstream, limits: &str) -> String {
    format!(
        "[[auth.keys]]\nname = \"team\"\nkey = {{ value = \"sk-limited-0123456789abcdef\" }}\n{limits}\n{}\
         [models.m]\ntargets = [{{ provider = \"p\", model = \"up\", price = {{ input = 1000, output = 1000 }} }}]\n\
         [models.unpriced]\ntargets = [{{ provider = \"p\", model = \"who-knows\" }}]\nfailover = [\"m\"]\n\
         [models.part]\ntargets = [{{ provider = \"p\", model = \"up\", price = {{ input = 1000, output = 1000 }} }}]\nfailover = [\"unpriced\"]\n",
        upstream.provider("p")
    )
}

fn app(upstream: &Upstream, limits: &str) -> TestApp {
    TestApp::administered(&settings(upstream, limits))
}

/// A request that is taken to use `prompt` tokens and at the most 20 more.
fn body(model: &str, prompt: usize) -> String {
    let body = |text: &str| json!({"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": text}]}).to_string();
    body(&"x".repeat(prompt * 4 - body("").len()))
}

fn ask(client: Client, body: &str) -> Reply {
    client.post("/v1/chat/completions", &[("authorization", KEY)], body)
}

fn refusals(app: &TestApp, kind: &str) -> f64 {
    app.metric(&format!("stagedoor_limit_refusals_total{{kind=\"{kind}\"}}"))
}

/// A thousand callers at once; their answers.
fn crowd(app: &TestApp, call: impl Fn(Client) -> Reply + Sync) -> Vec<Reply> {
    let gate = std::sync::Barrier::new(1_000);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..1_000)
            .map(|_| {
                scope.spawn(|| {
                    gate.wait();
                    call(app.client())
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

fn served(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status == 200).count()
}

#[test]
pub fn row_63_a_thousand_at_once_never_spend_more_than_the_budget() {
    // 50 tokens each, two thirds of what they may use: 5 cents, of a budget for 100 of them.
    let upstream = using(50, 10);
    let app = app(&upstream, "budget = { usd = 6.0, window = \"day\" }");
    let body = body("m", 55);
    let replies = crowd(&app, |client| {
        // Those who are refused ask again for as long as it may help.
        loop {
            let reply = ask(client, &body);
            if reply.header("x-should-retry") != Some("true") {
                return reply;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let calls = upstream.count();
    assert_eq!(served(&replies), calls);
    assert!(calls <= 100, "{calls} calls at 6 cents, of 6 dollars");
    assert!(calls >= 97, "{calls} calls at 6 cents, of 6 dollars");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        let error = &reply.json()["error"];
        assert_eq!((reply.status, &error["code"], &error["type"]), (429, &json!("budget_exceeded"), &json!("insufficient_quota")));
        assert_eq!((reply.header("x-should-retry"), reply.header("retry-after")), (Some("false"), None));
    }
    assert!(refusals(&app, "budget") >= 900.0);
    assert!((app.metric("stagedoor_cost_usd_total{model=\"m\"}") - calls as f64 * 0.06).abs() < 1e-9);
}

#[test]
pub fn row_64_a_thousand_at_once_have_their_requests_a_minute() {
    let upstream = using(5, 5);
    let app = app(&upstream, "rpm = 100");
    let began = Instant::now();
    let replies = crowd(&app, |client| ask(client, &body("m", 50)));
    let most = 100 + began.elapsed().as_secs() as usize * 100 / 60 + 2;
    let calls = upstream.count();
    assert_eq!(served(&replies), calls);
    assert!((100..=most).contains(&calls), "{calls} calls, of {most}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded".into()));
        assert_eq!((reply.header("retry-after"), reply.header("x-should-retry")), (Some("1"), Some("true")));
        assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("100"));
    }
    assert_eq!(refusals(&app, "rpm"), (1_000 - calls) as f64);
}

#[test]
pub fn a_thousand_at_once_are_no_more_than_may_be_at_once() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let upstream = Upstream::by(move |_| {
        peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        inside.fetch_sub(1, Ordering::SeqCst);
        used(5, 5)
    });
    let app = app(&upstream, "concurrency = 40");
    let replies = crowd(&app, |client| ask(client, &body("m", 50)));
    assert_eq!(served(&replies), upstream.count());
    // How many of them the upstream has in hand at once is the machine's affair.
    assert!((2..=40).contains(&most.load(Ordering::SeqCst)), "{}", most.load(Ordering::SeqCst));
    assert!(replies.iter().all(|reply| reply.status == 200 || reply.code() == "rate_limit_exceeded"));
    assert_eq!(refusals(&app, "concurrency"), (1_000 - upstream.count()) as f64);
    let after: Vec<_> = (0..5).map(|_| ask(app.client(), &body("m", 50)).status).collect();
    assert_eq!(after, [200; 5], "each was given back");
}

#[test]
pub fn the_headers_say_what_is_left() {
    let upstream = using(1_000, 500);
    let app = app(&upstream, "rpm = 60\ntpm = 6000");
    let reply = ask(app.client(), &body("m", 100));
    let header = |reply: &Reply, name: &str| reply.header(&format!("x-ratelimit-{name}")).unwrap_or_default().to_owned();
    assert_eq!([header(&reply, "limit-requests"), header(&reply, "limit-tokens")], ["60", "6000"]);
    assert_eq!(header(&reply, "remaining-requests"), "59");
    // 120 were taken, 1,500 used; a hundred come each second.
    let remaining: u64 = header(&reply, "remaining-tokens").parse().unwrap();
    assert!((4_500..5_500).contains(&remaining), "{remaining}");
    let reset = header(&reply, "reset-requests");
    let ms = if reset == "1s" { 1_000 } else { reset.strip_suffix("ms").unwrap().parse().unwrap() };
    assert!((500..=1_000).contains(&ms), "{reset}");
    let wrong = app.client().post("/v1/chat/completions", &[("authorization", KEY)], "{}");
    assert_eq!((wrong.status, header(&wrong, "limit-requests")), (400, "60".into()), "errors say it too");
    let streamed = Upstream::start(|_, stream| {
        speak(stream, "s", &words());
        super::support::continuing::finish(
            stream,
            &super::support::continuing::end("s", &json!({"stream_options": {"include_usage": true}}), 60),
        )
    });
    let free = TestApp::start(&settings(&streamed, ""));
    let reply = ask(free.client(), &stream_body("m"));
    assert!(reply.status == 200 && !reply.headers.iter().any(|(name, _)| name.starts_with("x-ratelimit")), "{:?}", reply.headers);
    let only = TestApp::start(&settings(&streamed, "rpm = 7"));
    let reply = ask(only.client(), &stream_body("m"));
    assert_eq!((header(&reply, "limit-requests"), reply.header("x-ratelimit-limit-tokens")), ("7".into(), None), "those it has");
}

#[test]
pub fn tokens_are_taken_by_estimate_and_settled_by_usage() {
    let upstream = using(100, 20);
    let app = app(&upstream, "tpm = 1000");
    // 620 each: the second doesn't fit beside the first's 120.
    let large = body("m", 600);
    assert_eq!(ask(app.client(), &large).status, 200);
    assert_eq!(ask(app.client(), &large).status, 200);
    assert_eq!(ask(app.client(), &large).status, 200);
    let reply = ask(app.client(), &body("m", 900));
    assert_eq!((reply.status, reply.code()), (429, "rate_limit_exceeded".into()), "{}", reply.text());
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((10..=20).contains(&wait), "{wait} s for some 280 tokens, at 1,000 a minute");
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("1000 tokens a minute"));
    assert_eq!((upstream.count(), refusals(&app, "tpm")), (3, 1.0));
}

#[test]
pub fn what_failed_cost_nothing_but_the_request() {
    let upstream = Upstream::answering(status(500, "server_error", ""));
    let app = app(&upstream, "rpm = 10\ntpm = 1000\nconcurrency = 1\nbudget = { usd = 0.07 }\n[retry]\nattempts = 1");
    for left in [9, 8, 7] {
        let reply = ask(app.client(), &body("m", 50));
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some(left.to_string().as_str()));
        assert_eq!(reply.header("x-ratelimit-remaining-tokens"), Some("1000"));
    }
}

#[test]
pub fn a_model_without_a_price_is_refused_to_a_budget() {
    let upstream = using(5, 5);
    let app = app(&upstream, "budget = { usd = 5.0 }");
    let reply = ask(app.client(), &body("unpriced", 50));
    assert_eq!((reply.status, reply.code()), (403, "model_unpriced".into()), "{}", reply.text());
    assert_eq!(reply.json()["error"]["type"], "permission_error");
    assert_eq!((upstream.count(), refusals(&app, "unpriced")), (0, 1.0));
    assert_eq!(ask(app.client(), &body("part", 50)).status, 200, "its failover's price doesn't matter to a model that has one");
    let reply = app.reload(&settings(&upstream, "budget = { usd = 5.0, unpriced = \"allow\" }"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = ask(app.client(), &body("unpriced", 50));
    assert_eq!((reply.status, reply.header("x-stagedoor-cost")), (200, None));
}

#[test]
pub fn an_unpriced_target_of_the_chain_is_left_out() {
    let (bad, good) = (Upstream::answering(status(500, "server_error", "")), using(5, 5));
    let app = TestApp::start(&format!(
        "[[auth.keys]]\nname = \"team\"\nkey = {{ value = \"sk-limited-0123456789abcdef\" }}\nbudget = {{ usd = 5.0 }}\n{}{}\
         [models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\", price = {{ input = 1, output = 1 }} }}, {{ provider = \"q\", model = \"up\" }}]\n",
        bad.provider("p"),
        good.provider("q")
    ));
    let reply = ask(app.client(), &body("m", 50));
    assert_eq!((reply.status, good.count()), (502, 0), "{}", reply.text());
}

#[test]
pub fn a_reload_keeps_what_was_used() {
    let upstream = using(50, 10);
    let app = app(&upstream, "rpm = 3\nbudget = { usd = 0.15 }");
    assert_eq!([(); 2].map(|()| ask(app.client(), &body("m", 55)).status), [200, 200]);
    assert_eq!(app.reload(&settings(&upstream, "rpm = 4\nbudget = { usd = 0.2 }")).status, 200);
    let reply = ask(app.client(), &body("m", 55));
    assert_eq!((reply.status, reply.header("x-ratelimit-remaining-requests")), (200, Some("1")), "{}", reply.text());
    let reply = ask(app.client(), &body("m", 55));
    assert_eq!((reply.status, reply.code()), (429, "budget_exceeded".into()), "18 cents of 20 are spent, and it may cost 7.5");
}

#[test]
pub fn a_caller_who_leaves_a_stream_has_used_what_came() {
    let endless = Upstream::start(|_, stream| {
        use std::io::Read;
        speak(stream, "first", &words());
        let _ = stream.read(&mut [0; 16]);
        false
    });
    let app = app(&endless, "tpm = 6000\nconcurrency = 1\nbudget = { usd = 100.0 }");
    let mut caller = app.client().connect();
    std::io::Write::write_all(&mut caller, &chat_bytes(&[("authorization", KEY)], &stream_body("m"))).unwrap();
    read_until(&mut caller, "🎭59");
    let busy = ask(app.client(), &body("m", 50));
    assert_eq!((busy.status, busy.code()), (429, "rate_limit_exceeded".into()), "it is under way");
    // 4,096 and some for the prompt are taken, until it is known better; a hundred come each second.
    let remaining = |reply: &Reply| reply.header("x-ratelimit-remaining-tokens").unwrap().parse::<u64>().unwrap();
    assert!(remaining(&busy) < 3_500, "{}", remaining(&busy));
    drop(caller);
    app.until("its permit and its tokens are back", |app| {
        let reply = ask(app.client(), "{\"model\":\"nobody\"}");
        (5_500..6_000).contains(&remaining(&reply))
    });
    app.until("another may come in", |app| {
        let mut caller = app.client().connect();
        std::io::Write::write_all(&mut caller, &chat_bytes(&[("authorization", KEY)], &stream_body("m"))).unwrap();
        read_until(&mut caller, "\r\n\r\n").contains(" 200 ")
    });
}

#[test]
pub fn a_stream_is_not_gone_on_with_beyond_the_budget() {
    let run = |usd: &str| {
        let (p, spare) = (mortal(), onward("prefill"));
        let app = TestApp::start(&format!(
            "[[auth.keys]]\nname = \"team\"\nkey = {{ value = \"sk-limited-0123456789abcdef\" }}\nbudget = {{ usd = {usd} }}\n{}{}continuation = \"prefill\"\n\
             [models.m]\nstrategy = \"ordered\"\ntargets = [{{ provider = \"p\", model = \"up\", price = {{ input = 1000, output = 1000 }} }}, {{ provider = \"s\", model = \"second\", price = {{ input = 1000, output = 1000 }} }}]\n",
            p.provider("p"),
            spare.provider("s")
        ));
        let reply = ask(app.client(), &dying("m", Death::Fin, 30));
        (reply.terminals(), spare.count())
    };
    // 500 tokens of answer and some 40 of prompt, at a tenth of a cent; thirty words are some 100 tokens.
    assert_eq!((run("0.70"), run("0.56")), ((1, 1), (0, 0)));
}

#[test]
pub fn a_key_without_limits_knows_none() {
    let upstream = using(5, 5);
    let app = app(&upstream, "");
    let replies: Vec<_> = (0..20).map(|_| ask(app.client(), &body("unpriced", 50)).status).collect();
    assert_eq!(replies, [200; 20]);
}
