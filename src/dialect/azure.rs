//! OpenAI's API as Azure addresses it. The bodies are OpenAI's (with `content_filter_results` and the like, which pass); where
//! they are sent is by deployment, with a version of the API, or, since its `v1`, as at OpenAI.
//! <https://learn.microsoft.com/azure/ai-services/openai/reference>,
//! <https://learn.microsoft.com/azure/foundry/openai/api-version-lifecycle>

use super::escape::segment;

/// The last dated version that isn't a preview: asked for where the settings name none.
pub const VERSION: &str = "2024-10-21";

/// Where Azure is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Azure {
    base: String,
    /// Whether the deployment stands in the path; else in the body, as `model`.
    by_deployment: bool,
    /// The query, with its question mark; empty where none is needed.
    query: String,
}

impl Azure {
    /// `base_url`: the resource's address, with or without `/openai`; or that of its `v1`, which needs no version.
    pub fn new(base_url: &str, version: Option<&str>) -> Self {
        let by_deployment = !base_url.ends_with("/openai/v1");
        let base = if base_url.ends_with("/openai") || !by_deployment { base_url.to_owned() } else { format!("{base_url}/openai") };
        let version = version.or(by_deployment.then_some(VERSION));
        Self { base, by_deployment, query: version.map(|version| format!("?api-version={version}")).unwrap_or_default() }
    }

    /// The URL of an endpoint (`/chat/completions`) for a deployment; with an empty name for none in particular (`/models`), or for
    /// one that the body names (`/responses`).
    pub fn url(&self, deployment: &str, path: &str) -> String {
        let mut url = self.base.clone();
        if self.by_deployment && !deployment.is_empty() {
            url.push_str("/deployments/");
            segment(&mut url, deployment, false);
        }
        url + path + &self.query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_stand_in_the_path_with_a_version() {
        for base in ["https://r.openai.azure.com", "https://r.openai.azure.com/openai"] {
            let azure = Azure::new(base, None);
            let chat = "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
            assert_eq!(azure.url("gpt-4o", "/chat/completions"), chat);
            assert_eq!(azure.url("", "/models"), "https://r.openai.azure.com/openai/models?api-version=2024-10-21");
        }
        let azure = Azure::new("https://r.openai.azure.com", Some("2025-04-01-preview"));
        let embeddings = "https://r.openai.azure.com/openai/deployments/a%2F..%3Fx/embeddings?api-version=2025-04-01-preview";
        assert_eq!(azure.url("a/..?x", "/embeddings"), embeddings, "a name can't leave its place");
    }

    #[test]
    fn the_v1_api_is_addressed_as_openais() {
        let azure = Azure::new("https://r.openai.azure.com/openai/v1", None);
        assert_eq!(azure.url("gpt-4o", "/chat/completions"), "https://r.openai.azure.com/openai/v1/chat/completions");
        let azure = Azure::new("https://r.openai.azure.com/openai/v1", Some("preview"));
        assert_eq!(azure.url("gpt-4o", "/responses"), "https://r.openai.azure.com/openai/v1/responses?api-version=preview");
    }
}
