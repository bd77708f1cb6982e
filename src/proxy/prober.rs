//! Active probes: while a provider that wants them is open, `GET {base_url}/models` finds out whether it answers again. A
//! good answer only lets real calls find out about the rest, earlier than the open period would.
//!
//! One of the HTTP workers does it beside its requests, since calls are made on their threads, by the clients that they have
//! for the edition in force; its settings are read at each look, so that a reload is followed without being told of it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::client::{Call, MODELS};
use super::worker::{Desk, Gateway, Worker};
use crate::actors::ProbedWell;
use crate::base::Moment;
use crate::health::Admission;
use crate::routing::Provider;

/// How often is looked who is open.
const LOOK: Duration = Duration::from_millis(100);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes this worker the one that probes, where none does: until its thread ends.
pub fn probe(desk: &Rc<Desk>) {
    let gateway = Arc::clone(&desk.worker().gateway);
    if gateway.probing.swap(true, Ordering::Relaxed) {
        return;
    }
    let desk = Rc::clone(desk);
    actix_rt::spawn(async move {
        let _role = Role(gateway);
        // When each open provider is due, by its place: a whole interval after it was first seen open.
        let mut due: BTreeMap<usize, Moment> = BTreeMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            look(&desk.worker(), &mut due);
        }
    });
}

/// Given back when the task ends with its thread: a worker that takes its place takes the role, too.
struct Role(Arc<Gateway>);

impl Drop for Role {
    fn drop(&mut self) {
        self.0.probing.store(false, Ordering::Relaxed);
    }
}

fn look(worker: &Rc<Worker>, due: &mut BTreeMap<usize, Moment>) {
    let now = worker.gateway.clock.now();
    for (provider, targets) in &worker.edition.routes.providers {
        let every = worker.edition.settings.providers.get(&*provider.name).and_then(|settings| settings.probe_every);
        let open = |admission: Admission| matches!(admission, Admission::Refuse(_));
        let any_open = open(provider.vitals.admit(now)) || targets.iter().any(|target| open(target.vitals.admit(now)));
        let Some(every) = every.filter(|_| any_open) else {
            due.remove(&provider.place);
            continue;
        };
        let at = due.entry(provider.place).or_insert_with(|| now.plus(every));
        if now >= *at {
            *at = now.plus(every);
            actix_rt::spawn(ask(Rc::clone(worker), Arc::clone(provider), every));
        }
    }
}

/// Asks once, and tells the provider's actor of a good answer.
async fn ask(worker: Rc<Worker>, provider: Arc<Provider>, every: Duration) {
    let Some(upstream) = worker.upstream(provider.place) else { return };
    let now = worker.gateway.clock.now();
    // A key that was refused isn't sent, and one that rests is left in peace.
    let key = provider.keys.iter().position(|key| key.rest.until(now).is_none());
    if key.is_none() && !provider.keys.is_empty() {
        return;
    }
    let limit = PATIENCE.min(every);
    let call = Call { path: MODELS, model: "", base: None, body: Bytes::new(), form: None, key, headers: &[], connect: limit };
    let good = match tokio::time::timeout(limit, upstream.call(&call)).await {
        Ok((Ok(response), _)) => (200..300).contains(&response.status),
        Ok((Err(_), _)) | Err(_) => false,
    };
    worker.gateway.metrics.probe(&provider.name, good);
    tracing::debug!(provider = &*provider.name, good, "active probe");
    if good && !worker.gateway.cast.tell(provider.place, ProbedWell) {
        worker.gateway.metrics.dropped_reports.inc();
    }
}
