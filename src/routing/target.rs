//! A target is a provider and the provider's own name for a model: what is picked, measured and ejected.

use std::sync::Arc;

use super::policy::{Timeouts, WhenAllOpen};
use crate::access::Limit;
use crate::base::PriceTag;
use crate::health::{Rest, Vitals};

/// A provider as routing sees it: its published vitals and its key pool, no secret.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the settings.
    pub name: Arc<str>,
    /// Its place among the providers.
    pub place: usize,
    /// Its own breaker and its calls under way.
    pub vitals: Arc<Vitals>,
    /// Its key pool; empty where none is sent.
    pub keys: Vec<KeySlot>,
    /// Calls at once; 0: no limit.
    pub max_concurrency: usize,
    /// What its targets do when nothing else is left.
    pub when_all_open: WhenAllOpen,
}

/// A credential of a pool, without the credential.
#[derive(Clone, Debug)]
pub struct KeySlot {
    /// Its name in /health and logs.
    pub name: Arc<str>,
    /// Its share among the usable ones.
    pub weight: u32,
    /// Its rest as a whole.
    pub rest: Arc<Rest>,
    /// Its own requests and tokens a minute; None: no limit of ours.
    pub limit: Option<Arc<Limit>>,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Target {
    /// Who is called.
    pub provider: Arc<Provider>,
    /// Its place among its provider's targets.
    pub place: usize,
    /// The provider's own name for the model.
    pub model: Arc<str>,
    /// Its breaker and its calls under way.
    pub vitals: Arc<Vitals>,
    /// The rest of each of the provider's keys for this model, in the pool's order; one where none is sent.
    pub key_rests: Arc<[Arc<Rest>]>,
    /// Its share under `weighted`, a divisor of load elsewhere.
    pub weight: u32,
    /// What its tokens cost; empty where that isn't known.
    pub price: Arc<PriceTag>,
    /// What it can do, where that was declared.
    pub capabilities: Option<Needs>,
    /// Tokens that a request and its answer may have together, where known.
    pub context_window: Option<u64>,
    /// Its clocks.
    pub timeouts: Timeouts,
    /// Whether it can be asked to go on with another one's answer.
    pub goes_on: bool,
}

impl Target {
    /// `provider/model`, as in the route header and messages.
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider.name, self.model)
    }
}

/// What a request needs of a target, or what a target declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tool calls: `tools` (or `functions` of old) isn't empty.
    pub tools: bool,
    /// Pictures in the prompt: a part of type `image_url`.
    pub vision: bool,
    /// Sound in the prompt: a part of type `input_audio`.
    pub audio: bool,
    /// An answer that follows a JSON schema: `response_format` of type `json_schema`.
    pub json_schema: bool,
}

impl Needs {
    /// The first need that `declared` doesn't have.
    pub fn missing_in(self, declared: Needs) -> Option<&'static str> {
        [
            (self.tools && !declared.tools, "tools"),
            (self.vision && !declared.vision, "vision"),
            (self.audio && !declared.audio, "audio"),
            (self.json_schema && !declared.json_schema, "json_schema"),
        ]
        .into_iter()
        .find_map(|(missing, name)| missing.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{provider, target};
    use super::*;

    #[test]
    fn a_target_is_named_by_its_provider_and_model() {
        assert_eq!(target(&provider("p", 0), "up").name(), "p/up");
    }

    #[test]
    fn each_need_is_missed_where_it_is_not_declared() {
        let none = Needs::default();
        let all = Needs { tools: true, vision: true, audio: true, json_schema: true };
        for (need, name) in [
            (Needs { tools: true, ..none }, "tools"),
            (Needs { vision: true, ..none }, "vision"),
            (Needs { audio: true, ..none }, "audio"),
            (Needs { json_schema: true, ..none }, "json_schema"),
        ] {
            assert_eq!((need.missing_in(none), need.missing_in(all), need.missing_in(need)), (Some(name), None, None));
            assert_eq!(none.missing_in(need), None);
        }
        assert_eq!(all.missing_in(Needs { tools: true, vision: true, ..none }), Some("audio"), "the first of them");
    }
}
