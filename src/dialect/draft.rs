//! JSON being written, value after value: what the writers of dialects share. Commas come by themselves; nothing is built but
//! the text.

use std::io::Write as _;

use bytes::Bytes;

use super::node::Node;
use super::scan::walk::next_special;

/// See the module's text.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Draft(Vec<u8>);

impl Draft {
    /// With room for so many bytes.
    pub(in crate::dialect) fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Goes on in a text that somebody else began.
    pub(in crate::dialect) fn behind(text: Vec<u8>) -> Self {
        Self(text)
    }

    /// What was written.
    pub(in crate::dialect) fn done(self) -> Bytes {
        self.0.into()
    }

    /// The same, to be gone on with.
    pub(in crate::dialect) fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// What isn't JSON, between values.
    pub(in crate::dialect) fn line(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// An object; `inside` writes its members.
    pub(in crate::dialect) fn object(&mut self, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.between(b'{', b'}', inside)
    }

    /// A list; `inside` writes its values.
    pub(in crate::dialect) fn list(&mut self, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.between(b'[', b']', inside)
    }

    fn between(&mut self, open: u8, close: u8, inside: impl FnOnce(&mut Self)) -> &mut Self {
        self.begin(open);
        inside(self);
        self.end(close)
    }

    /// Opens an object or a list by its bracket, where what is inside needs more than this to be written.
    pub(in crate::dialect) fn begin(&mut self, bracket: u8) -> &mut Self {
        self.comma();
        self.0.push(bracket);
        self
    }

    /// Closes it.
    pub(in crate::dialect) fn end(&mut self, bracket: u8) -> &mut Self {
        self.0.push(bracket);
        self
    }

    /// A member's name; its value has to follow.
    pub(in crate::dialect) fn key(&mut self, name: &str) -> &mut Self {
        self.text(name);
        self.0.push(b':');
        self
    }

    /// A string.
    pub(in crate::dialect) fn text(&mut self, text: &str) -> &mut Self {
        self.comma();
        self.0.push(b'"');
        let (bytes, mut from) = (text.as_bytes(), 0);
        loop {
            let at = next_special(bytes, from);
            self.0.extend_from_slice(&bytes[from..at]);
            let Some(byte) = bytes.get(at) else { break };
            match byte {
                b'"' => self.0.extend_from_slice(b"\\\""),
                b'\\' => self.0.extend_from_slice(b"\\\\"),
                b'\n' => self.0.extend_from_slice(b"\\n"),
                b'\r' => self.0.extend_from_slice(b"\\r"),
                b'\t' => self.0.extend_from_slice(b"\\t"),
                byte => self.0.extend_from_slice(&hex(*byte)),
            }
            from = at + 1;
        }
        self.0.push(b'"');
        self
    }

    /// A value that is JSON already.
    pub(in crate::dialect) fn raw(&mut self, json: &str) -> &mut Self {
        self.comma();
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    /// A call's arguments, which have to be an object: what isn't one is told under a name of ours rather than lost.
    pub(in crate::dialect) fn arguments(&mut self, arguments: &str) -> &mut Self {
        let json = arguments.trim();
        if json.is_empty() {
            self.raw("{}")
        } else if Node::whole(json.as_bytes()).is_some_and(Node::is_object) {
            self.raw(json)
        } else {
            self.object(|d| _ = d.key("invalid_json").text(arguments))
        }
    }

    /// A number.
    pub(in crate::dialect) fn count(&mut self, number: u64) -> &mut Self {
        self.comma();
        // A Vec takes whatever is written to it.
        let _ = write!(self.0, "{number}");
        self
    }

    /// A truth value.
    pub(in crate::dialect) fn truth(&mut self, truth: bool) -> &mut Self {
        self.raw(if truth { "true" } else { "false" })
    }

    /// Null.
    pub(in crate::dialect) fn null(&mut self) -> &mut Self {
        self.raw("null")
    }

    /// No value ends with one of these: behind them stands the first of its kind, or a member's value.
    fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[' | b':' | b' ')) {
            self.0.push(b',');
        }
    }
}

fn hex(byte: u8) -> [u8; 6] {
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn commas_come_by_themselves() {
        let mut draft = Draft::with_room(0);
        draft.object(|d| {
            d.key("a").list(|_| {});
            d.key("b").list(|d| _ = d.count(1).null().truth(true).text("{"));
            d.key("c").object(|d| _ = d.key("x").raw("1.10"));
            d.key("d").object(|_| {});
        });
        assert_eq!(draft.done(), r#"{"a":[],"b":[1,null,true,"{"],"c":{"x":1.10},"d":{}}"#);
    }

    proptest! {
        #[test]
        fn any_text_reads_back(key in any::<String>(), texts in prop::collection::vec(any::<String>(), 0..4)) {
            let mut draft = Draft::behind(b"data: ".to_vec());
            draft.object(|d| _ = d.key(&key).list(|d| texts.iter().for_each(|text| _ = d.text(text))));
            let bytes = draft.into_vec();
            let read: Value = serde_json::from_slice(bytes.strip_prefix(b"data: ").unwrap()).unwrap();
            prop_assert_eq!(read, json!({ key: texts }));
        }
    }
}
