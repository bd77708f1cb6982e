//! What a provider's actor is told by its operator: other settings at a reload, and orders for a breaker.

use std::sync::Arc;

use actix::{Handler, Message, MessageResult};

use super::{Description, Provider, roster};
use crate::health::Force;
use crate::routing;
use crate::settings;

/// Other settings are in force.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Retune {
    /// Its own.
    pub settings: settings::Provider,
    /// Its place in the routing table.
    pub slot: Arc<routing::Provider>,
    /// Its targets.
    pub targets: Vec<Arc<routing::Target>>,
}

impl Handler<Retune> for Provider {
    type Result = ();

    fn handle(&mut self, Retune { settings, slot, targets }: Retune, _: &mut Self::Context) {
        let now = self.clock.now();
        self.health.retune(&settings.breaker, settings.key_quarantine, roster(&slot, &targets), now);
        self.chronicle.retuned(Arc::clone(&slot), &self.health, now);
        self.slot = slot;
    }
}

/// An operator's order for the provider, or for one of its models. The answer is what /health shows then; None: it has no
/// such model.
#[derive(Debug, Message)]
#[rtype(result = "Option<Description>")]
pub struct Order {
    /// What is to be done.
    pub force: Force,
    /// The provider's own name for the model; None: the provider.
    pub model: Option<String>,
}

impl Handler<Order> for Provider {
    type Result = MessageResult<Order>;

    fn handle(&mut self, Order { force, model }: Order, _: &mut Self::Context) -> Self::Result {
        let now = self.clock.now();
        self.tick(now);
        let Some(moved) = self.health.force(force, model.as_deref(), now) else { return MessageResult(None) };
        self.chronicle.ordered((force, model.as_deref()), &moved, &self.health, now);
        self.count(&moved);
        MessageResult(Some(self.describe()))
    }
}
