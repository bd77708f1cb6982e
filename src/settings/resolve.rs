//! The merged tree as settings that are valid as a whole: every section read, every reference followed, every override
//! merged in, and the rehearsal provider put in where nothing else can serve.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::Value;

use super::access;
use super::cache;
use super::diff::Written;
use super::door;
use super::health::{self, Breaker};
use super::load::{Bound, Stored};
use super::model::{self, Around};
use super::path::Path;
use super::provider::{self, Above, REHEARSAL};
use super::raw::{Report, Section};
use super::secrets::Vault;
use super::shared;
use super::store;
use super::stream;
use super::types::{Caching, Model, NoteKind, Retry, Settings, Streaming, Target};

/// Reads everything. What is wrong is in `report` then, and the settings hold the defaults in its place. `bound`: what is
/// bound already.
pub(super) fn resolve(merged: &Value, report: &Report, vault: &Vault<'_>, (bound, stored): (Option<&Bound>, Option<&Stored>)) -> Settings {
    let mut root = Section::new(report, Path::default(), Some(merged));
    let server = door::server(root.section("server"), vault);
    let telemetry = door::telemetry(root.section("telemetry"), vault);
    // A reload doesn't move the socket: whoever reaches it now still does.
    let bound_host = bound.map(|bound| bound.serving.as_str()).filter(|host| !door::is_loopback(host));
    let exposed = bound_host.unwrap_or(&server.host).to_owned();
    let admin = access::admin(root.section("admin"), vault, (&exposed, server.port), bound.map(|bound| bound.admin.as_str()));
    if telemetry.metrics_need_admin && admin.key.is_none() {
        let message = "\"admin\" wants the admin key, and admin.key isn't there, so nobody can read /metrics; set it";
        report.note(NoteKind::Warning, &Path::default().key("telemetry").key("metrics"), message);
    }
    let above = Above {
        breaker: Breaker::read(root.section("breaker"), &Breaker::built_in()),
        timeouts: health::timeouts(root.section("timeouts"), &health::built_in_timeouts()),
    };
    let retry = health::retry(root.section("retry"), &Retry::default());
    let streaming = stream::read(root.section("stream"), &Streaming::default());
    let caching = cache::read(root.section("cache"), &Caching::default());
    let store = store::read(root.section("store"), vault.folder);
    let shared = shared::shared(root.section("shared"));

    let mut providers = provider::providers(&mut root, vault, &above);
    let mut models = models(&mut root, &providers.names, (&retry, &streaming, &caching));
    if cache::is_idle(&caching, &Caching::default()) && models.values().all(|model| !model.caching.exact) {
        root.warn("cache", cache::IDLE);
    }
    let model_names: Vec<String> = models.keys().cloned().collect();
    let auth = access::auth(root.section("auth"), vault, (&exposed, &|| stored.is_some_and(|stored| stored(&store.keep))), &model_names);

    let rehearsing = providers.usable.is_empty() && !providers.left_out.is_empty();
    if rehearsing {
        providers.usable.insert(REHEARSAL.to_owned(), provider::rehearsal(&above));
        models.values_mut().for_each(rehearse);
    }
    Settings {
        server,
        auth,
        admin,
        telemetry,
        shared,
        store,
        retry,
        caching,
        providers: providers.usable,
        models,
        left_out: providers.left_out,
        rehearsing,
        notes: Vec::new(),
        prices: Arc::default(),
        written: Written::default(),
    }
}

fn models(
    root: &mut Section<'_>,
    providers: &[String],
    (retry, streaming, caching): (&Retry, &Streaming, &Caching),
) -> BTreeMap<String, Model> {
    let sections = root.named("models");
    let models: Vec<String> = sections.iter().map(|(name, _)| name.clone()).collect();
    if models.is_empty() {
        root.warn("models", "there is no model, so every request is answered with 404; add [models.\"NAME\"]");
    }
    let around = Around { providers, models: &models, retry, streaming, caching };
    sections.into_iter().map(|(name, section)| (name.clone(), model::model(&name, section, &around))).collect()
}

/// Puts the simulated upstream in front of the model's own targets, which stay so that /v1/route can say why they are out.
fn rehearse(model: &mut Model) {
    let upstream = if model.name.ends_with('*') { "*".to_owned() } else { model.name.clone() };
    let target = Target { provider: REHEARSAL.to_owned(), model: upstream, weight: 1, price: None, capabilities: None };
    model.targets.insert(0, target);
}
