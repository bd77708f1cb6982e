//! Traces as a collector gets them: read by messages written from OpenTelemetry's own, their names held to the released conventions. And that a
//! collector that is away, slow or wrong costs no request anything.

#![expect(deprecated, reason = "the crate marks what moved to the conventions' repository for generative AI, and still has it alone")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use opentelemetry_semantic_conventions::attribute as released;
use prost::Message;
use stagedoor::app::Parts;

use self::wire::{ExportTraceServiceRequest, KeyValue, Span, Value};
use super::support::faults::{SHORT, closed_port, provider_at, spared};
use super::support::{STREAM_END, STREAM_HEAD, TestApp, Upstream, answer, chat_body, chunk, event, status, stream_body};

/// What opentelemetry-proto 1.9 says of `ExportTraceServiceRequest`, field by field.
mod wire {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ExportTraceServiceRequest {
        #[prost(message, repeated, tag = "1")]
        pub resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ScopeSpans {
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(string, tag = "3")]
        pub trace_state: String,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(fixed64, tag = "7")]
        pub start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        pub end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        #[prost(int32, tag = "3")]
        pub code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AnyValue {
        #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
        pub value: Option<Value>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Flag(bool),
        #[prost(int64, tag = "3")]
        Whole(i64),
        #[prost(double, tag = "4")]
        Number(f64),
    }
}

const CALLERS: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector that takes everything.
fn collector() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
}

fn traced(collector: &str) -> String {
    format!("[telemetry]\notlp = \"{collector}\"\n")
}

fn address(upstream: &Upstream) -> String {
    format!("http://{}", upstream.address)
}

/// The spans that a collector has got.
fn spans(collector: &Upstream) -> Vec<Span> {
    let messages = collector.calls().into_iter().map(|call| {
        assert!(call.head.starts_with("POST /v1/traces HTTP/1.1"), "{}", call.head);
        assert_eq!(call.header("content-type").as_deref(), Some("application/x-protobuf"));
        ExportTraceServiceRequest::decode(&call.body[..]).unwrap()
    });
    let resources = messages.flat_map(|message| message.resource_spans).inspect(|spans| {
        let about = texts(&spans.resource.as_ref().unwrap().attributes);
        assert_eq!((about["service.name"].as_str(), about["service.version"].as_str()), ("stagedoor", env!("CARGO_PKG_VERSION")));
    });
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// So many of them, once they are there: in the order in which they began, a request before its calls.
fn arrived(app: &TestApp, collector: &Upstream, count: usize) -> Vec<Span> {
    app.until("the spans are there", |_| spans(collector).len() >= count);
    let mut all = spans(collector);
    assert_eq!(all.len(), count);
    all.sort_by_key(|span| (span.start_time_unix_nano, span.kind));
    all
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::Text(text) => text.clone(),
        Value::Whole(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn said(span: &Span, wanted: &[(&str, &str)]) {
    let attributes = texts(&span.attributes);
    for (name, value) in wanted {
        assert_eq!(attributes.get(*name).map(String::as_str), Some(*value), "{name} in {attributes:#?}");
    }
}

#[test]
fn a_failover_is_a_request_with_its_two_calls() {
    let collector = collector();
    let dead = Upstream::answering(status(500, "", ""));
    let settings = format!("{}{}", SHORT.replace("[retry]", "[retry]\nsame_target = 0"), traced(&address(&collector)));
    let (app, spare) = spared(&dead.provider("p"), &settings);
    let state = ("tracestate", "vendor=1");
    let reply = app.client().post("/v1/chat/completions", &[("traceparent", CALLERS), state], &chat_body("m"));
    assert_eq!(reply.content(), "spare");
    let all = arrived(&app, &collector, 3);
    let [request, first, second] = &all[..] else { unreachable!() };
    let trace = CALLERS.split('-').nth(1).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert!(all.iter().all(|span| hex(&span.trace_id) == trace && span.trace_state == "vendor=1"));
    assert_eq!(hex(&request.parent_span_id), CALLERS.split('-').nth(2).unwrap());
    assert!([first, second].iter().all(|call| call.parent_span_id == request.span_id && call.kind == 3) && request.kind == 2);
    assert!(first.end_time_unix_nano <= second.start_time_unix_nano && second.end_time_unix_nano <= request.end_time_unix_nano);
    assert_eq!([&request.name, &first.name, &second.name], ["chat m", "chat up", "chat spare"]);
    let ids: BTreeSet<_> = all.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), 3);

    // Upstreams are told which call they are.
    for (upstream, call) in [(&dead, first), (&spare, second)] {
        let got = &upstream.calls()[0];
        assert_eq!(got.header("traceparent"), Some(format!("00-{trace}-{}-01", hex(&call.span_id))));
        assert_eq!((got.header("tracestate").as_deref(), got.head.matches("traceparent").count()), (Some("vendor=1"), 1));
    }

    said(
        request,
        &[
            (released::GEN_AI_OPERATION_NAME, "chat"),
            (released::GEN_AI_REQUEST_MODEL, "m"),
            (released::GEN_AI_RESPONSE_MODEL, "spare"),
            (released::GEN_AI_PROVIDER_NAME, "spare"),
            (released::GEN_AI_USAGE_INPUT_TOKENS, "1"),
            (released::GEN_AI_USAGE_OUTPUT_TOKENS, "1"),
            (released::HTTP_REQUEST_METHOD, "POST"),
            (released::URL_PATH, "/v1/chat/completions"),
            (released::HTTP_RESPONSE_STATUS_CODE, "200"),
            ("gateway.request_id", reply.header("x-request-id").unwrap()),
            ("gateway.attempts", "2"),
            ("gateway.route", reply.header("x-stagedoor-route").unwrap()),
        ],
    );
    said(
        first,
        &[
            (released::GEN_AI_REQUEST_MODEL, "up"),
            (released::GEN_AI_PROVIDER_NAME, "p"),
            (released::SERVER_ADDRESS, "127.0.0.1"),
            (released::SERVER_PORT, &dead.address.port().to_string()),
            (released::HTTP_RESPONSE_STATUS_CODE, "500"),
            (released::ERROR_TYPE, "status_500"),
            ("gateway.attempt", "1"),
            ("gateway.outcome", "transient"),
        ],
    );
    said(
        second,
        &[
            (released::GEN_AI_USAGE_OUTPUT_TOKENS, "1"),
            (released::HTTP_RESPONSE_STATUS_CODE, "200"),
            ("gateway.attempt", "2"),
            ("gateway.outcome", "ok"),
            ("gateway.breaker", "normal"),
        ],
    );
    let wrong = |span: &Span| span.status.as_ref().map(|status| status.code);
    assert_eq!([wrong(request), wrong(first), wrong(second)], [None, Some(2), None]);
    // Nothing that was said, and no name but those.
    let known: BTreeSet<&str> = stagedoor::telemetry::otlp::conventions::ALL.iter().copied().collect();
    for (name, text) in all.iter().flat_map(|span| texts(&span.attributes)) {
        assert!(known.contains(name.as_str()) && !text.contains("Hello"), "{name}: {text}");
    }
    app.until("they are counted", |app| app.metric("stagedoor_spans_total{result=\"sent\"}") == 3.0);
}

#[test]
fn a_stream_has_its_first_word_and_one_that_breaks_says_so() {
    let collector = collector();
    let upstream = Upstream::start(|call, stream| {
        let end = if call.number == 0 { chunk(STREAM_END) + "0\r\n\r\n" } else { String::new() };
        stream.write_all(format!("{STREAM_HEAD}{}{end}", chunk(&event("one"))).as_bytes()).is_ok() && call.number == 0
    });
    let (app, _) = spared(&upstream.provider("p"), &format!("{SHORT}{}", traced(&address(&collector))));
    assert_eq!(app.stream("m").terminals(), 1);
    let whole = arrived(&app, &collector, 2);
    for span in &whole {
        said(span, &[(released::GEN_AI_REQUEST_STREAM, "true"), (released::GEN_AI_OPERATION_NAME, "chat")]);
        assert!(texts(&span.attributes).contains_key(released::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK));
        assert!(span.parent_span_id.is_empty() == (span.kind == 2), "it began here");
    }
    assert_eq!(app.stream("m").terminals(), 0);
    let all = arrived(&app, &collector, 4);
    said(&all[2], &[(released::ERROR_TYPE, "stream_interrupted"), (released::HTTP_RESPONSE_STATUS_CODE, "200")]);
    assert_eq!(all[2].status.as_ref().unwrap().code, 2);
    said(&all[3], &[("gateway.outcome", "transient")]);
    assert_ne!(all[0].trace_id, all[2].trace_id);
}

#[test]
fn what_its_caller_does_not_trace_is_not_traced_and_its_header_passes() {
    let collector = collector();
    let upstream = Upstream::answering(answer("hi"));
    let (app, _) = spared(&upstream.provider("p"), &traced(&address(&collector)));
    let unsampled = CALLERS.replace("-01", "-00");
    assert_eq!(app.client().post("/v1/chat/completions", &[("traceparent", &unsampled)], &chat_body("m")).status, 200);
    assert_eq!(app.client().post("/v1/chat/completions", &[("traceparent", "nonsense")], &chat_body("m")).status, 200);
    let all = arrived(&app, &collector, 2);
    assert!(all.iter().all(|span| span.trace_id != [0; 16] && span.trace_state.is_empty()), "the second begins a trace of its own");
    let sent: Vec<_> = upstream.calls().iter().map(|call| call.header("traceparent").unwrap()).collect();
    assert_eq!(sent[0], unsampled);
    assert!(sent[1].starts_with("00-") && sent[1].ends_with("-01"), "{sent:?}");
}

#[test]
fn a_share_is_recorded_where_the_standards_variables_say_so() {
    let collector = collector();
    let upstream = Upstream::answering(answer("hi"));
    let settings = format!(
        "{}{}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n",
        traced(&address(&collector)),
        upstream.provider("p")
    );
    let share = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let app = TestApp::with(&settings, &share, Parts::default());
    let all = |header: &[(&str, &str)]| assert_eq!(app.client().post("/v1/chat/completions", header, &chat_body("m")).status, 200);
    (0..20).for_each(|_| all(&[]));
    all(&[("traceparent", CALLERS)]);
    let spans = arrived(&app, &collector, 2);
    assert!(spans.len() == 2 && spans.iter().all(|span| CALLERS.contains(&hex(&span.trace_id))), "a caller who has decided is followed");
}

/// Digits as in a header.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn without_a_collector_nothing_is_sent_and_the_callers_header_passes() {
    let upstream = Upstream::answering(answer("hi"));
    let (app, _) = spared(&upstream.provider("p"), "");
    assert_eq!(app.client().post("/v1/chat/completions", &[("traceparent", CALLERS)], &chat_body("m")).status, 200);
    assert_eq!(app.chat("m").status, 200);
    let sent: Vec<_> = upstream.calls().iter().map(|call| call.header("traceparent")).collect();
    assert_eq!(sent, [Some(CALLERS.to_owned()), None]);
    assert_eq!(["sent", "dropped", "refused"].map(|result| app.metric(&format!("stagedoor_spans_total{{result=\"{result}\"}}"))), [0.0; 3]);
}

#[test]
fn a_collector_that_is_away_costs_nothing_but_its_spans() {
    let upstream =
        Upstream::by(|call| if call.text().contains("\"stream\":true") { super::support::stream(&["hi"]) } else { answer("hi") });
    let silent = Upstream::start(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0; 1]);
        false
    });
    for collector in [format!("http://{}", closed_port()), address(&silent)] {
        let (app, _) = spared(&upstream.provider("p"), &traced(&collector));
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..700 {
                        assert_eq!(app.chat("m").status, 200);
                    }
                });
            }
        });
        assert_eq!(app.client().post("/v1/chat/completions", &[], &stream_body("m")).terminals(), 1);
        let took = began.elapsed();
        app.until("what doesn't fit is dropped", |app| app.metric("stagedoor_spans_total{result=\"dropped\"}") > 0.0);
        assert_eq!(app.metric("stagedoor_spans_total{result=\"sent\"}"), 0.0);
        assert_eq!(app.metric("stagedoor_requests_total{model=\"m\",status=\"200\",stream=\"false\"}"), 2800.0);
        println!("2,800 calls in {took:?}");
    }
}

#[test]
fn what_a_collector_refuses_is_counted() {
    let upstream = Upstream::answering(answer("hi"));
    // Of the first message's spans it leaves one out, the second it refuses.
    let collector = Upstream::by(|call| {
        if call.number == 0 {
            [&b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"[..], &[0x0a, 0x02, 0x08, 0x01]].concat()
        } else {
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
    });
    let (app, _) = spared(&upstream.provider("p"), &traced(&address(&collector)));
    let count = |app: &TestApp| ["sent", "refused"].map(|result| app.metric(&format!("stagedoor_spans_total{{result=\"{result}\"}}")));
    app.chat("m");
    app.until("the first is counted", |app| count(app) == [1.0, 1.0]);
    app.chat("m");
    app.until("the second is counted", |app| count(app) == [1.0, 3.0]);
}

#[test]
fn the_last_spans_are_sent_at_the_end_and_another_address_is_taken_at_a_reload() {
    let upstream = Upstream::answering(answer("hi"));
    let (one, other) = (collector(), collector());
    let settings = |collector: &Upstream| {
        let p = provider_at("p", &upstream.url(), "");
        format!("{}{p}[models.m]\ntargets = [{{ provider = \"p\", model = \"up\" }}]\n", traced(&address(collector)))
    };
    let app = TestApp::administered(&settings(&one));
    app.chat("m");
    assert_eq!(app.reload(&settings(&other)).status, 200);
    app.until("the first ones are sent", |_| spans(&one).len() == 2);
    app.chat("m");
    drop(app);
    let end = Instant::now() + Duration::from_secs(10);
    while (spans(&one).len(), spans(&other).len()) != (2, 2) {
        assert!(Instant::now() < end, "{} and {}", spans(&one).len(), spans(&other).len());
        std::thread::sleep(Duration::from_millis(10));
    }
}
