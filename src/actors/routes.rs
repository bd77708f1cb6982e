//! The routing table made from the settings: public names to chains, targets bound to their vitals on the board.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::board::Board;
use crate::base::{PriceTag, Tariff};
use crate::routing::{Chain, KeySlot, Needs, Pool, Provider, Target, Timeouts};
use crate::settings::{Model, Settings, is_model_name};

/// One public model.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its chain.
    pub chain: Arc<Chain>,
    /// Its own context window, for /v1/models.
    pub context_window: Option<u64>,
    /// Its own targets, for /v1/models.
    pub targets: Vec<TargetInfo>,
    /// The most that all attempts of a request may take.
    pub total: Duration,
}

impl Route {
    /// The tariff of its first own target that has one.
    pub fn tariff(&self) -> Option<Arc<Tariff>> {
        let own = self.chain.pools.iter().filter(|pool| pool.model == self.chain.model);
        own.flat_map(|pool| &pool.targets).find_map(|target| target.price.tariff())
    }
}

/// A target as /v1/models shows it.
#[derive(Clone, Debug)]
pub struct TargetInfo {
    /// The provider's name.
    pub provider: String,
    /// The provider's own name for the model.
    pub model: String,
}

/// A public name found in the table.
#[derive(Clone, Debug)]
pub struct Found {
    /// The row.
    pub route: Arc<Route>,
    /// What a wildcard row's `*` stands for in this request.
    pub wildcard: Option<Arc<str>>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Routes {
    /// The providers, each with its targets, which models may share. Their places are the board's.
    pub providers: Vec<(Arc<Provider>, Vec<Arc<Target>>)>,
    exact: BTreeMap<String, Arc<Route>>,
    /// Wildcard rows by what stands before and after their `*`, longest first.
    wildcards: Vec<(String, String, Arc<Route>)>,
    /// Those whose price is the table's.
    by_table: Vec<Arc<Target>>,
    /// Public names none of whose chain has a provider, with the variables that would give them one.
    unserved: BTreeMap<String, Vec<String>>,
}

impl Routes {
    /// Binds the settings to the board, with the prices of that time of day.
    pub fn new(settings: &Settings, board: &Board, wall: Duration) -> Self {
        let mut binder = Binder::new(settings, board, wall);
        let pools: HashMap<&str, Pool> = settings.models.iter().map(|(name, model)| (name.as_str(), binder.pool(model))).collect();
        let (mut exact, mut wildcards, mut unserved) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        for (name, model) in &settings.models {
            let route = Arc::new(route(settings, board, model, &pools));
            if !route.chain.is_served() {
                unserved.insert(name.clone(), missing_variables(settings, model));
            } else if let Some((before, after)) = name.split_once('*') {
                wildcards.push((before.to_owned(), after.to_owned(), route));
            } else {
                exact.insert(name.clone(), route);
            }
        }
        wildcards.sort_by_key(|(before, after, _)| std::cmp::Reverse(before.len() + after.len()));
        Self { providers: binder.providers, exact, wildcards, by_table: binder.by_table, unserved }
    }

    /// Puts the prices of a time of day in force: some vendors' change with it.
    pub fn reprice(&self, settings: &Settings, wall: Duration) {
        for target in &self.by_table {
            if let Some(provider) = settings.providers.get(&*target.provider.name) {
                target.price.put(settings.prices.tariff(provider, &target.model, wall));
            }
        }
    }

    /// The row that serves a public name.
    pub fn find(&self, name: &str) -> Option<Found> {
        if let Some(route) = self.exact.get(name) {
            return Some(Found { route: Arc::clone(route), wildcard: None });
        }
        self.wildcards.iter().find_map(|(before, after, route)| {
            let inner = name.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
            may_stand_in(inner).then(|| Found { route: Arc::clone(route), wildcard: Some(inner.into()) })
        })
    }

    /// The same for one worker's thread alone: counting references to it touches no memory that other threads write. What
    /// is published stays shared.
    pub fn own(&self) -> Self {
        let mut copies = Copies::default();
        let providers = self
            .providers
            .iter()
            .map(|(provider, targets)| (copies.provider(provider), targets.iter().map(|target| copies.target(target)).collect()));
        let providers = providers.collect();
        let exact = self.exact.iter().map(|(name, route)| (name.clone(), copies.route(route)));
        let exact = exact.collect();
        let wildcards = self.wildcards.iter().map(|(before, after, route)| (before.clone(), after.clone(), copies.route(route)));
        let (wildcards, unserved) = (wildcards.collect(), self.unserved.clone());
        // Prices are put anew in the table that this is a copy of: the tags are shared.
        Self { providers, exact, wildcards, by_table: Vec::new(), unserved }
    }

    /// The public names that can be served, in order.
    pub fn served(&self) -> impl Iterator<Item = (&str, &Arc<Route>)> {
        let wild = self.wildcards.iter().map(|(.., route)| (&*route.chain.model, route));
        self.exact.iter().map(|(name, route)| (name.as_str(), route)).chain(wild)
    }

    /// What would have to be set for a known model that nobody can serve.
    pub fn unserved(&self, name: &str) -> Option<&[String]> {
        self.unserved.get(name).map(Vec::as_slice)
    }
}

/// What was copied already, by the original's address: models that share a target share its copy.
#[derive(Default)]
struct Copies {
    providers: HashMap<*const Provider, Arc<Provider>>,
    targets: HashMap<*const Target, Arc<Target>>,
}

impl Copies {
    fn provider(&mut self, provider: &Arc<Provider>) -> Arc<Provider> {
        let copy = self.providers.entry(Arc::as_ptr(provider));
        let fresh = || {
            let keys = provider.keys.iter().map(|key| KeySlot { name: (&*key.name).into(), ..key.clone() });
            Arc::new(Provider { name: (&*provider.name).into(), keys: keys.collect(), ..Provider::clone(provider) })
        };
        Arc::clone(copy.or_insert_with(fresh))
    }

    fn target(&mut self, target: &Arc<Target>) -> Arc<Target> {
        if let Some(copy) = self.targets.get(&Arc::as_ptr(target)) {
            return Arc::clone(copy);
        }
        let (provider, model) = (self.provider(&target.provider), (&*target.model).into());
        let copy = Arc::new(Target { provider, model, ..Target::clone(target) });
        self.targets.insert(Arc::as_ptr(target), Arc::clone(&copy));
        copy
    }

    fn route(&mut self, route: &Route) -> Arc<Route> {
        let pools = route.chain.pools.iter().map(|pool| Pool {
            model: (&*pool.model).into(),
            strategy: pool.strategy,
            targets: pool.targets.iter().map(|target| self.target(target)).collect(),
        });
        let chain = Chain { pools: pools.collect(), model: (&*route.chain.model).into(), ..Chain::clone(&route.chain) };
        Arc::new(Route { chain: Arc::new(chain), ..route.clone() })
    }
}

/// Whether a caller's word may take a wildcard's place: it is sent as a model's name, to some upstreams within the path, where
/// dots would climb.
fn may_stand_in(inner: &str) -> bool {
    is_model_name(inner) && !inner.split('/').any(|part| matches!(part, "" | "." | ".."))
}

fn route(settings: &Settings, board: &Board, model: &Model, pools: &HashMap<&str, Pool>) -> Route {
    let names = std::iter::once(model.name.as_str()).chain(model.failover.iter().map(String::as_str));
    let pools = names.filter_map(|name| pools.get(name)).filter(|pool| !pool.targets.is_empty()).cloned().collect();
    let left_out = std::iter::once(model).chain(model.failover.iter().filter_map(|name| settings.models.get(name)));
    let left_out = left_out.flat_map(|m| &m.targets).filter(|t| settings.left_out.contains_key(&t.provider));
    let chain = Chain {
        model: model.name.as_str().into(),
        pools,
        retry: model.retry.clone(),
        streaming: model.streaming.clone(),
        caching: model.caching.clone(),
        budgets: board.budgets((!model.retry.shares_budget(&settings.retry)).then_some(&*model.name)),
        left_out: left_out.map(|t| format!("{}/{}", t.provider, t.model)).collect(),
    };
    let targets = model.targets.iter().filter(|t| settings.providers.contains_key(&t.provider));
    // What the model itself is given holds for its whole chain; else no target is cut short by another's limit.
    let longest = || chain.targets().map(|(.., target)| target.timeouts.total).max().unwrap_or_default();
    let total = model.timeouts.total.unwrap_or_else(longest);
    let targets = targets.map(|t| TargetInfo { provider: t.provider.clone(), model: t.model.clone() });
    Route { chain: Arc::new(chain), context_window: model.context_window, targets: targets.collect(), total }
}

fn missing_variables(settings: &Settings, model: &Model) -> Vec<String> {
    let chain = std::iter::once(model).chain(model.failover.iter().filter_map(|name| settings.models.get(name)));
    let mut names: Vec<String> =
        chain.flat_map(|m| &m.targets).filter_map(|t| settings.left_out.get(&t.provider)).flatten().cloned().collect();
    names.sort();
    names.dedup();
    names
}

struct Binder<'a> {
    settings: &'a Settings,
    board: &'a Board,
    wall: Duration,
    providers: Vec<(Arc<Provider>, Vec<Arc<Target>>)>,
    by_table: Vec<Arc<Target>>,
}

impl<'a> Binder<'a> {
    fn new(settings: &'a Settings, board: &'a Board, wall: Duration) -> Self {
        let providers = settings.providers.values().map(|provider| {
            let slot = |key: &crate::settings::ProviderKey| KeySlot {
                name: key.name.as_str().into(),
                weight: key.weight,
                rest: board.key(&provider.name, &key.name),
                limit: board.limit(&provider.name, &key.name, key.rpm, key.tpm),
            };
            let posted = board.provider(&provider.name);
            let bound = Arc::new(Provider {
                name: provider.name.as_str().into(),
                place: posted.place,
                vitals: posted.vitals,
                keys: provider.keys.iter().map(slot).collect(),
                max_concurrency: provider.max_concurrency,
                when_all_open: provider.when_all_open,
            });
            (bound, Vec::new())
        });
        Self { settings, board, wall, providers: providers.collect(), by_table: Vec::new() }
    }

    fn pool(&mut self, model: &Model) -> Pool {
        let targets = model.targets.iter().filter_map(|target| self.target(model, target)).collect();
        Pool { model: model.name.as_str().into(), strategy: model.strategy, targets }
    }

    /// None where the provider was left out.
    fn target(&mut self, model: &Model, written: &crate::settings::Target) -> Option<Arc<Target>> {
        let (provider, known) = self.providers.iter_mut().find(|(provider, _)| *provider.name == written.provider)?;
        let settings = &self.settings.providers[&written.provider];
        let posted = self.board.target(&written.provider, &written.model, provider.keys.iter().map(|key| &*key.name));
        let by_table = || self.settings.prices.tariff(settings, &written.model, self.wall);
        let price = written.price.map(Tariff::flat).or_else(by_table);
        let target = Arc::new(Target {
            provider: Arc::clone(provider),
            place: posted.place,
            model: written.model.as_str().into(),
            vitals: posted.vitals,
            key_rests: posted.key_rests,
            weight: written.weight,
            price: Arc::new(PriceTag::new(price)),
            capabilities: written.capabilities.as_deref().map(declared),
            context_window: model.context_window,
            timeouts: overridden(&settings.timeouts, model),
            goes_on: settings.continuations.of(&written.model).0.is_some(),
        });
        if written.price.is_none() && written.model != "*" {
            self.by_table.push(Arc::clone(&target));
        }
        // Models that share a target share its breaker, and so its place.
        if known.iter().all(|other| other.place != target.place) {
            known.push(Arc::clone(&target));
        }
        Some(target)
    }
}

fn declared(capabilities: &[String]) -> Needs {
    let has = |name: &str| capabilities.iter().any(|c| c == name);
    Needs { tools: has("tools"), vision: has("vision"), audio: has("audio"), json_schema: has("json_schema") }
}

fn overridden(timeouts: &Timeouts, model: &Model) -> Timeouts {
    let over = &model.timeouts;
    Timeouts {
        connect: over.connect.unwrap_or(timeouts.connect),
        first_byte: over.first_byte.unwrap_or(timeouts.first_byte),
        first_token: over.first_token.unwrap_or(timeouts.first_token),
        idle: over.idle.unwrap_or(timeouts.idle),
        total: over.total.unwrap_or(timeouts.total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Source, load};

    fn table() -> Routes {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"
            [providers.p]
            dialect = "openai"
            base_url = "http://127.0.0.1:9/v1"
            keys = [{ value = "sk-test-of-the-routing-table" }]
            [models.a]
            targets = [{ provider = "p", model = "m" }]
            failover = ["b"]
            [models.b]
            targets = [{ provider = "p", model = "n" }]
            [models."p/*"]
            targets = [{ provider = "p", model = "*" }]
        "#;
        std::fs::write(folder.path().join("alone.toml"), text).unwrap();
        let source = Source { folder: folder.path().to_owned(), settings_file: Some("alone.toml".into()), ..Source::default() };
        Routes::new(&load(&source).unwrap(), &Board::default(), Duration::ZERO)
    }

    fn target(routes: &Routes, model: &str, number: usize) -> Arc<Target> {
        let found = routes.find(model).unwrap();
        Arc::clone(found.route.chain.targets().nth(number).unwrap().2)
    }

    #[test]
    fn a_wildcard_stands_for_names_of_models_alone() {
        let all = table();
        for name in ["x", "acme/x-1", "x:8b", "x@2030", "é", "x..y", ".x"] {
            assert!(all.find(&format!("p/{name}")).is_some(), "{name}");
        }
        let long = "x".repeat(257);
        for name in ["", ".", "..", "../x", "x/../y", "x//y", "/x", "x/", " x", "x y", "x\ny", "x\0", "\u{202e}x", "x\u{200b}", &long] {
            assert!(all.find(&format!("p/{name}")).is_none(), "{name:?}");
        }
    }

    #[test]
    fn a_workers_own_table_shares_what_is_published_and_nothing_that_is_counted() {
        let all = table();
        let own = all.own();
        for (model, number) in [("a", 0), ("a", 1), ("b", 0), ("p/x", 0)] {
            let (one, other) = (target(&all, model, number), target(&own, model, number));
            assert!(!Arc::ptr_eq(&one, &other) && !Arc::ptr_eq(&one.provider, &other.provider), "{model}");
            assert!(!Arc::ptr_eq(&one.model, &other.model) && one.model == other.model, "{model}");
            assert!(Arc::ptr_eq(&one.price, &other.price));
            assert!(Arc::ptr_eq(&one.vitals, &other.vitals) && Arc::ptr_eq(&one.provider.vitals, &other.provider.vitals), "{model}");
            assert!(Arc::ptr_eq(&one.provider.keys[0].rest, &other.provider.keys[0].rest), "{model}");
        }
        assert!(Arc::ptr_eq(&target(&own, "a", 1), &target(&own, "b", 0)), "models that share a target share its copy");
        assert!(own.find("c").is_none() && own.served().count() == 3);
    }
}
