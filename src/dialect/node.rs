//! JSON as it stands in a text, looked into where somebody asks: what the readers of dialects share.
//!
//! Nothing is built that isn't asked for, and what is handed on (a schema, a call's arguments, a number) stays the text that
//! it was, so that its order, its formats and its precision survive. A member that is null is as if it weren't there: that is
//! how every vendor treats it.

use std::borrow::Cow;

use super::scan::walk::{Str, Walk};

/// One JSON value, by its own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dialect) struct Node<'a>(&'a str);

impl<'a> Node<'a> {
    /// A whole text; None where it isn't UTF-8 or not JSON to its last byte.
    pub(in crate::dialect) fn whole(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut walk = Walk::new(bytes);
        let span = walk.skip().ok()?;
        walk.end().ok()?;
        Some(Self(&text[span]))
    }

    /// Its text.
    pub(in crate::dialect) fn raw(self) -> &'a str {
        self.0
    }

    /// Where it stands in the bytes that it was read from.
    pub(in crate::dialect) fn span_in(self, data: &[u8]) -> std::ops::Range<usize> {
        let start = self.0.as_ptr() as usize - data.as_ptr() as usize;
        start..start + self.0.len()
    }

    /// Whether it is null.
    pub(in crate::dialect) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Whether it is an object.
    pub(in crate::dialect) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Whether it is a list.
    pub(in crate::dialect) fn is_list(self) -> bool {
        self.0.starts_with('[')
    }

    /// A string's text, not copied where nothing in it is escaped. A lone surrogate is no text.
    pub(in crate::dialect) fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inner));
        }
        Walk::new(self.0.as_bytes()).text(Str { start: 0, end: self.0.len(), escaped: true }).map(Cow::Owned)
    }

    /// A number's own text.
    pub(in crate::dialect) fn number(self) -> Option<&'a str> {
        self.0.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then_some(self.0)
    }

    /// A number that counts something.
    pub(in crate::dialect) fn count(self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// A truth value.
    pub(in crate::dialect) fn truth(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// A list's values.
    pub(in crate::dialect) fn items(self) -> Option<Vec<Node<'a>>> {
        if !self.is_list() {
            return None;
        }
        let mut walk = Walk::new(self.0.as_bytes());
        let mut items = Vec::new();
        let mut more = walk.enter().ok()?;
        while more {
            let span = walk.skip().ok()?;
            items.push(Self(&self.0[span]));
            more = walk.more().ok()?;
        }
        Some(items)
    }

    /// An object's members.
    pub(in crate::dialect) fn members(self) -> Option<Members<'a>> {
        if !self.is_object() {
            return None;
        }
        let mut walk = Walk::new(self.0.as_bytes());
        let mut members = Vec::new();
        let mut more = walk.enter().ok()?;
        while more {
            let key = walk.key().ok()?;
            let name = Self(&self.0[key.span()]).text().unwrap_or(Cow::Borrowed("?"));
            let value = Self(&self.0[walk.skip().ok()?]);
            if !value.is_null() {
                members.push((name, value));
            }
            more = walk.more().ok()?;
        }
        Some(Members(members))
    }
}

/// An object's members that nobody has taken yet. Of several by one name the last counts, as in every vendor's parser.
#[derive(Clone, Debug, Default)]
pub(in crate::dialect) struct Members<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Members<'a> {
    /// Takes a member.
    pub(in crate::dialect) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let found = self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)?;
        self.0.retain(|(known, _)| known != name);
        Some(found)
    }

    /// Takes a member that is a text; one that is something else is gone, too.
    pub(in crate::dialect) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        self.take(name)?.text()
    }

    /// Takes a member that is a count.
    pub(in crate::dialect) fn count(&mut self, name: &str) -> Option<u64> {
        self.take(name)?.count()
    }

    /// Takes a member that is an object.
    pub(in crate::dialect) fn object(&mut self, name: &str) -> Option<Members<'a>> {
        self.take(name)?.members()
    }

    /// Takes a member that is a list.
    pub(in crate::dialect) fn list(&mut self, name: &str) -> Option<Vec<Node<'a>>> {
        self.take(name)?.items()
    }

    /// What nobody took.
    pub(in crate::dialect) fn rest(self) -> impl Iterator<Item = (Cow<'a, str>, Node<'a>)> {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn values_stay_as_they_were_written() {
        let node =
            Node::whole(br#" {"a": 1.10, "b":[1e400 , {"z":1,"a":2}], "n": null, "s":"\u00e9\"", "a": 7, "lone":"\ud800"} "#).unwrap();
        let mut members = node.members().unwrap();
        assert_eq!(members.take("a").map(Node::raw), Some("7"), "the last of two");
        assert_eq!(members.take("a"), None);
        let items = members.list("b").unwrap();
        assert_eq!((items[0].number(), items[1].raw()), (Some("1e400"), r#"{"z":1,"a":2}"#));
        assert_eq!((members.text("s").as_deref(), members.text("lone")), (Some("\u{e9}\""), None));
        assert_eq!(members.take("n"), None, "null is as if it weren't there");
        assert_eq!(members.rest().count(), 0);
        for wrong in [&b"{"[..], b"{} x", b"\"\xff\"", b"", b"nul"] {
            assert_eq!(Node::whole(wrong), None);
        }
    }

    proptest! {
        #[test]
        fn reads_what_a_parser_reads(text in any::<String>(), names in prop::collection::vec(any::<String>(), 0..5), number in any::<u64>()) {
            let object: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), text.clone().into())).collect();
            let body = serde_json::to_string_pretty(&serde_json::json!({"o": object, "n": number})).unwrap();
            let mut members = Node::whole(body.as_bytes()).unwrap().members().unwrap();
            prop_assert_eq!(members.count("n"), Some(number));
            let mut inner = members.object("o").unwrap();
            for name in object.keys() {
                let read = inner.text(name);
                prop_assert_eq!(read.as_deref(), Some(text.as_str()));
            }
            prop_assert_eq!(inner.rest().count(), 0);
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(node) = Node::whole(&bytes) {
                let _ = (node.text(), node.items(), node.members(), node.count(), node.truth());
            }
        }
    }
}
