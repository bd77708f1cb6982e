//! What the gateway reads of a request of the Gemini API's, in one pass over its bytes: as `request` does for the others. The
//! model and whether the answer is streamed stand in its path and are told.
//!
//! A name may be written in either of protobuf's two ways; one that is read may stand only once, however it is written.

use std::ops::Range;

use super::fields::{models, opened, wrong};
use super::refusal::Refusal;
use super::types::{Scan, Text};
use super::walk::{Str, Walk};

const MAX_CONTENTS: usize = 100_000;
const MAX_TOKENS: u64 = i32::MAX as u64;
const MAX_CANDIDATES: u64 = 128;

/// What its path says of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The model.
    pub model: String,
    /// Whether the answer is to be streamed.
    pub stream: bool,
}

/// Reads a request: it must have contents. `counting`: they may also stand in a `generateContentRequest`, as `countTokens`
/// has them.
pub fn generate(body: &[u8], named: Named, counting: bool) -> Result<Scan, Refusal> {
    let walk = opened(body)?;
    let mut scan = Scan::blank(walk.at() + 1);
    (scan.model, scan.stream) = (Text { value: named.model, ..Text::default() }, named.stream);
    scan.ask_usage = None;
    let mut reader = Reader { body, seen: Vec::new(), scan, walk };
    reader.top(counting)?;
    reader.walk.end()?;
    if reader.scan.messages.is_none() {
        return Err(Refusal::missing("missing_contents", "contents", "the conversation as a list of contents"));
    }
    Ok(reader.scan)
}

/// A field that may stand only once, by both of its names.
type Once = (&'static str, &'static str);

const TOP: [Once; 6] = [
    ("contents", "contents"),
    ("tools", "tools"),
    ("models", "models"),
    ("systemInstruction", "system_instruction"),
    ("generationConfig", "generation_config"),
    ("generateContentRequest", "generate_content_request"),
];
/// Of `generationConfig`.
const CONFIG: [Once; 2] = [("maxOutputTokens", "max_output_tokens"), ("candidateCount", "candidate_count")];

struct Reader<'a> {
    body: &'a [u8],
    walk: Walk<'a>,
    /// The fields that came, of those that may stand only once.
    seen: Vec<&'static str>,
    scan: Scan,
}

impl Reader<'_> {
    fn top(&mut self, counting: bool) -> Result<(), Refusal> {
        let mut before = None;
        let mut more = self.walk.enter()?;
        while more {
            let key = self.walk.key()?;
            match self.name(key, &TOP)? {
                Some("contents") => self.contents()?,
                Some("tools") => self.tools()?,
                Some("models") => self.models(key, before.unwrap_or(key.start))?,
                Some("systemInstruction") => self.content()?,
                Some("generationConfig") => self.config()?,
                Some("generateContentRequest") if counting && self.walk.peek() == Some(b'{') => self.top(false)?,
                _ => self.pass()?,
            }
            before = Some(self.walk.at());
            more = self.walk.more()?;
            // The first member goes with the comma behind it.
            if let Some(models) = self.scan.models.as_mut().filter(|models| models.cut.start == key.start) {
                models.cut.end = self.walk.at();
            }
        }
        Ok(())
    }

    /// The name of a field that may stand only once; None for any other.
    fn name(&mut self, key: Str, fields: &[Once]) -> Result<Option<&'static str>, Refusal> {
        let name = self.walk.name(key);
        let found = fields.iter().find(|(camel, snake)| camel.as_bytes() == &*name || snake.as_bytes() == &*name);
        let Some((field, _)) = found else { return Ok(None) };
        if self.seen.contains(field) {
            return Err(Refusal::duplicate(field, key.start));
        }
        self.seen.push(field);
        Ok(Some(field))
    }

    fn contents(&mut self) -> Result<(), Refusal> {
        let start = self.walk.at();
        let must = "a list of at least one content";
        if self.walk.peek() != Some(b'[') {
            return Err(self.wrong("invalid_type", "contents", must));
        }
        let mut more = self.walk.enter()?;
        if !more {
            return Err(Refusal::field("invalid_value", "contents", must, self.body, start..self.walk.at()));
        }
        while more {
            if self.scan.message_count == MAX_CONTENTS {
                return Err(Refusal::too_many("contents", MAX_CONTENTS, self.walk.at()));
            }
            self.scan.message_count += 1;
            self.content()?;
            more = self.walk.more()?;
        }
        self.scan.messages = Some(start..self.walk.at());
        Ok(())
    }

    fn content(&mut self) -> Result<(), Refusal> {
        self.members(|reader, key| {
            if &*reader.walk.name(key) != b"parts" || reader.walk.peek() != Some(b'[') {
                return reader.pass();
            }
            let mut more = reader.walk.enter()?;
            while more {
                reader.members(Self::part)?;
                more = reader.walk.more()?;
            }
            Ok(())
        })
    }

    fn part(&mut self, key: Str) -> Result<(), Refusal> {
        match &*self.walk.name(key) {
            b"text" if self.walk.peek() == Some(b'"') => {
                let string = self.walk.string()?;
                self.scan.text_bytes += string.end - string.start - 2;
                Ok(())
            }
            b"inlineData" | b"inline_data" | b"fileData" | b"file_data" => self.members(|reader, key| {
                if !matches!(&*reader.walk.name(key), b"mimeType" | b"mime_type") || reader.walk.peek() != Some(b'"') {
                    return reader.pass();
                }
                let kind = reader.walk.string()?;
                let kind = reader.walk.name(kind);
                reader.scan.needs.vision |= kind.starts_with(b"image/");
                reader.scan.needs.audio |= kind.starts_with(b"audio/");
                Ok(())
            }),
            _ => self.pass(),
        }
    }

    fn tools(&mut self) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'[') {
            return if self.walk.peek() == Some(b'n') { self.pass() } else { Err(self.wrong("invalid_type", "tools", "a list or null")) };
        }
        let mut more = self.walk.enter()?;
        self.scan.needs.tools |= more;
        while more {
            self.pass()?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn config(&mut self) -> Result<(), Refusal> {
        self.members(|reader, key| match reader.name(key, &CONFIG)? {
            Some("maxOutputTokens") => {
                reader.scan.max_tokens = reader.integer("maxOutputTokens", 0, MAX_TOKENS)?;
                Ok(())
            }
            Some("candidateCount") => {
                reader.scan.n = reader.integer("candidateCount", 1, MAX_CANDIDATES)?.map_or(1, |n| n as u32);
                Ok(())
            }
            _ => match &*reader.walk.name(key) {
                b"responseSchema" | b"response_schema" | b"responseJsonSchema" | b"response_json_schema" | b"_responseJsonSchema" => {
                    reader.scan.needs.json_schema |= reader.walk.peek() == Some(b'{');
                    reader.pass()
                }
                b"responseLogprobs" | b"response_logprobs" => {
                    reader.scan.logprobs |= reader.walk.peek() == Some(b't');
                    reader.pass()
                }
                b"temperature" => {
                    let span = reader.walk.skip()?;
                    reader.scan.cold = reader.walk.raw(span).iter().all(|byte| matches!(byte, b'0' | b'.' | b'-'));
                    Ok(())
                }
                _ => reader.pass(),
            },
        })
    }

    fn models(&mut self, key: Str, start: usize) -> Result<(), Refusal> {
        self.scan.models = Some(models(&mut self.walk, key, start)?);
        Ok(())
    }

    /// An integer; protobuf's parser takes `40.0` for one.
    fn integer(&mut self, param: &'static str, least: u64, most: u64) -> Result<Option<u64>, Refusal> {
        if self.walk.peek() == Some(b'n') {
            self.pass()?;
            return Ok(None);
        }
        let must = format!("an integer from {least} to {most}");
        if !matches!(self.walk.peek(), Some(b'-' | b'0'..=b'9')) {
            return Err(self.wrong("invalid_type", param, &must));
        }
        let span = self.walk.skip()?;
        let digits = std::str::from_utf8(self.walk.raw(span.clone())).unwrap_or_default();
        let value = digits.strip_suffix(".0").unwrap_or(digits).parse().ok();
        match value.filter(|value| (least..=most).contains(value)) {
            None => Err(Refusal::field("invalid_value", param, &must, self.body, span)),
            value => Ok(value),
        }
    }

    /// An object's members; any other value is passed.
    fn members(&mut self, mut member: impl FnMut(&mut Self, Str) -> Result<(), Refusal>) -> Result<(), Refusal> {
        if self.walk.peek() != Some(b'{') {
            return self.pass();
        }
        let mut more = self.walk.enter()?;
        while more {
            let key = self.walk.key()?;
            member(self, key)?;
            more = self.walk.more()?;
        }
        Ok(())
    }

    fn wrong(&mut self, code: &'static str, param: &'static str, must: &str) -> Refusal {
        wrong(&mut self.walk, code, param, must)
    }

    fn pass(&mut self) -> Result<(), Refusal> {
        let _: Range<usize> = self.walk.skip()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> Result<Scan, Refusal> {
        generate(body.as_bytes(), Named { model: "m".into(), stream: true }, false)
    }

    #[test]
    fn what_is_read_of_a_request() {
        let body = r#"{"models": ["a","b"], "contents":[{"role":"user","parts":[{"text":"four"},{"inlineData":{"mimeType":"image/png","data":"AA"}}]},{"parts":[{"text":"five5"}]}],
            "system_instruction":{"parts":[{"text":"six666"}]},"tools":[{"functionDeclarations":[]}],
            "generationConfig":{"maxOutputTokens":40.0,"candidateCount":2,"temperature":0.0,"responseJsonSchema":{},"x":1e400}}"#;
        let scan = read(body).unwrap();
        assert_eq!((scan.model.value.as_str(), scan.model.span.clone(), scan.stream), ("m", 0..0, true));
        assert_eq!((scan.max_tokens, scan.n, scan.cold, scan.text_bytes, scan.message_count), (Some(40), 2, true, 15, 2));
        assert!(scan.needs.tools && scan.needs.vision && scan.needs.json_schema && !scan.needs.audio);
        let models = scan.models.unwrap();
        assert_eq!((models.names, &body[models.cut.clone()]), (vec!["a".into(), "b".into()], r#""models": ["a","b"], "#));
        assert!(body[scan.messages.unwrap()].starts_with("[{\"role\""));
    }

    #[test]
    fn what_is_refused() {
        for (body, code) in [
            ("{", "invalid_json"),
            ("[]", "invalid_json"),
            ("{\"contents\":[]} x", "invalid_value"),
            ("{}", "missing_contents"),
            (r#"{"contents":[]}"#, "invalid_value"),
            (r#"{"contents":"hi"}"#, "invalid_type"),
            (r#"{"contents":{"parts":[]}}"#, "invalid_type"),
            (r#"{"contents":[{}],"contents":[{}]}"#, "duplicate_field"),
            (r#"{"contents":[{}],"generationConfig":{},"generation_config":{}}"#, "duplicate_field"),
            (r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":1,"max_output\u005ftokens":2}}"#, "duplicate_field"),
            (r#"{"contents":[{}],"generationConfig":{"maxOutputTokens":-1}}"#, "invalid_value"),
            (r#"{"contents":[{}],"generationConfig":{"candidateCount":1000}}"#, "invalid_value"),
            (r#"{"contents":[{}],"generationConfig":{"candidateCount":"2"}}"#, "invalid_type"),
            (r#"{"contents":[{}],"tools":{}}"#, "invalid_type"),
            (r#"{"contents":[{}],"generateContentRequest":{"contents":[{}]}}"#, "ok"),
        ] {
            assert_eq!(read(body).map_or_else(|refusal| refusal.code, |_| "ok"), code, "{body}");
        }
        let wrapped = br#"{"generateContentRequest":{"model":"models/m","contents":[{"parts":[{"text":"four"}]}]}}"#;
        let named = || Named { model: "m".into(), stream: false };
        assert_eq!(generate(wrapped, named(), true).unwrap().text_bytes, 4);
        assert!(generate(wrapped, named(), false).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = generate(&bytes, Named { model: "m".into(), stream: false }, true);
        }
    }
}
