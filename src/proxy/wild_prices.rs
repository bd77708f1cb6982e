//! What models cost that stand in no settings, since a wildcard row serves whatever its callers name: looked up in the price
//! table when first asked for, and kept, in a bounded number, until prices may have changed.

use std::sync::Arc;

use dashmap::DashMap;

use crate::base::Tariff;
use crate::clock::Clock;
use crate::routing::Target;
use crate::settings::Settings;

/// Names are the callers' own: no more are kept than this.
const MOST: usize = 1_024;

/// By the provider's place and the model's name.
#[derive(Debug, Default)]
pub(super) struct WildPrices(DashMap<(usize, String), Option<Arc<Tariff>>>);

impl WildPrices {
    /// What `model` costs at a wildcard's target: as its row says, else as the table does.
    pub(super) fn tariff(&self, settings: &Settings, target: &Target, model: &str, clock: Clock) -> Option<Arc<Tariff>> {
        if let Some(written) = target.price.tariff() {
            return Some(written);
        }
        let key = (target.provider.place, model.to_owned());
        if let Some(known) = self.0.get(&key) {
            return known.clone();
        }
        let provider = settings.providers.get(&*target.provider.name)?;
        let tariff = settings.prices.tariff(provider, model, clock.wall()).map(Arc::new);
        if self.0.len() < MOST {
            self.0.insert(key, tariff.clone());
        }
        tariff
    }

    /// Prices may have changed.
    pub(super) fn forget(&self) {
        self.0.clear();
    }
}
