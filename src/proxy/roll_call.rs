//! `stagedoor check --live`: whether each provider answers, and takes each of its keys. One GET of the list of models per
//! key, which costs no tokens; what the list says is not looked at, since vendors leave out models that they serve.

use std::time::Duration;

use bytes::Bytes;

use super::client::{Call, MODELS, Unusable};
use super::transport::Transport;
use crate::health::Failure;
use crate::settings::{Dialect, Provider, Settings};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// How one key fared, or a provider that takes none.
#[derive(Debug)]
pub struct Present {
    /// The provider.
    pub provider: String,
    /// The key's name; None where none is sent.
    pub key: Option<String>,
    /// The answer's status, or why there was none.
    pub told: Result<u16, Absent>,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The call failed.
    Failed(Failure),
    /// It took too long.
    Late,
}

impl Present {
    /// Whether the key works.
    pub fn is_well(&self) -> bool {
        matches!(self.told, Ok(200..300))
    }

    /// Whether the key was refused, or the provider not reached; else the list of models may just not be there.
    pub fn is_finding(&self) -> bool {
        !matches!(self.told, Ok(200..300 | 404 | 405 | 429))
    }
}

/// Asks all of them at once, in the order of their names. The simulated upstream is left out.
///
/// # Errors
/// Where a provider's settings can't be turned into requests.
pub async fn roll_call(settings: &Settings, transports: &[Transport]) -> Result<Vec<Present>, Unusable> {
    let mut calls = Vec::new();
    for (provider, transport) in settings.providers.values().zip(transports) {
        if provider.dialect != Dialect::Rehearsal {
            let keys = if provider.keys.is_empty() { vec![None] } else { (0..provider.keys.len()).map(Some).collect() };
            for key in keys {
                calls.push(ask(provider, transport, key));
            }
        }
    }
    futures_util::future::join_all(calls).await.into_iter().collect()
}

async fn ask(provider: &Provider, transport: &Transport, key: Option<usize>) -> Result<Present, Unusable> {
    let upstream = transport.upstream(None)?;
    let connect = provider.timeouts.connect;
    let call = Call { path: MODELS, model: "", base: None, body: Bytes::new(), form: None, key, headers: &[], connect };
    let told = match tokio::time::timeout(PATIENCE, upstream.call(&call)).await {
        Ok((Ok(response), _)) => Ok(response.status),
        Ok((Err(failure), _)) => Err(Absent::Failed(failure)),
        Err(_) => Err(Absent::Late),
    };
    let key = key.map(|place| provider.keys[place].name.clone());
    Ok(Present { provider: provider.name.clone(), key, told })
}
