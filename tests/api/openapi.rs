//! GET /openapi.json is true: real answers, good and bad, are what it says of them, and nothing is said that isn't served.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::{ADMIN, Reply, TestApp, Upstream, answer, plain, stream};

/// What a value is, against a schema; where it isn't. Knows the words that the document uses, and no others.
fn wrong(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = &document["components"]["schemas"][name.rsplit('/').next().unwrap()];
        assert!(schema.is_object(), "{name} isn't there");
        return wrong(document, schema, value, at);
    }
    let mut all = Vec::new();
    for (word, said) in schema.as_object().unwrap() {
        match word.as_str() {
            "type" => {
                let kinds: Vec<&str> = said
                    .as_array()
                    .map_or_else(|| vec![said.as_str().unwrap()], |kinds| kinds.iter().map(|kind| kind.as_str().unwrap()).collect());
                let is = |kind: &&str| match *kind {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                if !kinds.iter().any(is) {
                    all.push(format!("{at} is {value}, no {kinds:?}"));
                }
            }
            "const" if said != value => all.push(format!("{at} is {value}, not {said}")),
            "enum" if !said.as_array().unwrap().contains(value) => all.push(format!("{at} is {value}, none of {said}")),
            "minimum" if value.as_f64().is_some_and(|value| value < said.as_f64().unwrap()) => all.push(format!("{at} is {value}")),
            "required" => {
                let missing = |name: &&Value| value.is_object() && value.get(name.as_str().unwrap()).is_none();
                all.extend(said.as_array().unwrap().iter().filter(missing).map(|name| format!("{at}.{name} is missing")));
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    all.extend(wrong(document, said, item, &format!("{at}[{place}]")));
                }
            }
            "additionalProperties" => {
                for (name, inner) in
                    value.as_object().into_iter().flatten().filter(|(name, _)| schema["properties"][name.as_str()].is_null())
                {
                    match said {
                        Value::Bool(false) => all.push(format!("{at}.{name} isn't told of")),
                        said => all.extend(wrong(document, said, inner, &format!("{at}.{name}"))),
                    }
                }
            }
            "properties" => {
                for (name, schema) in said.as_object().unwrap() {
                    if let Some(inner) = value.get(name) {
                        all.extend(wrong(document, schema, inner, &format!("{at}.{name}")));
                    }
                }
            }
            "const" | "enum" | "minimum" | "description" => {}
            other => panic!("the test doesn't know {other}"),
        }
    }
    all
}

/// Holds answers to the document.
struct Judge {
    document: Value,
    seen: BTreeSet<(String, String)>,
}

impl Judge {
    /// An answer of this operation.
    fn judge(&mut self, method: &str, path: &str, reply: &Reply) {
        let responses = &self.document["paths"][path][method]["responses"];
        assert!(responses.is_object(), "{method} {path} isn't told of");
        let response = Some(&responses[reply.status.to_string()]).filter(|response| !response.is_null()).unwrap_or(&responses["default"]);
        let about = format!("{method} {path}: {} {}", reply.status, reply.text());
        let content = response["content"].as_object().unwrap();
        let Some(kind) = reply.header("content-type") else {
            assert!(content.is_empty() && reply.body.is_empty(), "{about}");
            self.seen.insert((method.into(), path.into()));
            return;
        };
        let kind = kind.split(';').next().unwrap();
        let told = content.get(kind).or_else(|| content.get("*/*")).unwrap_or_else(|| panic!("{kind} of {about}"));
        if kind == "application/json" && told["schema"]["type"] != "string" {
            let wrong = wrong(&self.document, &told["schema"], &reply.json(), "");
            assert!(wrong.is_empty(), "{wrong:#?} in {about}");
        }
        self.seen.insert((method.into(), path.into()));
    }
}

fn upstream() -> Upstream {
    Upstream::by(|call| {
        let path = call.head.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
        match path.as_str() {
            "completions" if call.text().contains("\"stream\":true") => stream(&["hi"]),
            "embeddings" => plain(
                r#"{"object":"list","data":[{"embedding":[0.5],"index":0,"object":"embedding"}],"model":"up","usage":{"prompt_tokens":1,"total_tokens":1}}"#,
            ),
            "moderations" | "rerank" => plain(r#"{"id":"x","results":[{"index":0,"flagged":false,"relevance_score":0.5}]}"#),
            "generations" => plain(r#"{"created":1,"data":[{"url":"https://example.com/1.png"}]}"#),
            "speech" => plain("{}"),
            "transcriptions" => plain(r#"{"text":"hi"}"#),
            _ => answer("hi"),
        }
    })
}

#[test]
fn what_it_says_is_what_is_answered() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let store = format!("[store]\nurl = \"sqlite://{}\"\n", folder.path().join("s.db").display());
    let price = "[models.m]\ntargets = [{ provider = \"p\", model = \"up\", price = { input = 1.0, output = 2.0 } }]\n[stream]\nresume_window = \"1m\"\n";
    let app = TestApp::administered(&format!("{store}{}{price}", upstream.provider("p")));
    let client = app.client();
    let mut judge = Judge { document: client.get("/openapi.json").json(), seen: BTreeSet::new() };
    let document = client.get("/openapi.json");
    judge.judge("get", "/openapi.json", &document);

    // While it is open: callers.
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "Hello"}]});
    let with = |body: &Value, name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body.to_string()
    };
    let post = |path: &str, body: &str| client.post(path, &[], body);
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/completions"] {
        judge.judge("post", path, &post(path, &with(&chat, "max_tokens", 9.into())));
        let mut streamed = chat.clone();
        streamed["max_tokens"] = 9.into();
        judge.judge("post", path, &post(path, &with(&streamed, "stream", true.into())));
        judge.judge("post", path, &post(path, &with(&chat, "model", "nobody".into())));
        judge.judge("post", path, &post(path, "{"));
    }
    for body in [json!({"model": "m", "input": "Hello"}), json!({"model": "m", "input": "Hello", "stream": true}), json!({})] {
        judge.judge("post", "/v1/responses", &post("/v1/responses", &body.to_string()));
    }
    judge.judge("post", "/v1/messages/count_tokens", &post("/v1/messages/count_tokens", &chat.to_string()));
    for path in ["embeddings", "moderations", "rerank", "images/generations", "audio/speech"] {
        let path = format!("/v1/{path}");
        let body = json!({"model": "m", "input": "a", "prompt": "a", "query": "a", "documents": ["a"], "voice": "v"}).to_string();
        judge.judge("post", &path, &post(&path, &body));
        judge.judge("post", &path, &post(&path, "{}"));
    }
    let form = "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x--\r\n";
    let transcriptions = "/v1/audio/transcriptions";
    // Open mode takes JSON alone: a refusal is an answer, too.
    judge.judge("post", transcriptions, &client.post(transcriptions, &[("content-type", "multipart/form-data; boundary=x")], form));
    let contents = json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}).to_string();
    for verb in ["generateContent", "streamGenerateContent", "countTokens"] {
        for model in ["m", "nobody"] {
            let query = if verb == "streamGenerateContent" { "?alt=sse" } else { "" };
            judge.judge(
                "post",
                &format!("/v1beta/models/{{model}}:{verb}"),
                &post(&format!("/v1beta/models/{model}:{verb}{query}"), &contents),
            );
        }
    }
    for (path, told) in [
        ("/v1/models", "/v1/models"),
        ("/v1/models/m", "/v1/models/{id}"),
        ("/v1/models/nobody", "/v1/models/{id}"),
        ("/v1beta/models", "/v1beta/models"),
        ("/v1beta/models/m", "/v1beta/models/{id}"),
        ("/v1/route?model=m", "/v1/route"),
        ("/v1/route", "/v1/route"),
        ("/", "/"),
        ("/health", "/health"),
        ("/health/live", "/health/live"),
        ("/health/ready", "/health/ready"),
        ("/metrics", "/metrics"),
        ("/dashboard", "/dashboard"),
        ("/dashboard/", "/dashboard/"),
        ("/dashboard/nothing", "/dashboard/{file}"),
        ("/admin/session", "/admin/session"),
    ] {
        judge.judge("get", told, &client.get(path));
    }
    let streamed = post("/v1/chat/completions", &with(&chat, "stream", true.into()));
    let id = streamed.header("x-request-id").unwrap();
    for id in [id, "nothing"] {
        judge.judge("get", "/v1/responses/{id}", &client.get("/v1/responses/resp_1"));
        judge.judge("delete", "/v1/responses/{id}", &client.call("DELETE", "/v1/responses/resp_1", &[], ""));
        judge.judge("get", "/v1/streams/{id}", &client.call("GET", &format!("/v1/streams/{id}"), &[("last-event-id", "0")], ""));
        judge.judge("delete", "/v1/streams/{id}", &client.call("DELETE", &format!("/v1/streams/{id}"), &[], ""));
    }

    // The operator.
    let admin = |method: &str, path: &str, body: &str| {
        let headers: &[(&str, &str)] = &[("authorization", ADMIN), ("content-type", "application/json")];
        client.call(method, path, headers, body)
    };
    judge.judge("post", "/admin/reload", &admin("POST", "/admin/reload", ""));
    judge.judge("post", "/admin/reload", &client.post("/admin/reload", &[], ""));
    for (provider, action) in [("p", "open"), ("p", "reset"), ("nobody", "open"), ("p", "nothing")] {
        let body = json!({"action": action, "model": null}).to_string();
        judge.judge("post", "/admin/breakers/{provider}", &admin("POST", &format!("/admin/breakers/{provider}"), &body));
    }
    for (query, told) in [
        ("usage?by=model&since=7d", "usage"),
        ("usage?by=key", "usage"),
        ("usage?by=nothing", "usage"),
        ("requests?limit=5", "requests"),
        ("attempts?limit=5", "attempts"),
        ("transitions", "transitions"),
        ("route?model=m", "route"),
    ] {
        judge.judge("get", &format!("/admin/{told}"), &admin("GET", &format!("/admin/{query}"), ""));
    }
    judge.judge("post", "/admin/session", &client.post("/admin/session", &[], &json!({"key": "wrong"}).to_string()));
    judge.judge("delete", "/admin/session", &client.call("DELETE", "/admin/session", &[], ""));
    // From the first key on the gateway is no longer open.
    let made = admin("POST", "/admin/keys", &json!({"name": "team", "rpm": 5, "budget": {"usd": 1.5, "window": "day"}}).to_string());
    judge.judge("post", "/admin/keys", &made);
    judge.judge("post", "/admin/keys", &admin("POST", "/admin/keys", "{\"nonsense\": 1}"));
    let key = format!("/admin/keys/{}", made.json()["id"].as_str().unwrap());
    judge.judge("get", "/admin/keys", &admin("GET", "/admin/keys", ""));
    judge.judge("get", "/admin/keys/{id}", &admin("GET", &key, ""));
    judge.judge("get", "/admin/keys/{id}", &admin("GET", "/admin/keys/nothing", ""));
    judge.judge("patch", "/admin/keys/{id}", &admin("PATCH", &key, "{\"tpm\": 100}"));
    judge.judge("post", "/admin/keys/{id}/rotate", &admin("POST", &format!("{key}/rotate"), "{\"overlap\": \"1h\"}"));
    judge.judge("delete", "/admin/keys/{id}", &admin("DELETE", &key, ""));
    judge.judge("get", "/v1/models", &client.get("/v1/models"));

    // Endless by its nature.
    judge.seen.insert(("get".into(), "/admin/events".into()));
    let paths = judge.document["paths"].as_object().unwrap();
    let all =
        paths.iter().flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone())));
    let unseen: Vec<_> = all.filter(|operation| !judge.seen.contains(operation)).collect();
    assert!(unseen.is_empty(), "never asked: {unseen:?}");
}

#[test]
fn what_is_not_as_it_says_is_found() {
    let document = json!({"components": {"schemas": {"A": {"type": "object", "required": ["b"], "properties": {"b": {"type": "integer", "minimum": 0}}, "additionalProperties": false}}}});
    let told = |value: Value| wrong(&document, &json!({"type": "array", "items": {"$ref": "#/components/schemas/A"}}), &value, "").len();
    assert_eq!(told(json!([{"b": 1}, {"b": 0}])), 0);
    for bad in [json!({}), json!([1]), json!([{}]), json!([{"b": "1"}]), json!([{"b": -1}]), json!([{"b": 1, "c": 1}])] {
        assert_ne!(told(bad.clone()), 0, "{bad}");
    }
}
