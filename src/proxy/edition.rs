//! What the settings in force say, ready for requests: one immutable whole, swapped by one pointer at a reload. A request
//! keeps the edition it began with, so it never sees half of one and half of another.

use std::sync::Arc;
use std::time::Duration;

use actix::ArbiterHandle;
use arc_swap::ArcSwap;

use super::cache::Shelves;
use super::client::Unusable;
use super::export;
use super::recovery::Refusals;
use super::transport::{Line, Reach, Transport};
use super::wild_prices::WildPrices;
use crate::access::{Digest, KeyRing};
use crate::actors::{Board, News, Routes, Troupe, put_on_record};
use crate::settings::{AuthMode, Settings};
use crate::telemetry::otlp::Tracer;
use crate::telemetry::{Metrics, TargetMetrics};

/// Whether callers need a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// They do.
    Never,
    /// They do as soon as the store holds one.
    WithoutKeys,
    /// They don't.
    Always,
}

/// See the module's text.
pub struct Edition {
    /// The settings.
    pub settings: Settings,
    /// The routing table.
    pub routes: Arc<Routes>,
    /// The callers' keys.
    pub keys: KeyRing,
    /// How callers are let in, as far as the settings know: the store may hold keys.
    pub open: Open,
    /// Each target's metrics, by its provider's place and its own; those of earlier editions too.
    pub target_metrics: Vec<Vec<Arc<TargetMetrics>>>,
    /// The stored answers.
    pub answers: Shelves,
    /// Who takes traces; None: nobody.
    pub tracer: Option<Arc<Tracer>>,
    /// What models cost that only their requests name.
    pub(super) wild_prices: WildPrices,
    /// What its targets have been seen to refuse.
    pub(super) refusals: Refusals,
    /// By the provider's place; None where it isn't in this edition.
    pub(super) transports: Vec<Option<Transport>>,
}

impl Edition {
    /// Binds settings, and the transports of their providers in the order of their names, to the board; gives what is new
    /// its series.
    fn new(
        settings: Settings,
        transports: Vec<Transport>,
        board: &Board,
        wall: Duration,
        metrics: &Metrics,
        before: Option<&Self>,
    ) -> Self {
        let routes = Arc::new(Routes::new(&settings, board, wall));
        let names = board.names();
        let targets = names.iter().flat_map(|(provider, models)| models.iter().map(|model| (provider.clone(), model.clone())));
        metrics.add(settings.models.keys().cloned(), targets);
        let handles = |(provider, models): &(String, Vec<String>)| models.iter().filter_map(|m| metrics.target(provider, m)).collect();
        let mut placed = vec![None; names.len()];
        for ((provider, _), transport) in routes.providers.iter().zip(transports) {
            placed[provider.place] = Some(transport);
        }
        let mut keys = KeyRing::default();
        for caller in &settings.auth.keys {
            keys.add(Digest::of(caller.secret.expose().as_bytes()), Arc::clone(&caller.key), None);
        }
        let open = match settings.auth.mode {
            AuthMode::Open => Open::Always,
            AuthMode::Auto if keys.is_empty() => Open::WithoutKeys,
            AuthMode::Auto | AuthMode::Keys => Open::Never,
        };
        Self {
            answers: Shelves::new(&settings, before.map(|before| &before.answers)),
            settings,
            routes,
            keys,
            open,
            target_metrics: names.iter().map(handles).collect(),
            tracer: None,
            wild_prices: WildPrices::default(),
            refusals: Refusals::default(),
            transports: placed,
        }
    }

    /// Puts the prices of a time of day in force.
    pub fn reprice(&self, wall: Duration) {
        self.routes.reprice(&self.settings, wall);
        self.wild_prices.forget();
    }

    /// How a provider of this edition is called.
    fn transport(&self, name: &str) -> Option<&Transport> {
        let (provider, _) = self.routes.providers.iter().find(|(provider, _)| &*provider.name == name)?;
        self.transports.get(provider.place)?.as_ref()
    }
}

/// Where editions are made: holds what outlives them.
pub struct Press {
    /// How upstreams are reached.
    pub reach: Reach,
    /// What is published of providers and targets.
    pub board: Board,
    /// The routing table that the gauges read.
    pub table: Arc<ArcSwap<Routes>>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The provider actors.
    pub troupe: Arc<Troupe>,
    /// What hears from other gateways.
    pub news: News,
    /// On whose thread traces are sent.
    pub clerk: ArbiterHandle,
    /// What tells this gateway from others.
    pub instance: String,
}

impl Press {
    /// Makes an edition, and has the provider actors and the gauges know it. `before`: the one in force.
    ///
    /// # Errors
    /// Where a provider's settings can't be used: nothing has happened then.
    pub fn edition(&self, settings: Settings, before: Option<&Edition>) -> Result<Edition, Unusable> {
        let transports = Transport::all(&settings, &self.reach, |name| before?.transport(name))?;
        let tracer = self.tracer(settings.telemetry.otlp.as_deref(), before)?;
        let mut edition = Edition::new(settings, transports, &self.board, self.reach.clock.wall(), &self.metrics, before);
        edition.tracer = tracer;
        put_on_record(&edition.routes);
        self.troupe.play(&edition.settings.providers, &edition.routes);
        self.table.store(Arc::clone(&edition.routes));
        self.news.follow(&edition.settings);
        Ok(edition)
    }

    /// Who takes traces for this address: the same as before, while it is the same.
    fn tracer(&self, url: Option<&str>, before: Option<&Edition>) -> Result<Option<Arc<Tracer>>, Unusable> {
        let Some(url) = url else { return Ok(None) };
        if let Some(tracer) = before.and_then(|before| before.tracer.as_ref()).filter(|tracer| tracer.url == url) {
            return Ok(Some(Arc::clone(tracer)));
        }
        if let Some(before) = before.and_then(|before| before.tracer.as_ref()) {
            before.hurry();
        }
        let line = Line::to_anyone(&self.reach.names)?;
        Ok(Some(export::start(url, &self.metrics, line, self.instance.clone(), &self.clerk)))
    }
}
