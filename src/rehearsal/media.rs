//! `/images/generations`, `/audio/speech` and `/audio/transcriptions`: a picture of one point, silence in a real codec, and a text
//! that tells how much was heard.

use bytes::Bytes;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::Fields;

/// A white point as PNG.
const PICTURE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII=";

/// A frame of MPEG-1 layer III: 44.1 kHz, 128 kbit/s, 26 ms of silence.
const FRAME: [u8; 4] = [0xFF, 0xFB, 0x90, 0x64];
const FRAME_BYTES: usize = 417;
/// Frames for a word.
const FRAMES: usize = 12;
/// Samples a second of what isn't MP3: OpenAI's PCM has as many.
const RATE: u32 = 24_000;

/// Pictures.
pub(super) fn images(body: &Value, created: u64) -> Result<Bytes, Refusal> {
    let fields = Fields::of(body)?;
    let prompt = fields.text("prompt")?.ok_or_else(|| Refusal::missing("prompt"))?;
    let count = fields.whole("n", 1, 10)?.unwrap_or(1);
    let one = match fields.text("response_format")? {
        Some("url") => json!({"url": format!("data:image/png;base64,{PICTURE}"), "revised_prompt": prompt}),
        _ => json!({ "b64_json": PICTURE }),
    };
    let words = prompt.split_whitespace().count() as u64;
    let usage = json!({
        "input_tokens": words, "input_tokens_details": {"text_tokens": words, "image_tokens": 0},
        "output_tokens": count, "total_tokens": words + count,
    });
    let data = vec![one; count as usize];
    Ok(Bytes::from(json!({"created": created, "data": data, "usage": usage}).to_string()))
}

/// Speech, and its content type.
pub(super) fn speech(body: &Value) -> Result<(&'static str, Bytes), Refusal> {
    let fields = Fields::of(body)?;
    fields.model()?;
    let input = fields.text("input")?.ok_or_else(|| Refusal::missing("input"))?;
    fields.value("voice").ok_or_else(|| Refusal::missing("voice"))?;
    let words = input.split_whitespace().count().clamp(1, 2_000);
    let silence = vec![0; words * RATE as usize * 2 * FRAMES / 38];
    match fields.text("response_format")? {
        None | Some("mp3") => {
            let frame = [&FRAME[..], &[0; FRAME_BYTES - FRAME.len()]].concat();
            Ok(("audio/mpeg", frame.repeat(words * FRAMES).into()))
        }
        Some("pcm") => Ok(("audio/pcm", silence.into())),
        Some("wav") => Ok(("audio/wav", [&wav_head(silence.len() as u32), &silence[..]].concat().into())),
        Some(_) => Err(Refusal::wrong("response_format", "'mp3', 'wav' or 'pcm': the rehearsal has no other codec")),
    }
}

/// One channel of 16 bits.
fn wav_head(length: u32) -> Vec<u8> {
    let mut head = Vec::with_capacity(44);
    head.extend_from_slice(b"RIFF");
    head.extend_from_slice(&(36 + length).to_le_bytes());
    head.extend_from_slice(b"WAVEfmt ");
    head.extend_from_slice(&16u32.to_le_bytes());
    head.extend_from_slice(&[1, 0, 1, 0]);
    head.extend_from_slice(&RATE.to_le_bytes());
    head.extend_from_slice(&(RATE * 2).to_le_bytes());
    head.extend_from_slice(&[2, 0, 16, 0]);
    head.extend_from_slice(b"data");
    head.extend_from_slice(&length.to_le_bytes());
    head
}

/// A transcription, and its content type.
pub(super) fn transcription(form: &Value) -> Result<(&'static str, Bytes), Refusal> {
    let fields = Fields::of(form)?;
    fields.model()?;
    let heard = fields.value("file").and_then(|file| file["bytes"].as_u64()).ok_or_else(|| Refusal::missing("file"))?;
    let text = format!("This is a rehearsal: a simulated upstream heard {heard} bytes of sound.");
    let words = text.split_whitespace().count();
    let usage = json!({
        "type": "tokens", "input_tokens": 1, "input_token_details": {"audio_tokens": 1, "text_tokens": 0},
        "output_tokens": words, "total_tokens": words + 1,
    });
    let plain = |text: String| Ok(("text/plain; charset=utf-8", Bytes::from(text)));
    match fields.text("response_format")? {
        None | Some("json") => Ok(("application/json", json!({"text": text, "usage": usage}).to_string().into())),
        Some("verbose_json") => {
            let told = json!({"task": "transcribe", "language": "english", "duration": 1.0, "text": text, "segments": [], "usage": {"type": "duration", "seconds": 1}});
            Ok(("application/json", told.to_string().into()))
        }
        Some("text") => plain(format!("{text}\n")),
        Some("srt") => plain(format!("1\n00:00:00,000 --> 00:00:01,000\n{text}\n\n")),
        Some("vtt") => plain(format!("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n{text}\n")),
        Some(_) => Err(Refusal::wrong("response_format", "'json', 'text', 'srt', 'verbose_json' or 'vtt'")),
    }
}

/// A form's fields as an object: texts, and of a file how long it is. What isn't a form has none.
pub(super) fn form(body: &[u8]) -> Value {
    let mut fields = serde_json::Map::new();
    let boundary = body.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut rest = body;
    while let Some(begin) = memchr::memmem::find(rest, b"\r\n\r\n").filter(|_| boundary.len() > 2) {
        let head = String::from_utf8_lossy(&rest[..begin]).into_owned();
        let value = &rest[begin + 4..];
        let Some(end) = memchr::memmem::find(value, boundary) else { break };
        let content = value[..end].strip_suffix(b"\r\n").unwrap_or(&value[..end]);
        let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let told = match head.contains("filename=") {
            true => json!({ "bytes": content.len() }),
            false => json!(String::from_utf8_lossy(content)),
        };
        fields.insert(name.to_owned(), told);
        rest = &value[end..];
    }
    fields.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_of_the_codec_that_was_asked_for() {
        let ask = |format: &str| speech(&json!({"model": "m", "input": "two words", "voice": "alloy", "response_format": format}));
        let (kind, mp3) = ask("mp3").unwrap();
        assert_eq!((kind, mp3.len(), &mp3[FRAME_BYTES..FRAME_BYTES + 4]), ("audio/mpeg", 2 * FRAMES * FRAME_BYTES, &FRAME[..]));
        let (kind, wav) = ask("wav").unwrap();
        assert_eq!((kind, &wav[..4], wav.len()), ("audio/wav", &b"RIFF"[..], 44 + ask("pcm").unwrap().1.len()));
        assert_eq!(ask("flac").unwrap_err().status, 400);
        assert_eq!(speech(&json!({"model": "m", "input": "x"})).unwrap_err().status, 400);
    }

    #[test]
    fn a_form_is_read_and_its_file_measured() {
        let body = "--X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n12\r\n34\r\n--X--\r\n";
        let form = form(body.as_bytes());
        assert_eq!(form, json!({"model": "m", "file": {"bytes": 6}}));
        let (kind, text) = transcription(&form).unwrap();
        assert!(kind == "application/json" && String::from_utf8_lossy(&text).contains("heard 6 bytes"));
        assert_eq!(transcription(&json!({"model": "m"})).unwrap_err().status, 400);
        assert_eq!(super::form(b"{}"), json!({}));
    }

    #[test]
    fn pictures_are_as_many_as_were_asked_for() {
        let body: Value = serde_json::from_slice(&images(&json!({"prompt": "a cat", "n": 2}), 7).unwrap()).unwrap();
        assert_eq!((body["data"].as_array().unwrap().len(), &body["usage"]["total_tokens"]), (2, &json!(4)));
        assert_eq!(images(&json!({}), 7).unwrap_err().status, 400);
    }
}
