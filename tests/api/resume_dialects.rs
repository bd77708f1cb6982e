//! Streams that callers of Anthropic's, Gemini's and Responses' dialects come back to, at targets of their own dialect and of chat's:
//! the same bytes for every reader, counted once, for the key that began them alone; and what ends them is told in their words.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::mending;
use super::resume::{KEYS, RESUME, Reading, back, killed_fifty_times_at, requests, tokens};
use super::support::continuing::{self, Death, text, words};
use super::support::faults::{provider_at, settled};
use super::support::responses::{self, Script};
use super::support::{Reply, STREAM_HEAD, TestApp, Upstream, Waiting, anthropic, chunk, event, gemini, read_until};

const PATIENT: &str = "[breaker]\nconsecutive_failures = 100000\nfailure_ratio = 1.0\nminimum_requests = 100000\n";

/// A caller's dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Messages,
    Gemini,
    Responses,
}

impl Spoken {
    const ALL: [Self; 3] = [Self::Messages, Self::Gemini, Self::Responses];

    fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Gemini => "/v1beta/models/m:streamGenerateContent?alt=sse",
            Self::Responses => "/v1/responses",
        }
    }

    fn body(self, said: &str) -> String {
        match self {
            Self::Messages => json!({"model": "m", "max_tokens": 500, "stream": true, "messages": [{"role": "user", "content": said}]}),
            Self::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": said}]}]}),
            Self::Responses => json!({"model": "m", "stream": true, "input": said}),
        }
        .to_string()
    }

    /// Whether its events carry an `id`: Google's SDKs don't take one.
    fn numbers(self) -> bool {
        self != Self::Gemini
    }

    /// What a whole stream says, read as strictly as its SDK does.
    fn said(self, reply: &Reply) -> String {
        let plain = without_ids(reply);
        match self {
            Self::Messages => mending::message(&mending::events(&plain)).0[0]["text"].as_str().unwrap().to_owned(),
            Self::Responses => {
                let (items, response) = responses::followed(&responses::events(&plain));
                assert!(response.is_some(), "{}", reply.text());
                items[0]["content"][0]["text"].as_str().unwrap().to_owned()
            }
            Self::Gemini => {
                let answers = super::gemini_callers::answers(&plain);
                assert_eq!(answers.last().unwrap()["candidates"][0]["finishReason"], "STOP");
                answers.iter().filter_map(|answer| answer["candidates"][0]["content"]["parts"][0]["text"].as_str()).collect()
            }
        }
    }

    /// What an error event tells, as its SDK reads it.
    fn error(self, event: &str) -> String {
        let data: Value = serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
        match self {
            Self::Messages => assert_eq!((&data["type"], event.contains("event: error\n")), (&json!("error"), true), "{event}"),
            Self::Gemini => assert!(data["error"]["status"].is_string() && data["error"]["code"].is_u64(), "{event}"),
            Self::Responses => assert!(data["type"] == "error" && data["sequence_number"].is_u64(), "{event}"),
        }
        data["error"]["message"].as_str().unwrap().to_owned()
    }

    /// Targets: of its own dialect, and of chat's.
    fn natives(self, pace: u64) -> (Upstream, String) {
        let upstream = paced(pace, self.chunks());
        let row = match self {
            Self::Messages => anthropic::provider("p", &upstream, ""),
            Self::Gemini => gemini::provider(&upstream, "").replace("providers.g", "providers.p"),
            Self::Responses => responses::provider("p", &upstream, ""),
        };
        (upstream, row)
    }

    /// The sixty words as its own vendor sends them.
    fn chunks(self) -> Vec<String> {
        match self {
            Self::Messages => {
                let said = words().into_iter().map(|word| chunk(&anthropic::word(&word)));
                let said: Vec<String> = said.collect();
                [vec![chunk(&anthropic::opening())], said, vec![chunk(&anthropic::closing("end_turn", 60))]].concat()
            }
            Self::Gemini => {
                let piece = |text: &str, end| chunk(&format!("data: {}\n\n", gemini::generated(&json!([{"text": text}]), end)));
                words().iter().map(|word| piece(word, None)).chain([piece("", Some("STOP"))]).collect()
            }
            Self::Responses => {
                let mut script = Script::new("up");
                let mut all = Vec::new();
                script.say(&words());
                script.end(&words());
                // A chunk each.
                let text = script.take();
                for event in text.split_inclusive("\n\n\r\n") {
                    all.push(event.to_owned());
                }
                all
            }
        }
    }
}

fn without_ids(reply: &Reply) -> Reply {
    let text = reply.text();
    let lines = text.split_inclusive('\n').filter(|line| !line.starts_with("id: ")).collect::<String>();
    Reply { body: lines.into_bytes(), ..reply.clone() }
}

/// Sends chunks, one in so many milliseconds.
fn paced(pace: u64, chunks: Vec<String>) -> Upstream {
    Upstream::start(move |_, stream| {
        let _ = stream.write_all(STREAM_HEAD.as_bytes());
        for piece in &chunks {
            std::thread::sleep(Duration::from_millis(pace));
            if stream.write_all(piece.as_bytes()).is_err() {
                return false;
            }
        }
        stream.write_all(b"0\r\n\r\n").is_ok()
    })
}

/// The sixty words of a chat.
fn chatting(pace: u64) -> (Upstream, String) {
    let first = chunk(&continuing::says("up", json!({"role": "assistant", "content": ""}), None));
    let said = words().into_iter().map(|word| chunk(&continuing::says("up", json!({ "content": word }), None)));
    let end = chunk(&continuing::end("up", &json!({"stream_options": {"include_usage": true}}), 60));
    let upstream = paced(pace, std::iter::once(first).chain(said).chain([end]).collect());
    let row = upstream.provider("p");
    (upstream, row)
}

fn start(more: &str, row: &str, model: &str) -> TestApp {
    TestApp::start(&format!("{PATIENT}{more}\n{row}[models.m]\ntargets = [{{ provider = \"p\", model = \"{model}\" }}]\n"))
}

#[test]
fn a_client_killed_fifty_times_has_all_of_it_whatever_it_speaks_and_is_counted_once() {
    for spoken in Spoken::ALL {
        for (upstream, row) in [spoken.natives(4), chatting(4)] {
            let app = start("", &row, "up");
            let (events, id) = killed_fifty_times_at(&app, spoken.path(), &spoken.body("Hello"));
            if spoken.numbers() {
                let ids = (1..=events.len()).map(|number| format!("id: {number}\n"));
                assert!(events.iter().zip(ids).all(|(event, id)| event.starts_with(&id)), "{spoken:?}: {events:?}");
            } else {
                assert!(events.iter().all(|event| event.starts_with("data: ")), "{spoken:?}: {events:?}");
            }
            let again = back(&app, &id, &[]);
            assert_eq!((again.status, again.whole, again.text()), (200, true, events.concat()), "{spoken:?}");
            assert_eq!(spoken.said(&again), text(), "{spoken:?}");
            assert_eq!(back(&app, &id, &[("last-event-id", "7")]).text(), events[7..].concat(), "{spoken:?}");
            let nothing = back(&app, &id, &[("last-event-id", &events.len().to_string())]);
            assert_eq!((nothing.status, nothing.whole, nothing.body.len()), (200, true, 0));
            assert_eq!((upstream.count(), requests(&app, 200), requests(&app, 499)), (1, 1.0, 0.0), "{spoken:?}");
            assert!(tokens(&app, "m", "output") > 0.0 && tokens(&app, "m", "output") <= 60.0, "{spoken:?}");
            settled(&app);
        }
    }
}

#[test]
fn a_stream_that_breaks_and_is_continued_is_one_for_those_who_come_back() {
    for spoken in Spoken::ALL {
        let (first, second) = (continuing::mortal(), continuing::onward("prefill"));
        let rows = [
            provider_at("p", &first.url(), "timeouts = { idle = \"250ms\" }"),
            provider_at("q", &second.url(), "continuation = \"prefill\""),
            "[models.m]\nstrategy = \"ordered\"\ntargets = [{ provider = \"p\", model = \"up\" }, { provider = \"q\", model = \"second\" }]\n"
                .into(),
        ];
        let app = TestApp::start(&format!("{PATIENT}{}", rows.concat()));
        for death in [Death::Fin, Death::ErrorEvent] {
            let (events, id) = killed_fifty_times_at(&app, spoken.path(), &spoken.body(&format!("{}@31", death.name())));
            let again = back(&app, &id, &[]);
            assert_eq!((again.text(), spoken.said(&again)), (events.concat(), text()), "{spoken:?} {death:?}");
        }
        assert_eq!((requests(&app, 200), requests(&app, 499)), (2.0, 0.0));
    }
}

#[test]
fn another_key_is_404_in_the_words_of_whose_client_asks() {
    for spoken in Spoken::ALL {
        let (_upstream, row) = spoken.natives(0);
        let app = start(KEYS, &row, "up");
        let name = match spoken {
            Spoken::Messages => "x-api-key",
            Spoken::Gemini => "x-goog-api-key",
            Spoken::Responses => "authorization",
        };
        let key = |number: u32| match spoken {
            Spoken::Responses => format!("Bearer a-key-of-some-length-000{number}"),
            Spoken::Messages | Spoken::Gemini => format!("a-key-of-some-length-000{number}"),
        };
        let (own, other, wrong) = (key(1), key(2), key(3));
        let body = spoken.body("Hello");
        let reply = app.client().post(spoken.path(), &[(name, &own), RESUME], &body);
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(spoken.said(&reply), text(), "{spoken:?}");
        let again = back(&app, &id, &[(name, &own)]);
        assert_eq!((again.status, again.text()), (200, reply.text()), "{spoken:?}");
        for method in ["GET", "DELETE"] {
            let refused = app.client().call(method, &format!("/v1/streams/{id}"), &[(name, &other)], "");
            let told = refused.json();
            assert_eq!(refused.status, 404, "{spoken:?}: {told}");
            let kind = match spoken {
                Spoken::Messages => (&told["error"]["type"], "not_found_error"),
                Spoken::Gemini => (&told["error"]["status"], "NOT_FOUND"),
                Spoken::Responses => (&told["error"]["code"], "stream_not_found"),
            };
            assert_eq!(kind.0, kind.1, "{spoken:?}: {told}");
        }
        assert_eq!(back(&app, &id, &[(name, &wrong)]).status, 401, "{spoken:?}");
        assert_eq!(back(&app, &id, &[(name, &own), ("last-event-id", "999")]).status, 400, "{spoken:?}");
        assert_eq!(app.client().call("DELETE", &format!("/v1/streams/{id}"), &[(name, &own)], "").status, 204);
    }
}

#[test]
fn a_stop_and_a_break_are_told_in_the_callers_words() {
    for spoken in Spoken::ALL {
        let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
        let app = start("", &waiting.upstream.provider("p"), "up");
        let mut reading = Reading::asked(&app, spoken.path(), &[RESUME], &spoken.body("Hello"));
        reading.event().unwrap();
        let id = reading.header("x-request-id");
        assert_eq!(app.client().call("DELETE", &format!("/v1/streams/{id}"), &[], "").status, 204);
        let mut all: Vec<String> = std::iter::from_fn(|| reading.event()).collect();
        let last = all.pop().unwrap();
        assert!(spoken.error(&last).contains("was stopped"), "{last}");
        if spoken == Spoken::Responses {
            // The first event was read above.
            assert!(last.contains(&format!("\"sequence_number\":{},", all.len() + 1)), "{last}");
        }
        let mortal = continuing::mortal();
        let app = start("[stream]\nresume_window = \"1m\"\n", &mortal.provider("p"), "up");
        let reply = app.client().post(spoken.path(), &[], &spoken.body("Fin@5"));
        let again = back(&app, reply.header("x-request-id").unwrap(), &[("last-event-id", "3")]);
        assert!(reply.text().ends_with(&again.text()) && again.body.len() < reply.body.len(), "{}", again.text());
        let last = reply.text().trim_end().rsplit("\n\n").next().unwrap().to_owned();
        assert!(spoken.error(&last).contains("p/up"), "{last}");
    }
}

#[test]
fn what_has_outgrown_the_buffer_is_told_in_the_callers_words() {
    for spoken in Spoken::ALL {
        let (_upstream, row) = spoken.natives(0);
        let app = start("[stream]\nresume_window = \"1m\"\nresume_buffer = \"2KiB\"\n", &row, "up");
        let reply = app.client().post(spoken.path(), &[("x-request-id", "mine")], &spoken.body("Hello"));
        app.until("it has ended", |app| requests(app, 200) == 1.0);
        assert_eq!(reply.status, 200);
        let refused = back(&app, "mine", &[]);
        assert_eq!((refused.status, refused.code().as_str()), (410, "stream_outgrown"), "{spoken:?}: {}", refused.text());
    }
}

#[test]
fn each_reader_has_heartbeats_of_its_dialect() {
    for (spoken, beat) in [
        (Spoken::Messages, "event: ping\ndata: {\"type\":"),
        (Spoken::Gemini, "\r\n1\r\n\n\r\n"),
        (Spoken::Responses, ": stagedoor is waiting\n"),
    ] {
        let waiting = Waiting::after(format!("{STREAM_HEAD}{}", chunk(&event("one"))));
        let app = start("[server]\nheartbeat = \"100ms\"\n", &waiting.upstream.provider("p"), "up");
        let mut stream = app.client().connect();
        stream.write_all(&super::support::post_bytes(spoken.path(), &[RESUME, ("x-request-id", "mine")], &spoken.body("Hello"))).unwrap();
        read_until(&mut stream, beat);
        let mut other = app.client().connect();
        other.write_all(b"GET /v1/streams/mine HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        read_until(&mut other, beat);
        assert_eq!(app.client().call("DELETE", "/v1/streams/mine", &[], "").status, 204);
    }
}

#[test]
fn geminis_list_is_come_back_to_by_how_many_answers_one_has() {
    let (_upstream, row) = Spoken::Gemini.natives(0);
    let app = start("", &row, "up");
    let path = "/v1beta/models/m:streamGenerateContent";
    let reply = app.client().post(path, &[RESUME], &Spoken::Gemini.body("Hello"));
    let list: Vec<Value> = serde_json::from_slice(&reply.body).unwrap();
    let rest = back(&app, reply.header("x-request-id").unwrap(), &[("last-event-id", "50")]);
    assert_eq!(super::gemini_callers::answers(&rest), list[50..]);
}
