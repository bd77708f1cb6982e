//! GET /openapi.json: this surface, for whoever makes clients of it. A row per path and method in `rows`, a schema per document in
//! `openapi/schemas.json`; a test holds the rows to the paths that are served, and real answers to their schemas.

mod rows;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use self::rows::{ROWS, Row};
use super::auth::Visitor;
use super::respond::identify;
use crate::dialect::endpoint::{self, Endpoint, Reply};

const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Anyone,
    Caller,
    Operator,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Nothing,
    /// A document of this schema.
    Json(&'static str),
    /// The same, or nothing.
    MayBe(&'static str),
    Form,
}

/// What comes back with a good status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    /// A document of this schema.
    Json(&'static str),
    /// The same, or events where `stream` is true.
    Either(&'static str),
    /// Server-sent events.
    Events,
    /// Anything of this type.
    Text(&'static str),
    Nothing,
}

/// In whose words errors are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Words {
    OpenAi,
    Anthropic,
    Gemini,
}

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub(super) async fn show(visitor: Visitor) -> HttpResponse {
    let mut response = HttpResponse::Ok().content_type("application/json").body(DOCUMENT.clone());
    identify(response.headers_mut(), &visitor.id);
    response
}

fn document() -> Value {
    let mut paths = Map::new();
    let endpoints = Endpoint::ALL.map(|endpoint| of_endpoint(endpoint.row()));
    let paths_of_endpoints = Endpoint::ALL.map(|endpoint| format!("/v1{}", endpoint.row().path));
    let all = ROWS.iter().map(|row| (row.path, row)).chain(paths_of_endpoints.iter().map(String::as_str).zip(&endpoints));
    for (path, row) in all {
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[row.method] = operation(path, row);
    }
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let bearer = |about: &str| json!({ "type": "http", "scheme": "bearer", "description": about });
    let header = |name: &str| json!({ "type": "apiKey", "in": "header", "name": name });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Stagedoor",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One OpenAI-compatible door to every model. The paths below /v1 are there without it, too.",
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "caller": bearer("A caller's key; in open mode none is needed"),
                "anthropic": header("x-api-key"),
                "google": header("x-goog-api-key"),
                "operator": bearer("The admin key"),
            },
        },
    })
}

/// The endpoints beside chat are rows of their own already.
fn of_endpoint(endpoint: &'static endpoint::Row) -> Row {
    let got = match endpoint.reply {
        Reply::Json(_) if endpoint.streams => Got::Either("EndpointAnswer"),
        Reply::Json(_) => Got::Json("EndpointAnswer"),
        Reply::Words | Reply::Bytes => Got::Text("*/*"),
    };
    let sent = if endpoint.form { Sent::Form } else { Sent::Json("EndpointRequest") };
    Row { sent, who: Who::Caller, ..rows::row("post", "", endpoint.asks, got) }
}

fn operation(path: &str, row: &Row) -> Value {
    let mut operation = json!({ "summary": row.summary, "operationId": id(row.method, path), "responses": responses(row) });
    let inside = path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let inside = inside.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    let asked =
        row.query.iter().map(|(name, about)| json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } }));
    let parameters: Vec<_> = inside.chain(asked).collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    let content = match row.sent {
        Sent::Nothing => None,
        Sent::Json(schema) | Sent::MayBe(schema) => Some(of_schema("application/json", schema)),
        Sent::Form => Some(json!({ "multipart/form-data": { "schema": { "type": "object", "required": ["model"] } } })),
    };
    if let Some(content) = content {
        operation["requestBody"] = json!({ "required": !matches!(row.sent, Sent::MayBe(_)), "content": content });
    }
    operation["security"] = match row.who {
        Who::Anyone => json!([]),
        Who::Caller => json!([{ "caller": [] }, { "anthropic": [] }, { "google": [] }]),
        Who::Operator => json!([{ "operator": [] }]),
    };
    operation
}

fn responses(row: &Row) -> Value {
    let content = match row.got {
        Got::Json(schema) => of_schema("application/json", schema),
        Got::Either(schema) => {
            let mut both = of_schema("application/json", schema);
            both["text/event-stream"] = json!({ "schema": { "type": "string" } });
            both
        }
        Got::Events => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
        Got::Text(kind) => json!({ kind: { "schema": { "type": "string" } } }),
        Got::Nothing => json!({}),
    };
    let wrong = match row.words {
        Words::OpenAi => "Error",
        Words::Anthropic => "AnthropicError",
        Words::Gemini => "GeminiError",
    };
    let mut responses = json!({
        row.status.to_string(): { "description": row.summary, "content": content },
        "default": { "description": "An error", "content": of_schema("application/json", wrong) },
    });
    for (status, schema) in row.also {
        responses[status.to_string()] = json!({ "description": row.summary, "content": of_schema("application/json", schema) });
    }
    responses
}

fn of_schema(kind: &str, schema: &str) -> Value {
    json!({ kind: { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}

/// A name for generated clients: `get_v1_models_id`.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    // What only a slash at its end tells apart.
    let slash = (path.len() > 1 && path.ends_with('/')).then_some("slash");
    [method].into_iter().chain(words).chain(slash).collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes;
    use super::*;

    /// A path of the router's as the document has it.
    fn plain(pattern: &str) -> String {
        pattern.replace(":.+}", "}")
    }

    #[test]
    fn each_path_that_is_served_is_in_the_document_and_no_other() {
        let document = document();
        let told: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let served: BTreeSet<String> = routes::patterns().iter().map(|pattern| plain(pattern)).collect();
        let with = |path: &String| told.contains(path) || told.contains(&format!("/v1{path}"));
        let untold: Vec<_> = served.iter().filter(|path| !with(path)).collect();
        assert!(untold.is_empty(), "add rows in src/http/openapi/rows.rs for {untold:?}");
        // Gemini's calls are one pattern of the router's, told apart by their last word.
        let gone: Vec<_> = told.iter().filter(|path| !path.contains("{model}:") && !served.contains(*path)).collect();
        assert!(gone.is_empty(), "nothing is served at {gone:?}");
    }

    #[test]
    fn each_schema_is_there_and_each_is_used() {
        let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap();
        let text = document().to_string();
        for name in schemas.keys() {
            assert!(text.contains(&format!("#/components/schemas/{name}\"")), "nobody uses {name}");
        }
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "there is no schema {name}");
        }
    }

    #[test]
    fn each_operation_has_a_name_of_its_own() {
        let document = document();
        let all = document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap().values());
        let names: Vec<_> = all.map(|operation| operation["operationId"].as_str().unwrap().to_owned()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
