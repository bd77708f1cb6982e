//! What requests of every dialect have in common, read by a walk: how a body begins, and fields of the gateway's own.

use super::refusal::Refusal;
use super::types::Models;
use super::walk::{Str, Walk};

const MAX_MODELS: usize = 64;

/// Stands on the object that a body is.
pub(super) fn opened(body: &[u8]) -> Result<Walk<'_>, Refusal> {
    if let Err(wrong) = std::str::from_utf8(body) {
        return Err(Refusal::json(format_args!("it is not UTF-8 at byte {}", wrong.valid_up_to())));
    }
    if body.starts_with("\u{feff}".as_bytes()) {
        return Err(Refusal::json(format_args!("it begins with a byte order mark (BOM) at byte 0")));
    }
    let walk = Walk::new(body);
    if walk.peek().is_some_and(|first| first != b'{') {
        return Err(Refusal::json(format_args!("it is not an object at byte {}", walk.at())));
    }
    Ok(walk)
}

/// The models to be asked in turn. `key`: where their member begins; `start`: where what is cut out before the body is sent.
pub(super) fn models(walk: &mut Walk<'_>, key: Str, start: usize) -> Result<Models, Refusal> {
    let must = "a list of at most 64 model names, each a string that isn't empty";
    let mut names = Vec::new();
    let mut more = match walk.peek() {
        Some(b'n') => walk.skip().map(|_| false)?,
        Some(b'[') => walk.enter()?,
        _ => return Err(wrong(walk, "invalid_type", "models", "a list of model names")),
    };
    while more {
        if walk.peek() != Some(b'"') {
            return Err(wrong(walk, "invalid_type", "models", must));
        }
        let name = walk.string()?;
        match walk.text(name).filter(|text| !text.is_empty() && names.len() < MAX_MODELS) {
            Some(text) => names.push(text),
            None => return Err(Refusal::field("invalid_value", "models", must, walk.rest(0), name.span())),
        }
        more = walk.more()?;
    }
    let end = walk.at();
    Ok(Models { names, cut: start..end, member: key.start..end, lead: false })
}

/// The refusal of the value that the walk stands on; if that isn't even JSON, of this.
pub(super) fn wrong(walk: &mut Walk<'_>, code: &'static str, param: &'static str, must: &str) -> Refusal {
    match walk.skip() {
        Ok(value) => Refusal::field(code, param, must, walk.rest(0), value),
        Err(fault) => fault.into(),
    }
}
