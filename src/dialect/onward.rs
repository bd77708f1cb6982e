//! The request in no dialect that asks a target to go on with a half-said answer: what `openai::carry` does to the caller's own
//! bytes, where the target speaks another dialect.

use std::borrow::Cow;

use super::carry::quote;
use super::chat::{Message, Part, Request, Role};
use crate::stream::Way;

impl Request<'_> {
    /// Makes it ask for the rest of what was `said`, in so many tokens or about. False where the way isn't open: there is no
    /// text to go on from, or the conversation already ends with words of the assistant's.
    pub fn go_on(&mut self, way: Way, said: &str, tokens: u64) -> bool {
        if way == Way::Splice {
            return true;
        }
        let text = said.trim_end();
        if text.is_empty() || self.messages.last().is_none_or(|last| last.role == Role::Assistant) {
            return false;
        }
        let (role, text) = match way {
            Way::Quote => (Role::User, quote(text)),
            Way::Prefill | Way::Prefix | Way::Vllm | Way::Splice => (Role::Assistant, text.to_owned()),
        };
        self.messages.push(Message { role, name: None, parts: vec![Part::Text { text: Cow::Owned(text), cache: None }] });
        // At least one token is left, as none is refused everywhere.
        self.max_tokens = self.max_tokens.map(|most| most.saturating_sub(tokens).max(1));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Request<'static> {
        let hello = Message { role: Role::User, name: None, parts: vec![Part::Text { text: "hi".into(), cache: None }] };
        Request { messages: vec![hello], max_tokens: Some(50), ..Request::default() }
    }

    fn last(request: &Request<'_>) -> (Role, String) {
        let last = request.messages.last().unwrap();
        let [Part::Text { text, .. }] = &last.parts[..] else { panic!("{last:?}") };
        (last.role, text.clone().into_owned())
    }

    #[test]
    fn each_way_asks_for_the_rest() {
        for way in [Way::Prefill, Way::Prefix, Way::Vllm] {
            let mut request = asked();
            assert!(request.go_on(way, "So far \n", 9));
            assert_eq!((last(&request), request.max_tokens), ((Role::Assistant, "So far".into()), Some(41)));
        }
        let mut request = asked();
        assert!(request.go_on(Way::Quote, "So far", 900));
        let (role, text) = last(&request);
        assert!(role == Role::User && text.contains("<<<BEGIN>>>So far<<<END>>>"), "{text}");
        assert_eq!(request.max_tokens, Some(1));
        let mut request = asked();
        assert!(request.go_on(Way::Splice, "So far", 9));
        assert_eq!(request, asked(), "the request as it was");
    }

    #[test]
    fn where_there_is_nothing_to_go_on_from_the_way_is_closed() {
        for way in [Way::Prefill, Way::Prefix, Way::Vllm, Way::Quote] {
            assert!(!asked().go_on(way, " \n", 9));
            let mut begun = asked();
            begun.messages.push(Message { role: Role::Assistant, name: None, parts: Vec::new() });
            assert!(!begun.go_on(way, "So far", 9), "the caller's own beginning is not told from ours");
        }
    }
}
