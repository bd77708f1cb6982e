//! Callers that have a model choose among some of their tools only. No two dialects say that alike, and some can't at all: to all
//! others the tools that may not be called are left out, which comes to the same.

use super::chat::{Request, ToolChoice};
use super::node::Members;
use super::seam::Unfit;

/// Reads OpenAI's `allowed_tools`, which Chat Completions and Responses write alike but for the place of a function's name. The
/// request has its tools.
pub(in crate::dialect) fn allowed_tools<'a>(request: &mut Request<'a>, mut m: Members<'a>) -> Result<ToolChoice<'a>, Unfit> {
    let wrong = || Unfit::new("the value of tool_choice");
    let choice = match m.text("mode").as_deref() {
        Some("auto") => ToolChoice::Auto,
        Some("required") => ToolChoice::Any,
        _ => return Err(wrong()),
    };
    let mut names = Vec::new();
    for node in m.list("tools").ok_or_else(wrong)? {
        let mut tool = node.members().ok_or_else(wrong)?;
        let kind = tool.text("type").unwrap_or_default();
        let name = tool.object("function").unwrap_or(tool).text("name").filter(|_| kind == "function");
        names.push(name.ok_or_else(|| Unfit::new(format!("a tool of type {kind:?} in tool_choice")))?);
    }
    request.allow(&names)?;
    Ok(choice)
}

impl Request<'_> {
    /// Leaves out all tools but these.
    pub(in crate::dialect) fn allow<T: AsRef<str>>(&mut self, names: &[T]) -> Result<(), Unfit> {
        let is_there = |name: &str| self.tools.iter().any(|tool| tool.name == name);
        if names.is_empty() || !names.iter().all(|name| is_there(name.as_ref())) {
            return Err(Unfit::new("a tool_choice of tools that aren't in `tools`"));
        }
        self.tools.retain(|tool| names.iter().any(|name| tool.name == name.as_ref()));
        Ok(())
    }
}
