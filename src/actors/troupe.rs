//! Who sees to it that each provider has a living actor: engages them, tells them of a reload, and puts another in the place
//! of one that died. actix's own supervisor doesn't: after a panic an actor's address is closed for good.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, ArbiterHandle, AsyncContext, Context};

use super::cast::Cast;
use super::ledger::Ledger;
use super::provider::{Provider, Retune};
use super::routes::Routes;
use crate::clock::Clock;
use crate::routing;
use crate::settings;
use crate::telemetry::Metrics;

/// How often dead actors are looked for.
const LOOK: Duration = Duration::from_millis(250);

/// See the module's text. An actor whose provider left by a reload stays, since calls under way still tell it their ends.
#[derive(Debug)]
pub struct Troupe {
    cast: Arc<Cast>,
    stage: ArbiterHandle,
    clock: Clock,
    metrics: Arc<Metrics>,
    ledger: Option<Arc<Ledger>>,
    /// What each living actor was told last, by its place.
    parts: Mutex<BTreeMap<usize, Part>>,
}

#[derive(Clone, Debug)]
struct Part {
    settings: settings::Provider,
    slot: Arc<routing::Provider>,
    targets: Vec<Arc<routing::Target>>,
}

impl Troupe {
    /// Nobody yet. The actors will share the thread of `stage`.
    pub fn new(cast: Arc<Cast>, stage: ArbiterHandle, clock: Clock, metrics: Arc<Metrics>, ledger: Option<Arc<Ledger>>) -> Self {
        Self { cast, stage, clock, metrics, ledger, parts: Mutex::default() }
    }

    /// Gives each provider of a routing table its actor, or tells the one it has of its settings.
    pub fn play(&self, providers: &BTreeMap<String, settings::Provider>, routes: &Routes) {
        let mut parts = self.parts();
        // In the order of their places, which are given one after the other.
        let mut new: BTreeMap<_, _> = BTreeMap::new();
        for (slot, targets) in &routes.providers {
            let Some(settings) = providers.get(&*slot.name) else { continue };
            new.insert(slot.place, Part { settings: settings.clone(), slot: Arc::clone(slot), targets: targets.clone() });
        }
        for (place, part) in &new {
            match self.cast.at(*place).filter(|actor| actor.connected()) {
                // Whatever waits in its mailbox: what it isn't told now it would never know.
                Some(actor) => {
                    actor.do_send(Retune { settings: part.settings.clone(), slot: part.slot.clone(), targets: part.targets.clone() })
                }
                None => self.engage(*place, part),
            }
        }
        *parts = new;
    }

    /// Puts another actor in the place of each that died, which goes on where the board says that it was.
    fn mend(&self) {
        for (place, part) in self.parts().iter() {
            if self.cast.at(*place).is_some_and(|actor| actor.connected()) {
                continue;
            }
            self.engage(*place, part);
            self.metrics.provider_restarts.inc();
            tracing::error!(provider = &*part.slot.name, "a provider's actor died and was started again; its breakers go on as published");
        }
    }

    fn engage(&self, place: usize, part: &Part) {
        let (slot, metrics) = (Arc::clone(&part.slot), Arc::clone(&self.metrics));
        let actor = Provider::new(&part.settings, slot, &part.targets, self.clock, metrics, self.ledger.clone());
        let waiting = actor.waiting.clone();
        self.cast.put(place, Provider::start_in_arbiter(&self.stage, |_| actor), waiting);
    }

    fn parts(&self) -> MutexGuard<'_, BTreeMap<usize, Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The actor that looks for dead ones.
#[derive(Debug)]
pub struct Keeper(pub Arc<Troupe>);

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK, |keeper, _| {
            // Nobody keeps the keeper: what kills an actor at its start may not kill this one too.
            if catch_unwind(AssertUnwindSafe(|| keeper.0.mend())).is_err() {
                tracing::error!("a provider's actor can't be started again");
            }
        });
    }
}
