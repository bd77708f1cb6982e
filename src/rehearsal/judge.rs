//! `/moderations` and `/rerank`: judgements by the words themselves, the same for the same text.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::embeddings::{vector, words};
use super::refusal::Refusal;
use super::request::Fields;

/// <https://platform.openai.com/docs/api-reference/moderations/object>
const CATEGORIES: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// Numbers in the vectors that are compared.
const DIMENSIONS: usize = 256;

/// Flags a text that names a category.
pub(super) fn moderations(body: &Value) -> Result<Bytes, Refusal> {
    let fields = Fields::of(body)?;
    let model = fields.text("model")?.unwrap_or("rehearsal-moderation");
    let inputs = match fields.value("input") {
        None => return Err(Refusal::missing("input")),
        Some(Value::String(text)) => vec![text.clone()],
        // Parts are one input together, texts one each.
        Some(Value::Array(many)) if many.iter().all(Value::is_object) => {
            vec![many.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")]
        }
        Some(Value::Array(many)) => many.iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect(),
        Some(_) => return Err(Refusal::wrong("input", "a string, an array of strings or an array of parts")),
    };
    let results: Vec<Value> = inputs.iter().map(|text| judged(&text.to_lowercase())).collect();
    Ok(Bytes::from(json!({"id": "modr-rehearsal", "model": model, "results": results}).to_string()))
}

fn judged(text: &str) -> Value {
    let named = |category: &&str| text.contains(*category);
    let of = |value: fn(bool) -> Value| -> Map<String, Value> {
        CATEGORIES.iter().map(|category| ((*category).to_owned(), value(named(category)))).collect()
    };
    json!({
        "flagged": CATEGORIES.iter().any(named),
        "categories": of(Value::from),
        "category_scores": of(|named| json!(if named { 0.9 } else { 0.0001 })),
        "category_applied_input_types": of(|_| json!(["text"])),
    })
}

/// Orders documents by how near their words are to the query's.
pub(super) fn rerank(body: &Value) -> Result<Bytes, Refusal> {
    let fields = Fields::of(body)?;
    let model = fields.model()?;
    let query = fields.text("query")?.ok_or_else(|| Refusal::missing("query"))?;
    let documents = fields.value("documents").ok_or_else(|| Refusal::missing("documents"))?;
    let documents = documents.as_array().filter(|all| !all.is_empty());
    let documents = documents.ok_or_else(|| Refusal::wrong("documents", "an array of strings or objects with a text"))?;
    let most = fields.whole("top_n", 1, u64::MAX)?.unwrap_or(u64::MAX) as usize;
    let text = |document: &Value| document.as_str().or(document["text"].as_str()).unwrap_or_default().to_owned();
    let vector = |text: &str| vector(&words(&json!(text)).unwrap_or_default(), DIMENSIONS);
    let wanted = vector(query);
    let mut results: Vec<(usize, f64)> = documents
        .iter()
        .map(|document| vector(&text(document)).iter().zip(&wanted).map(|(a, b)| f64::from(a * b)).sum::<f64>().clamp(0.0, 1.0))
        .enumerate()
        .collect();
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    let result =
        |(index, score): &(usize, f64)| json!({"index": index, "relevance_score": score, "document": {"text": text(&documents[*index])}});
    let results: Vec<Value> = results.iter().take(most).map(result).collect();
    let tokens: usize = documents.iter().map(|document| text(document).split_whitespace().count()).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(Bytes::from(json!({"id": "rerank-rehearsal", "model": model, "results": results, "usage": usage}).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn what_names_a_category_is_flagged() {
        let body = read(&moderations(&json!({"input": ["flowers", "sheer VIOLENCE"]})).unwrap());
        assert_eq!((&body["results"][0]["flagged"], &body["results"][1]["flagged"]), (&json!(false), &json!(true)));
        assert_eq!(body["results"][1]["categories"]["violence"], true);
        assert_eq!(moderations(&json!({})).unwrap_err().status, 400);
    }

    #[test]
    fn what_shares_words_with_the_query_comes_first() {
        let documents = json!(["prices rose in May", {"text": "the cat sat there"}, "a dog"]);
        let body = read(&rerank(&json!({"model": "m", "query": "where the cat sat", "documents": documents, "top_n": 2})).unwrap());
        let results = body["results"].as_array().unwrap();
        assert_eq!((results.len(), &results[0]["index"]), (2, &json!(1)));
        for wrong in [
            json!({"query": "x", "documents": ["a"]}),
            json!({"model": "m", "documents": ["a"]}),
            json!({"model": "m", "query": "x", "documents": []}),
        ] {
            assert_eq!(rerank(&wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
