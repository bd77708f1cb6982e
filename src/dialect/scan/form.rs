//! What the gateway reads of a form (`multipart/form-data`): where its model's name stands. Files are passed over by a search for
//! the boundary, not read.
//!
//! As strict as the JSON beside it: what two readers of forms might read in two ways (a part named twice, a bare line end in
//! a part's head, words before the first boundary or behind the last) is refused, so that the provider can't be shown another
//! model than the gateway has let the caller use. <https://www.rfc-editor.org/rfc/rfc7578>

use std::ops::Range;

use memchr::memmem::{Finder, find};

use super::refusal::Refusal;
use super::types::{Scan, Text};

/// Parts of a form.
const MOST_PARTS: usize = 128;
/// Bytes of a part's head.
const LONGEST_HEAD: usize = 4 << 10;
/// Bytes of a model's name.
const LONGEST_MODEL: usize = 1 << 10;

/// Reads a form's body by the boundary that its content type names.
///
/// # Errors
/// Where it isn't a form, or has no model.
pub fn form(body: &[u8], content_type: &str) -> Result<Scan, Refusal> {
    let boundary =
        boundary(content_type).ok_or_else(|| Refusal::form(format_args!("its content-type names no boundary of 1 to 70 characters")))?;
    let delimiter = format!("\r\n--{boundary}");
    let mut form = Form { body, ends: Finder::new(&delimiter), at: 0, scan: Scan::blank(0), model: None };
    if !body.starts_with(&delimiter.as_bytes()[2..]) {
        return Err(form.wrong("doesn't begin with its boundary"));
    }
    form.at = delimiter.len() - 2;
    for _ in 0..MOST_PARTS {
        if form.is_over()? {
            let model = form.model.take();
            let missing = || Refusal::missing("missing_model", "model", "the name of the model that is to answer");
            form.scan.model = model.ok_or_else(missing)?;
            return Ok(form.scan);
        }
        form.part(delimiter.len())?;
    }
    Err(form.wrong("has more than 128 parts"))
}

struct Form<'a> {
    body: &'a [u8],
    /// Finds the next boundary.
    ends: Finder<'a>,
    /// Right behind the last boundary.
    at: usize,
    scan: Scan,
    model: Option<Text>,
}

impl Form<'_> {
    fn wrong(&self, what: &str) -> Refusal {
        Refusal::form(format_args!("it {what} (byte {})", self.at))
    }

    /// Whether the boundary was the last. Nothing may follow it.
    fn is_over(&self) -> Result<bool, Refusal> {
        match &self.body[self.at..] {
            b"--" | b"--\r\n" => Ok(true),
            [b'-', b'-', ..] => Err(self.wrong("goes on behind its last boundary")),
            [b'\r', b'\n', ..] => Ok(false),
            _ => Err(self.wrong("has something behind a boundary")),
        }
    }

    fn part(&mut self, delimiter: usize) -> Result<(), Refusal> {
        let begin = self.at;
        let seen = &self.body[begin..(begin + LONGEST_HEAD).min(self.body.len())];
        let head = find(seen, b"\r\n\r\n").ok_or_else(|| self.wrong("has a part whose head doesn't end"))?;
        let value = begin + head + 4;
        let length = self.ends.find(&self.body[value..]).ok_or_else(|| self.wrong("ends without its last boundary"))?;
        let name = self.name(&self.body[begin..begin + head])?;
        let span = value..value + length;
        match name.as_deref() {
            Some(Name { field: "model", file: false }) => self.named(span)?,
            Some(Name { field: "model", file: true }) => return Err(self.wrong("has a file in place of the model's name")),
            Some(Name { field: "prompt", file: false }) => self.scan.text_bytes += length,
            _ => {}
        }
        self.at = value + length + delimiter;
        Ok(())
    }

    fn named(&mut self, span: Range<usize>) -> Result<(), Refusal> {
        if self.model.is_some() {
            return Err(Refusal::duplicate("model", span.start));
        }
        let name = std::str::from_utf8(&self.body[span.clone()]).ok();
        let name = name.filter(|name| (1..=LONGEST_MODEL).contains(&name.len()) && !name.contains(['\r', '\n', '\0']));
        let must = "the name of a model, a text that isn't empty";
        let value = name.ok_or_else(|| Refusal::field("invalid_model", "model", must, self.body, span.clone()))?.to_owned();
        self.model = Some(Text { span, value });
        Ok(())
    }

    /// A part's name, from its head.
    fn name<'h>(&self, head: &'h [u8]) -> Result<Option<Box<Name<'h>>>, Refusal> {
        let head = std::str::from_utf8(head).map_err(|_| self.wrong("has a part whose head isn't UTF-8"))?;
        if head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
            return Err(self.wrong("has a bare line end or a NUL in a part's head"));
        }
        let mut found = None;
        for line in head.split("\r\n") {
            let Some((header, value)) = line.split_once(':') else { continue };
            if !header.trim().eq_ignore_ascii_case("content-disposition") {
                continue;
            }
            let name = disposition(value).ok_or_else(|| self.wrong("has a part whose name can't be read"))?;
            if found.replace(Box::new(name)).is_some() {
                return Err(self.wrong("has a part with two names"));
            }
        }
        Ok(found)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Name<'h> {
    field: &'h str,
    file: bool,
}

/// The name in a `Content-Disposition`; None where there is none, or more than one.
fn disposition(value: &str) -> Option<Name<'_>> {
    let (mut field, mut file) = (None, false);
    for parameter in parameters(value)?.into_iter().skip(1) {
        let (key, value) = parameter.split_once('=')?;
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" if field.is_none() => field = Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value)),
            "name" | "name*" => return None,
            "filename" | "filename*" => file = true,
            _ => {}
        }
    }
    // An escaped name might be read as another.
    field.filter(|field| !field.contains(['\\', '%', '"'])).map(|field| Name { field, file })
}

/// Split at semicolons, but for those within quotes.
fn parameters(value: &str) -> Option<Vec<&str>> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => {
                parts.push(&value[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&value[from..]);
    (!quoted).then_some(parts)
}

/// The boundary in a content type.
fn boundary(content_type: &str) -> Option<&str> {
    let mut found = parameters(content_type)?.into_iter().skip(1).filter_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    let boundary = found.next()?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    ((1..=70).contains(&boundary.len()) && boundary.bytes().all(good) && found.next().is_none()).then_some(boundary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TYPE: &str = "multipart/form-data; boundary=XX";

    fn part(head: &str, value: &str) -> String {
        format!("--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    fn scanned(parts: &[String]) -> Result<Scan, Refusal> {
        form(format!("{}--XX--\r\n", parts.concat()).as_bytes(), TYPE)
    }

    fn code(body: &[u8], content_type: &str) -> &'static str {
        form(body, content_type).map_or_else(|refusal| refusal.code, |_| "ok")
    }

    #[test]
    fn the_model_is_found_between_files() {
        let file =
            part("name=\"file\"; filename=\"name=\\\"model\\\"; x.mp3\"\r\nContent-Type: audio/mpeg", "\r\n--X\r\n--XY not a boundary: \0");
        let parts = [file.replace("--XY", "--Y"), part("name=\"model\"", "whisper-1"), part("name=prompt", "four"), part("name=\"n\"", "")];
        let body = format!("{}--XX--", parts.concat());
        let scan = form(body.as_bytes(), "multipart/form-data;charset=x; Boundary=\"XX\"").unwrap();
        assert_eq!((&*scan.model.value, &body[scan.model.span.clone()], scan.text_bytes), ("whisper-1", "whisper-1", 4));
        assert!(!scan.stream && scan.n == 1);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let model = part("name=\"model\"", "m");
        let whole = |parts: &str| format!("{parts}--XX--\r\n");
        for (body, code_) in [
            (whole(&model), "ok"),
            (whole(&model.repeat(2)), "duplicate_field"),
            (whole(&part("name=\"file\"; filename=\"f\"", "x")), "missing_model"),
            (whole(&part("name=\"model\"", "")), "invalid_model"),
            (whole(&part("name=\"model\"; filename=\"m\"", "m")), "invalid_form"),
            (whole(&part("name=\"model\"; name=\"x\"", "m")), "invalid_form"),
            (whole(&part("name*=utf-8''model", "m")), "invalid_form"),
            (whole(&part("name=\"mod\\el\"", "m")), "invalid_form"),
            (whole(&part("name=\"mode%6c\"", "m")), "invalid_form"),
            (whole(&part("name=\"x\"\nContent-Disposition: form-data; name=\"model\"", "m")), "invalid_form"),
            (whole(&part("name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"", "m")), "invalid_form"),
            (format!("preamble\r\n{}", whole(&model)), "invalid_form"),
            (format!("{}more", whole(&model)), "invalid_form"),
            (format!("{model}--XXY\r\n\r\n--XX--"), "invalid_form"),
            (model.clone(), "invalid_form"),
            ("--XX\r\nContent-Disposition: form-data; name=\"model\"".to_owned(), "invalid_form"),
            (whole(&part("name=\"a\"", "b").repeat(200)), "invalid_form"),
            (String::new(), "invalid_form"),
        ] {
            assert_eq!(code(body.as_bytes(), TYPE), code_, "{body:?}");
        }
        for wrong in ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=a; boundary=b"] {
            assert_eq!(code(b"--XX--", wrong), "invalid_form", "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in "[ -~]{0,40}") {
            let _ = form(&bytes, &kind);
            let _ = form(&[b"--XX\r\n", &bytes[..]].concat(), TYPE);
        }

        #[test]
        fn a_file_of_any_bytes_is_passed_over(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assume!(find(&bytes, b"\r\n--XX").is_none());
            let head = part("name=\"file\"; filename=\"f\"", "");
            let body = [head.trim_end_matches("\r\n").as_bytes(), b"\r\n\r\n", &bytes, b"\r\n", part("name=\"model\"", "m").as_bytes(), b"--XX--"].concat();
            prop_assert_eq!(form(&body, TYPE).unwrap().model.value, "m");
        }

        #[test]
        fn any_parts_by_other_names_are_passed_over(name in "[a-z\\[\\]_]{1,12}", value in "[^\\r]{0,20}") {
            prop_assume!(name != "model");
            let scan = scanned(&[part(&format!("name=\"{name}\""), &value), part("name=\"model\"", "m")]).unwrap();
            prop_assert_eq!(scan.model.value, "m");
        }
    }
}
