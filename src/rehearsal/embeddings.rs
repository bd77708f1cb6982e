//! `/embeddings`: vectors that are small, of length 1, and the same for the same text; texts that share words are near each
//! other, so that a demo of a search finds something.

use bytes::Bytes;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::Fields;

/// Numbers in a vector where the caller doesn't say.
const DIMENSIONS: u64 = 16;

/// The most that a caller can ask for.
const MOST_DIMENSIONS: u64 = 4096;

/// The most texts in one request, as OpenAI has it.
const MOST_INPUTS: usize = 2048;

/// Answers an embeddings request.
pub(super) fn answer(body: &Value) -> Result<Bytes, Refusal> {
    let fields = Fields::of(body)?;
    let model = fields.model()?;
    let inputs = inputs(fields.value("input"))?;
    let dimensions = fields.whole("dimensions", 1, MOST_DIMENSIONS)?.unwrap_or(DIMENSIONS) as usize;
    let base64 = match fields.text("encoding_format")? {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Refusal::wrong("encoding_format", "'float' or 'base64'")),
    };
    let row = |(index, words): (usize, &Vec<String>)| {
        let vector = vector(words, dimensions);
        let embedding = if base64 { json!(base64_of(&vector)) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = inputs.iter().enumerate().map(row).collect();
    let tokens: usize = inputs.iter().map(Vec::len).sum();
    let body = json!({"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
    Ok(Bytes::from(body.to_string()))
}

/// The words of each input: a text, several, a list of tokens, or several.
fn inputs(input: Option<&Value>) -> Result<Vec<Vec<String>>, Refusal> {
    let input = input.ok_or_else(|| Refusal::missing("input"))?;
    let inputs = match input {
        Value::Array(many) if !many.iter().all(Value::is_number) => many.iter().map(words).collect(),
        one => words(one).map(|words| vec![words]),
    };
    let inputs: Vec<Vec<String>> =
        inputs.ok_or_else(|| Refusal::wrong("input", "a string, an array of strings or an array of tokens, none of them empty"))?;
    if inputs.len() > MOST_INPUTS {
        return Err(Refusal::invalid("input", "array_above_max_length", format!("Invalid 'input': at most {MOST_INPUTS} items.")));
    }
    Ok(inputs)
}

/// The words of one input, or the numbers of its tokens.
pub(super) fn words(input: &Value) -> Option<Vec<String>> {
    match input {
        Value::String(text) if text.trim().is_empty() => (!text.is_empty()).then(|| vec![text.clone()]),
        Value::String(text) => Some(text.split_whitespace().map(str::to_lowercase).collect()),
        Value::Array(tokens) if !tokens.is_empty() => tokens.iter().map(|token| token.as_u64().map(|token| token.to_string())).collect(),
        _ => None,
    }
}

/// The words' own directions summed up, at length 1.
pub(super) fn vector(words: &[String], dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0f64; dimensions];
    for word in words {
        let seed = word.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        for (at, number) in sum.iter_mut().enumerate() {
            *number += mixed(seed.wrapping_add(at as u64));
        }
    }
    let length = sum.iter().map(|number| number * number).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    sum.into_iter().map(|number| (number / length) as f32).collect()
}

/// splitmix64, as a number from -1 to 1. Fixed here and not from an rng, so that vectors outlive a version of `rand`.
fn mixed(seed: u64) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as f64 / (u64::MAX / 2) as f64 - 1.0
}

/// Little-endian floats in base64: what both OpenAI SDKs ask for unasked.
fn base64_of(vector: &[f32]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) as usize & 63;
            text.push(if digit <= three.len() { DIGITS[six] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(more: Value) -> Vec<Value> {
        let mut body = json!({"model": "m", "input": "a cat"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let body: Value = serde_json::from_slice(&answer(&body).unwrap()).unwrap();
        body["data"].as_array().unwrap().iter().map(|row| row["embedding"].clone()).collect()
    }

    fn floats(vector: &Value) -> Vec<f64> {
        vector.as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect()
    }

    #[test]
    fn the_same_text_has_the_same_vector_and_a_like_one_is_near() {
        let rows = vectors(
            json!({"input": ["the cat sat here", "the cat sat there", "prices rose in May", "the cat sat here"], "dimensions": 256}),
        );
        let dot = |a: usize, b: usize| floats(&rows[a]).iter().zip(floats(&rows[b])).map(|(a, b)| a * b).sum::<f64>();
        assert_eq!(rows[0], rows[3]);
        assert!((dot(0, 0) - 1.0).abs() < 1e-5);
        assert!(dot(0, 1) > 0.5 && dot(0, 2) < 0.3, "{} {}", dot(0, 1), dot(0, 2));
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        assert_eq!(base64_of(&[1.0]), "AACAPw==");
        assert_eq!(base64_of(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(base64_of(&[0.0, 1.0, 2.0]), "AAAAAAAAgD8AAABA");
        let text = vectors(json!({"encoding_format": "base64", "dimensions": 3}));
        assert_eq!(text[0].as_str().unwrap().len(), 16);
    }

    #[test]
    fn tokens_and_dimensions() {
        assert_eq!(vectors(json!({"input": [1, 2, 3]})).len(), 1);
        assert_eq!(vectors(json!({"input": [[1, 2], [3]], "dimensions": 5})).iter().map(|v| floats(v).len()).collect::<Vec<_>>(), [5, 5]);
        for wrong in [
            json!({"model": "m"}),
            json!({"model": "m", "input": ""}),
            json!({"model": "m", "input": []}),
            json!({"model": "m", "input": [{}]}),
            json!({"input": "x"}),
            json!({"model": "m", "input": "x", "dimensions": 0}),
        ] {
            assert_eq!(answer(&wrong).unwrap_err().status, 400, "{wrong}");
        }
    }
}
