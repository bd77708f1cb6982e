//! Streams in the shapes that vendors send, their oddities among them, shortened, with words and ids of ours: what each says,
//! how it ends, and what of it reaches the caller. Shared by the properties of the pure machines, which cut, mix and spoil them,
//! and by the tests with a real server.
//!
//! A new oddity is a file in `streams/` and a row here.

/// One stream.
pub(crate) struct Recording {
    /// The name of its file.
    pub(crate) name: &'static str,
    /// Its bytes.
    pub(crate) bytes: &'static [u8],
    /// The content of its first choice.
    pub(crate) says: &'static str,
    /// How it ends.
    pub(crate) ends: Ends,
    /// What of it doesn't reach the caller, in its order.
    pub(crate) withheld: &'static [&'static str],
}

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// By its terminal event.
    Marked,
    /// Well, though its terminal event is missing.
    Unmarked,
    /// It breaks by the event that begins so; by its very end where that is empty.
    Broken(&'static str),
}

impl Recording {
    /// What the caller gets of it; without what the gateway adds in its own name.
    pub(crate) fn reaches_the_caller(&self) -> Vec<u8> {
        let text = std::str::from_utf8(self.bytes).expect("the recordings are text");
        let end = match self.ends {
            Ends::Broken("") | Ends::Unmarked => text.len(),
            Ends::Broken(event) => text.find(event).unwrap_or_else(|| panic!("{} has no {event}", self.name)),
            Ends::Marked => text
                .find("[DONE]")
                .map_or(text.len(), |at| text.len().min(text[at..].find("\n\n").map_or(text.len(), |more| at + more + 2))),
        };
        let (mut rest, mut out) = (&text[..end], String::new());
        for withheld in self.withheld {
            let (before, after) = rest.split_once(withheld).unwrap_or_else(|| panic!("{} has no {withheld:?}", self.name));
            out.push_str(before);
            rest = after;
        }
        out.push_str(rest);
        if out.ends_with("[DONE]") {
            out.push_str("\n\n");
        }
        out.into_bytes()
    }
}

/// The content of a stream's first choice, by a reader that knows no more than the standard.
pub(crate) fn content(stream: &[u8]) -> String {
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n");
    let data = text.lines().filter_map(|line| line.strip_prefix("data:")).filter_map(|data| serde_json::from_str(data).ok());
    let delta = |event: serde_json::Value| {
        let first = event["choices"].as_array()?.iter().find(|choice| choice["index"] == 0)?.clone();
        Some(first["delta"]["content"].as_str()?.to_owned())
    };
    data.filter_map(delta).collect()
}

macro_rules! recordings {
    ($($name:literal says $says:literal $ends:ident $(($at:literal))? $(without $withheld:expr)?;)*) => {
        /// All of them.
        pub(crate) const STREAMS: &[Recording] = &[$(Recording {
            name: $name,
            bytes: include_bytes!(concat!("streams/", $name, ".sse")),
            says: $says,
            ends: Ends::$ends $(($at))?,
            withheld: recordings!(@ $($withheld)?),
        }),*];
    };
    (@) => { &[] };
    (@ $withheld:expr) => { &$withheld };
}

recordings! {
    "openai" says "The “stage” is set 🎭." Marked;
    "openai_tools" says "" Marked;
    "openai_refusal" says "" Marked;
    "openai_two_choices" says "Exit right" Marked;
    "azure" says "Curtain up" Marked;
    "azure_late_filter" says "Curtain down" Marked;
    "azure_filter_fails" says "Curtain" Marked;
    "openrouter" says "Act one" Marked;
    "openrouter_reasoning" says "Act two" Marked;
    "openrouter_breaks" says "Act three" Broken(r#"data: {"id":"gen-1762000003-aBcD","provider":"DeepInfra","model":"qwen/qwen3-32b","object":"chat.completion.chunk","created":1762000003,"error""#);
    "vllm" says "The pit" Marked;
    "vllm_usage_in_each" says "The fly loft" Marked;
    "vllm_tools_stop" says "" Marked;
    "vllm_breaks" says "The" Broken(r#"data: {"error""#);
    "vllm_old_error" says "The" Broken(r#"data: {"object":"error""#);
    "llama_cpp" says "Lights on" Marked;
    "llama_cpp_error_line" says "Lights" Broken("error: {");
    "deepseek_reasoning" says "“Faust”." Marked;
    "deepseek_interrupted" says "“Faust”" Broken(r#"data: {"id":"1f633d8b","object":"chat.completion.chunk","created":1762000006,"model":"deepseek-reasoner","system_fingerprint":"fp_ffc7281d48","choices":[{"index":0,"delta":{"content":""},"#);
    "ollama_old" says " Row if you" Marked;
    "mistral" says "Bravo!" Marked;
    "mistral_thinking" says "Bravo" Marked;
    "mistral_breaks" says "Bravo" Broken(r#"data: {"id":"cmpl-e5cc70bb","object":"chat.completion.chunk","created":1762000008,"model":"mistral-small-latest","choices":[{"index":0,"delta":{"content":""},"#);
    "gemini_finish_in_each" says "Places, please." Marked;
    "gemini_finish_in_each_cut" says "Places, please" Broken("");
    "gemini_tools" says "" Marked;
    "gemini_error_list" says "Places" Broken("data: [{");
    "groq" says "Break a leg" Marked;
    "named_error" says "Break" Broken("event: error");
    "named_error_in_words" says "Break" Broken("event: error");
    "together" says "Stage left" Marked;
    "perplexity" says "The prompter sits" Unmarked;
    "xai" says "Wings." Marked;
    "sglang_two_finishes" says "Green room" Marked;
    "sglang_abort" says "Green" Broken(r#"data: {"id":"7d1e","object":"chat.completion.chunk","created":1762000014,"model":"default","choices":[{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"abort""#);
    "tgi" says "House full" Marked;
    "tgi_breaks" says "House" Broken(r#"data:{"error""#);
    "minimax" says "Full house." Unmarked;
    "dashscope" says "大幕拉开" Marked;
    "numbered_gateway" says "Front row" Marked without ["retry: 3000\n\n", "data: \n\n", "event: ping\n\n", "\n", "\ndata:\n\n"];
    "bom_and_crlf" says "Upper circle" Marked without ["\u{feff}"];
    "doubled_done" says "Once" Marked;
    "torn_json" says "Still here" Marked without ["data: {\"id\":\"chatcmpl-9f2d\",\"choi\n\n", "data: <html>\n\n"];
    "no_finish_reason" says "Open end" Marked;
    "fastchat_error_code" says "The" Broken(r#"data: {"text""#);
}
