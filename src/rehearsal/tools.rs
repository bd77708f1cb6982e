//! Which tools the simulated model calls: those that it must, or that the user spoke of, each once for a user's turn, so that
//! an agent's loop of calls and results comes to its end.

use super::request::{Chat, Tool, ToolChoice};

/// The tools to call now; none means an answer in words.
pub(super) fn chosen(chat: &Chat) -> Vec<&Tool> {
    let fresh: Vec<&Tool> = chat.tools.iter().filter(|tool| !chat.talk.called.contains(&tool.name)).collect();
    let mut chosen = match &chat.tool_choice {
        ToolChoice::Never => Vec::new(),
        ToolChoice::Named(name) => fresh.into_iter().filter(|tool| tool.name == *name).collect(),
        // A result came: a model that must call goes on with the next tool (frameworks give their final answer by one).
        ToolChoice::Required if chat.talk.tool_result.is_some() => fresh.into_iter().take(1).collect(),
        ToolChoice::Required => spoken_of(chat, &fresh).unwrap_or_else(|| fresh.into_iter().take(1).collect()),
        ToolChoice::Auto if chat.talk.tool_result.is_some() => Vec::new(),
        ToolChoice::Auto => spoken_of(chat, &fresh).unwrap_or_default(),
    };
    if !chat.parallel {
        chosen.truncate(1);
    }
    chosen
}

/// The tools that the user named; the first one where the word is just "tool".
fn spoken_of<'a>(chat: &Chat, tools: &[&'a Tool]) -> Option<Vec<&'a Tool>> {
    let named: Vec<&Tool> = tools.iter().copied().filter(|tool| chat.talk.user.contains(&tool.name)).collect();
    if !named.is_empty() {
        return Some(named);
    }
    let spoken = chat
        .talk
        .user
        .split(|c: char| !c.is_alphanumeric())
        .any(|word| word.eq_ignore_ascii_case("tool") || word.eq_ignore_ascii_case("tools"));
    spoken.then(|| tools.iter().copied().take(1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn names(messages: Value, more: Value) -> Vec<String> {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let mut body = json!({"model": "m", "messages": messages, "tools": [tool("find"), tool("weather"), tool("final")]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chosen(&Chat::read(&body).unwrap()).iter().map(|tool| tool.name.clone()).collect()
    }

    fn user(text: &str) -> Value {
        json!([{"role": "user", "content": text}])
    }

    #[test]
    fn on_its_own_only_what_is_spoken_of() {
        assert_eq!(names(user("hello"), json!({})), Vec::<String>::new());
        assert_eq!(names(user("toolbox?"), json!({})), Vec::<String>::new());
        assert_eq!(names(user("use a tool, please"), json!({})), ["find"]);
        assert_eq!(names(user("the weather, then find it"), json!({})), ["find", "weather"]);
        assert_eq!(names(user("the weather, then find it"), json!({"parallel_tool_calls": false})), ["find"]);
        assert_eq!(names(user("weather"), json!({"tool_choice": "none"})), Vec::<String>::new());
    }

    #[test]
    fn when_it_must() {
        assert_eq!(names(user("hello"), json!({"tool_choice": "required"})), ["find"]);
        assert_eq!(names(user("weather"), json!({"tool_choice": "required"})), ["weather"]);
        assert_eq!(names(user("hello"), json!({"tool_choice": {"type": "function", "function": {"name": "final"}}})), ["final"]);
    }

    #[test]
    fn a_loop_ends() {
        let called = |name: &str| {
            [
                json!({"role": "assistant", "content": null, "tool_calls": [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}]}),
                json!({"role": "tool", "tool_call_id": name, "content": "ok"}),
            ]
        };
        let mut messages = vec![json!({"role": "user", "content": "use a tool"})];
        for (next, name) in [("find", "find"), ("weather", "weather"), ("final", "final")] {
            assert_eq!(names(json!(messages), json!({"tool_choice": "required"})), [next]);
            messages.extend(called(name));
            assert_eq!(names(json!(messages), json!({})), Vec::<String>::new());
        }
        assert_eq!(names(json!(messages), json!({"tool_choice": "required"})), Vec::<String>::new());
    }
}
