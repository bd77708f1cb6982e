//! The names of spans' attributes, once. Those of OpenTelemetry's semantic conventions are held to the released list by a test;
//! what a gateway alone can say is under `gateway.`. Never a prompt, an answer or a key.

macro_rules! names {
    ($($(#[$about:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$about])* pub const $constant: &str = $name;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($constant),*];
    };
}

names! {
    /// What is done: `chat`, `embeddings`, `text_completion`, ….
    OPERATION = "gen_ai.operation.name";
    /// Whose model it is, as the conventions name vendors.
    PROVIDER = "gen_ai.provider.name";
    /// The model asked for: by the caller, by its public name; of an upstream, by its own.
    REQUEST_MODEL = "gen_ai.request.model";
    /// The most tokens that it may answer with.
    MAX_TOKENS = "gen_ai.request.max_tokens";
    /// Whether a stream was asked for.
    STREAM = "gen_ai.request.stream";
    /// The model that answered, by its provider's name.
    RESPONSE_MODEL = "gen_ai.response.model";
    /// Seconds to the first content of a stream.
    FIRST_CHUNK = "gen_ai.response.time_to_first_chunk";
    /// Tokens of the prompt.
    INPUT_TOKENS = "gen_ai.usage.input_tokens";
    /// Of the answer.
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    /// Of the prompt, those that the vendor had cached,
    CACHE_READ = "gen_ai.usage.cache_read.input_tokens";
    /// and those that it put there.
    CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens";
    /// Of the answer, those that it thought with.
    REASONING = "gen_ai.usage.reasoning.output_tokens";
    /// What went wrong, in a word.
    ERROR = "error.type";
    /// The upstream's host,
    ADDRESS = "server.address";
    /// and port.
    PORT = "server.port";
    /// `POST`.
    METHOD = "http.request.method";
    /// The path asked for.
    PATH = "url.path";
    /// The status sent, or got.
    STATUS = "http.response.status_code";

    /// The request's id, as in `x-request-id`.
    REQUEST_ID = "gateway.request_id";
    /// The name of the caller's key.
    KEY = "gateway.key";
    /// How many calls were made.
    ATTEMPTS = "gateway.attempts";
    /// Which of them it is, from 1.
    ATTEMPT = "gateway.attempt";
    /// The provider by its name in the settings.
    GATEWAY_PROVIDER = "gateway.provider";
    /// The name of the key that it was called with.
    PROVIDER_KEY = "gateway.provider_key";
    /// Failed targets, then the one that served, as in `x-stagedoor-route`.
    ROUTE = "gateway.route";
    /// The breaker's state that let it through.
    BREAKER = "gateway.breaker";
    /// Whether it was made beside a late one.
    HEDGE = "gateway.hedge";
    /// How it ended, as in `stagedoor_attempts_total`.
    OUTCOME = "gateway.outcome";
    /// What the cache had to do with it.
    CACHE = "gateway.cache";
    /// Dollars that it cost, where that is known.
    COST = "gateway.cost_usd";
    /// Whether another target went on with its stream.
    RECOVERED = "gateway.recovered";
}

/// Hosts of vendors whom the conventions name, by their end.
const VENDORS: [(&str, &str); 14] = [
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    (".amazonaws.com", "aws.bedrock"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    ("api.cohere.com", "cohere"),
];

/// A provider's name in the conventions, by its host; its own in the settings, where they have none for it.
pub fn vendor<'a>(host: &str, own: &'a str) -> &'a str {
    VENDORS.iter().find(|(end, _)| host.ends_with(end)).map_or(own, |(_, name)| name)
}

#[cfg(test)]
#[expect(deprecated, reason = "the crate marks what moved to the conventions' repository for generative AI, and still has it alone")]
mod tests {
    use super::*;
    use opentelemetry_semantic_conventions::attribute as released;

    #[test]
    fn the_names_are_those_of_the_released_conventions() {
        let released = [
            (OPERATION, released::GEN_AI_OPERATION_NAME),
            (PROVIDER, released::GEN_AI_PROVIDER_NAME),
            (REQUEST_MODEL, released::GEN_AI_REQUEST_MODEL),
            (MAX_TOKENS, released::GEN_AI_REQUEST_MAX_TOKENS),
            (STREAM, released::GEN_AI_REQUEST_STREAM),
            (RESPONSE_MODEL, released::GEN_AI_RESPONSE_MODEL),
            (FIRST_CHUNK, released::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
            (INPUT_TOKENS, released::GEN_AI_USAGE_INPUT_TOKENS),
            (OUTPUT_TOKENS, released::GEN_AI_USAGE_OUTPUT_TOKENS),
            (CACHE_READ, released::GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS),
            (CACHE_WRITE, released::GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS),
            (REASONING, released::GEN_AI_USAGE_REASONING_OUTPUT_TOKENS),
            (ERROR, released::ERROR_TYPE),
            (ADDRESS, released::SERVER_ADDRESS),
            (PORT, released::SERVER_PORT),
            (METHOD, released::HTTP_REQUEST_METHOD),
            (PATH, released::URL_PATH),
            (STATUS, released::HTTP_RESPONSE_STATUS_CODE),
        ];
        for (ours, theirs) in released {
            assert_eq!(ours, theirs);
        }
        let rest = ALL.iter().filter(|name| released.iter().all(|(ours, _)| ours != *name));
        assert!(rest.clone().all(|name| name.starts_with("gateway.")), "{:?}", rest.collect::<Vec<_>>());
    }

    #[test]
    fn vendors_go_by_their_host() {
        assert_eq!(vendor("api.openai.com", "mine"), "openai");
        assert_eq!(vendor("west.openai.azure.com", "mine"), "azure.ai.openai");
        assert_eq!(vendor("127.0.0.1", "mine"), "mine");
    }
}
