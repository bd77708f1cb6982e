//! What a response repeats of its request, as its readers expect: settings as they were written, and what nobody wrote as null or
//! by OpenAI's default.

use crate::dialect::draft::Draft;
use crate::dialect::node::{Members, Node};
use crate::dialect::scan::quoted;

/// The repeated members, each with what stands there where the request has none.
/// <https://platform.openai.com/docs/api-reference/responses/object>
const MEMBERS: &[(&str, &str)] = &[
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("temperature", "null"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", r#""auto""#),
    ("tools", "[]"),
    ("top_p", "null"),
    ("truncation", r#""disabled""#),
    ("user", "null"),
];

/// See the module's text: members, without the object around them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Echo(String);

impl Default for Echo {
    fn default() -> Self {
        Self::from(Members::default())
    }
}

impl Echo {
    /// Of a request's body; of what isn't one, the defaults.
    pub(super) fn of(request: &[u8]) -> Self {
        Self::from(Node::object(request).unwrap_or_default())
    }

    fn from(mut request: Members<'_>) -> Self {
        let mut text = String::from(r#""background":false,"previous_response_id":null,"service_tier":"default","store":false"#);
        for (name, usual) in MEMBERS {
            let value = request.take(name).map_or((*usual).to_owned(), one_line);
            text.push_str(&format!(",\"{name}\":{value}"));
        }
        Self(text)
    }

    /// Of a response that was begun by its vendor and is gone on with here: what it says of itself. It is not kept there under its
    /// id as its caller has it.
    pub(super) fn begun(mut response: Members<'_>) -> Self {
        let mut text = String::from(r#""store":false"#);
        response.take("store");
        for (name, usual) in [("background", "false"), ("previous_response_id", "null")].iter().chain(MEMBERS) {
            let value = response.take(name).map_or((*usual).to_owned(), one_line);
            text.push_str(&format!(",\"{name}\":{value}"));
        }
        for (name, node) in response.rest() {
            text.push_str(&format!(",{}:{}", quoted(&name), one_line(node)));
        }
        Self(text)
    }

    /// Writes the members into an object.
    pub(super) fn write(&self, d: &mut Draft) {
        d.raw(&self.0);
    }
}

/// An event's data has one line, and line ends stand only between tokens.
pub(super) fn one_line(node: Node<'_>) -> String {
    node.raw().replace(['\r', '\n'], " ")
}
