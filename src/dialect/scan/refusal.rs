//! Why a request's body is refused: a code for programs, and a sentence for people that says what is wrong, where, and what
//! to do. The caller's own words are echoed, 100 characters of them at most.

use std::ops::Range;

use super::walk::{Fault, MAX_DEPTH, What, cut};

const ECHO_CHARS: usize = 100;

/// A body that isn't accepted: a 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `invalid_json`, `invalid_form`, `too_deep`, `duplicate_field`, `missing_model`, `invalid_model`, `missing_messages`,
    /// `too_many_messages`, `invalid_type` or `invalid_value`.
    pub code: &'static str,
    /// The field it is about.
    pub param: Option<&'static str>,
    /// What is wrong, where, and what to do.
    pub message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault.what {
            What::Deep => {
                let message =
                    format!("The request body is nested deeper than {MAX_DEPTH} levels at byte {}; send a flatter one.", fault.at);
                Self { code: "too_deep", param: None, message }
            }
            _ => Self::json(format_args!("{fault}")),
        }
    }
}

impl Refusal {
    /// The text isn't the JSON that it has to be.
    pub(super) fn json(what: std::fmt::Arguments<'_>) -> Self {
        Self {
            code: "invalid_json",
            param: None,
            message: format!("The request body is not valid JSON: {what}. Send one JSON object in UTF-8."),
        }
    }

    /// The body isn't the form that it has to be.
    pub(super) fn form(what: std::fmt::Arguments<'_>) -> Self {
        let message = format!("The request body is not a form that can be passed on: {what}. Send it as multipart/form-data.");
        Self { code: "invalid_form", param: None, message }
    }

    /// A field is there twice.
    pub(super) fn duplicate(param: &'static str, at: usize) -> Self {
        let message = format!("The field `{param}` appears a second time at byte {at}; send it once.");
        Self { code: "duplicate_field", param: Some(param), message }
    }

    /// A field's value won't do; `must` says what it has to be.
    pub(super) fn field(code: &'static str, param: &'static str, must: &str, body: &[u8], value: Range<usize>) -> Self {
        let at = value.start;
        let message = format!("`{param}` must be {must}, but is {} at byte {at}; correct it or leave it out.", echo(&body[value]));
        Self { code, param: Some(param), message }
    }

    /// The list of messages is longer than any conversation.
    pub(super) fn too_many(param: &'static str, most: usize, at: usize) -> Self {
        let message = format!("`{param}` holds more than {most} messages: one too many begins at byte {at}; send fewer.");
        Self { code: "too_many_messages", param: Some(param), message }
    }

    /// A field has to be there.
    pub(super) fn missing(code: &'static str, param: &'static str, what: &str) -> Self {
        Self { code, param: Some(param), message: format!("The request body has no `{param}`; add {what}.") }
    }
}

/// The caller's own words, cut.
fn echo(value: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(&value[..value.len().min(ECHO_CHARS * 4 + 4)]).into_owned();
    let whole = text.chars().count() <= ECHO_CHARS;
    cut(&mut text, ECHO_CHARS);
    if whole { format!("`{text}`") } else { format!("`{text}…`") }
}
