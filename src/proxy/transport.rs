//! How each provider is called, ready to be made into clients by every worker: what can fail (trust anchors, headers,
//! addresses) has failed here, before a worker or a reload relies on it.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::client::{Unusable, Upstream};
use super::connect::Names;
use super::trust::{everyone, tls, trusting};
use crate::clock::{Clock, unix_seconds};
use crate::rehearsal::{Script, Simulator};
use crate::settings::{Dialect, Provider, Settings};

/// What a test or the demo brings along to reach upstreams.
pub struct Reach {
    /// Who turns names into addresses.
    pub names: Arc<dyn Names>,
    /// How providers of the dialect `rehearsal` play.
    pub script: Script,
    /// The time.
    pub clock: Clock,
}

/// What a provider's connections depend on. While it stays the same, its connections outlive a reload.
pub(super) struct Line {
    pub(super) names: Arc<dyn Names>,
    pub(super) tls: Arc<ClientConfig>,
    /// The longest connect time that any of its targets is given.
    pub(super) connect: Duration,
    anchors: Option<Vec<u8>>,
}

impl Line {
    /// To whoever the usual trust anchors vouch for.
    pub(super) fn to_anyone(names: &Arc<dyn Names>) -> Result<Arc<Self>, Unusable> {
        let tls = trusting(everyone())?;
        Ok(Arc::new(Self { names: Arc::clone(names), tls, connect: Duration::from_secs(3), anchors: None }))
    }
}

#[cfg(test)]
impl Line {
    /// To anyone, without TLS: nobody is trusted.
    pub(super) fn plain() -> Arc<Self> {
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
        Arc::new(Self { names: Arc::new(super::connect::SystemNames), tls, connect: Duration::from_secs(3), anchors: None })
    }
}

/// See the module's text.
#[derive(Clone)]
pub struct Transport(Way);

#[derive(Clone)]
enum Way {
    Http { provider: Arc<Provider>, line: Arc<Line> },
    Simulated(Simulator),
}

impl Transport {
    /// Of all providers, in the order of their names. `before`: what a provider of that name had until now.
    ///
    /// # Errors
    /// Where a provider's settings can't be used.
    pub fn all<'a>(settings: &Settings, reach: &Reach, before: impl Fn(&str) -> Option<&'a Self>) -> Result<Vec<Self>, Unusable> {
        let longest = settings.models.values().filter_map(|model| model.timeouts.connect).max().unwrap_or_default();
        let made = settings.providers.values().map(|provider| {
            let connect = provider.timeouts.connect.max(longest);
            let transport = Self::new(provider, connect, reach, before(&provider.name))?;
            // Made once here, so that a worker's own making of it can't fail.
            transport.upstream(None)?;
            Ok(transport)
        });
        made.collect()
    }

    fn new(provider: &Provider, connect: Duration, reach: &Reach, before: Option<&Self>) -> Result<Self, Unusable> {
        let way = match (provider.dialect, before) {
            (Dialect::Rehearsal, Some(Self(Way::Simulated(simulator)))) => Way::Simulated(simulator.clone()),
            (Dialect::Rehearsal, _) => {
                Way::Simulated(Simulator::new(reach.script.clone(), reach.clock.wall().as_nanos() as u64, unix_seconds))
            }
            (Dialect::OpenAi | Dialect::Anthropic | Dialect::Gemini | Dialect::Azure, before) => {
                let anchors = anchors(provider)?;
                let line = match before {
                    Some(Self(Way::Http { line, .. })) if line.connect == connect && line.anchors == anchors => Arc::clone(line),
                    _ => {
                        let tls = tls(provider, anchors.as_deref())?;
                        Arc::new(Line { names: Arc::clone(&reach.names), tls, connect, anchors })
                    }
                };
                Way::Http { provider: Arc::new(provider.clone()), line }
            }
        };
        Ok(Self(way))
    }

    /// The provider as one worker calls it; with the connections that `before` has, where they are as good.
    ///
    /// # Errors
    /// Where the settings can't be turned into requests.
    pub(super) fn upstream(&self, before: Option<&Upstream>) -> Result<Upstream, Unusable> {
        match &self.0 {
            Way::Simulated(simulator) => Ok(Upstream::simulated(simulator.clone())),
            Way::Http { provider, line } => Upstream::http(provider, line, before),
        }
    }
}

/// What `ca_file` holds now.
fn anchors(provider: &Provider) -> Result<Option<Vec<u8>>, Unusable> {
    let Some(path) = &provider.ca_file else { return Ok(None) };
    let wrong = |error: std::io::Error| Unusable::CaFile(provider.name.clone(), path.display().to_string(), error.to_string());
    std::fs::read(path).map(Some).map_err(wrong)
}
