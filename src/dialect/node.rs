//! JSON as it stands in a text, looked into where somebody asks: what the readers of dialects share.
//!
//! Nothing is built that isn't asked for, and what is handed on (a schema, a call's arguments, a number) stays the text that
//! it was, so that its order, its formats and its precision survive. A member that is null is as if it weren't there: that is
//! how every vendor treats it.

use std::borrow::Cow;

use super::scan::walk::{Str, Walk, next_special};

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

    /// Whether it is an object.
    pub(in crate::dialect) fn is_object(self) -> bool {
        self.0.starts_with('{')
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
        let mut inside = Inside::of(self.0, '[')?;
        let mut items = Vec::new();
        while inside.more() {
            items.push(Self(inside.value()));
        }
        Some(items)
    }

    /// An object's members.
    pub(in crate::dialect) fn members(self) -> Option<Members<'a>> {
        let mut inside = Inside::of(self.0, '{')?;
        let mut members = Members::default();
        while inside.more() {
            let name = inside.value();
            inside.colon();
            members.add(name, inside.value());
        }
        Some(members)
    }

    /// A whole text's, read in the pass that checks it; None where it isn't UTF-8 or no JSON object to its last byte.
    pub(in crate::dialect) fn object(bytes: &'a [u8]) -> Option<Members<'a>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut walk = Walk::new(bytes);
        if walk.peek() != Some(b'{') {
            return None;
        }
        let mut members = Members::default();
        let mut more = walk.enter().ok()?;
        while more {
            let name = &text[walk.key().ok()?.span()];
            members.add(name, &text[walk.skip().ok()?]);
            more = walk.more().ok()?;
        }
        walk.end().ok()?;
        Some(members)
    }
}

/// Goes through the inside of an object or a list that was walked before: as it is JSON, nothing is looked at but where its values
/// end.
struct Inside<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Inside<'a> {
    /// None where the text is of another kind than this bracket's.
    fn of(text: &'a str, bracket: char) -> Option<Self> {
        text.starts_with(bracket).then_some(Self { text, at: 1 })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Whether another value follows: then it stands on it.
    fn more(&mut self) -> bool {
        while let Some(b',' | b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
        !matches!(self.peek(), None | Some(b']' | b'}'))
    }

    /// Passes what stands between a name and its value.
    fn colon(&mut self) {
        while let Some(b':' | b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes a value.
    fn value(&mut self) -> &'a str {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') => self.nested(),
            _ => {
                while !matches!(self.peek(), None | Some(b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t')) {
                    self.at += 1;
                }
            }
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn string(&mut self) {
        self.at = next_special(self.text.as_bytes(), self.at + 1);
        while self.peek() == Some(b'\\') {
            self.at = next_special(self.text.as_bytes(), self.at + 2);
        }
        self.at += 1;
    }

    fn nested(&mut self) {
        let mut depth = 0;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}

/// An object's members that nobody has taken yet. Of several by one name the last counts, as in every vendor's parser.
#[derive(Clone, Debug, Default)]
pub(in crate::dialect) struct Members<'a>(Vec<(Cow<'a, str>, Node<'a>)>);

impl<'a> Members<'a> {
    fn add(&mut self, name: &'a str, value: &'a str) {
        if value != "null" {
            if self.0.is_empty() {
                self.0.reserve(8);
            }
            self.0.push((Node(name).text().unwrap_or(Cow::Borrowed("?")), Node(value)));
        }
    }

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

    /// What its readers make of it.
    fn tree(node: Node<'_>) -> Value {
        if let Some(items) = node.items() {
            return items.into_iter().map(tree).collect();
        }
        match node.members() {
            Some(members) => members.rest().map(|(name, value)| (name.into_owned(), tree(value))).collect(),
            None => node.text().map_or_else(|| serde_json::from_str(node.raw()).unwrap(), |text| text.into_owned().into()),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i64>().prop_map(Value::from), any::<bool>().prop_map(Value::from), ".{0,40}".prop_map(Value::from)];
        leaf.prop_recursive(5, 40, 5, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from);
            prop_oneof![list, prop::collection::hash_map(".{0,9}", inner, 0..5).prop_map(|map| map.into_iter().collect())]
        })
    }

    proptest! {
        #[test]
        fn all_of_a_text_is_there(value in any_json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert_eq!(Node::whole(text.as_bytes()).map(tree), Some(value.clone()));
            let members = Node::object(text.as_bytes()).map(|members| members.rest().map(|(name, value)| (name.into_owned(), tree(value))).collect());
            prop_assert_eq!(members, Some(value).filter(Value::is_object));
        }

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
