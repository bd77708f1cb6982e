//! The limits of keys where several gateways share them: one script in Redis decides for all of them, in one round trip for all that
//! comes at once. Where Redis is away or slow, a call goes by this gateway's own share instead, is counted so, and nothing waits for
//! Redis until it has answered again. The stored answers that they share have a connection of their own, since those are long.
//!
//! What a call takes is a lease with a time to live: should its gateway die, its permit comes back, and the money that it
//! had reserved counts as spent.

mod answers;
mod lane;
mod lease;
mod line;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, Script};
use tokio::sync::oneshot;

use self::lane::{Lane, in_time, recover};
pub(super) use self::lease::Lease;
use self::lease::{Call, Said};
use self::line::{Line, Matter};

use crate::access::{Allowance, Amounts, Grant, Now, Refusal, VirtualKey};
use crate::base::Secret;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// How often leases are renewed.
const RENEW: Duration = Duration::from_secs(20);

/// One worker's way to Redis.
pub struct Link {
    url: Secret,
    limits: Lane,
    answers: Lane,
    /// Answers on their way there.
    keeping: Cell<usize>,
    script: Script,
    /// What is to be asked, by the key's id.
    lines: RefCell<HashMap<Arc<str>, Line>>,
    /// The calls under way, by their leases' ids.
    calls: RefCell<HashMap<Rc<str>, Rc<Call>>>,
    /// The keys of which calls were let in alone since Redis is away.
    owing: RefCell<HashMap<Arc<str>, Rc<Call>>>,
    next: Cell<u64>,
    /// What this worker's leases begin with: no other worker's do.
    name: String,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// By the settings' address, on this worker's thread. None where it can't be one: the settings have checked that.
    pub(super) fn new(url: &Secret, name: String, metrics: Arc<Metrics>, clock: Clock) -> Option<Rc<Self>> {
        let client = Client::open(url.expose()).ok()?;
        let link = Self {
            url: url.clone(),
            limits: Lane::new(client.clone(), "limits")?,
            answers: Lane::new(client, "stored answers")?,
            keeping: Cell::new(0),
            script: Script::new(include_str!("shared/limits.lua")),
            lines: RefCell::default(),
            calls: RefCell::default(),
            owing: RefCell::default(),
            next: Cell::new(0),
            name,
            metrics,
            clock,
        };
        let link = Rc::new(link);
        actix_rt::spawn(renew(Rc::downgrade(&link)));
        let own = Rc::clone(&link);
        actix_rt::spawn(async move { own.prepare().await });
        Some(link)
    }

    /// Has Redis know the script: else the first question takes two round trips more.
    async fn prepare(&self) {
        // Where it can't be reached it is sent with the first question.
        let _ = self.script.prepare_invoke().load_async(&mut self.limits.connection()).await;
    }

    /// Whether it leads there.
    pub(super) fn leads_to(&self, url: &Secret) -> bool {
        self.url.expose() == url.expose()
    }

    /// Asks Redis to let a call in; where it doesn't answer, this gateway's share of the limits decides.
    ///
    /// # Errors
    /// The limit that the call came up against.
    pub(super) async fn admit(
        self: &Rc<Self>,
        key: &Arc<VirtualKey>,
        own: &Arc<Allowance>,
        ask: Amounts,
        now: Now,
    ) -> Result<(Grant, Lease), Refusal> {
        let id = format!("{}-{}", self.name, self.next.replace(self.next.get() + 1));
        let lease = Lease::new(self, Call::new(id, key, own, ask));
        if self.limits.is_away() {
            let (grant, lease) = self.alone(lease, own, ask, now)?;
            let owing = || Call::new(String::new(), key, own, Amounts::default());
            self.owing.borrow_mut().entry(Arc::clone(&key.id)).or_insert_with(owing);
            return Ok((grant, lease));
        }
        let (tell, told) = oneshot::channel();
        lease.ask(Matter::Ask(tell));
        match in_time(told).await {
            Some(Ok(Said::In { left })) => {
                self.limits.answered();
                // By what this gateway knows it may be one too many: then what it took of the shared ones goes back.
                let grant = own.follow(ask, now)?;
                Ok((grant, lease.let_in(Some(left))))
            }
            Some(Ok(Said::Refused(refusal))) => {
                self.limits.answered();
                Err(refusal)
            }
            other => {
                self.lost(|link| &link.limits, other.is_some());
                self.alone(lease, own, ask, now)
            }
        }
    }

    fn alone(&self, lease: Lease, own: &Arc<Allowance>, ask: Amounts, now: Now) -> Result<(Grant, Lease), Refusal> {
        self.metrics.shared_fallbacks.inc();
        let gateways = u64::try_from(self.metrics.shared_gateways.get()).unwrap_or(1);
        let grant = own.admit_alone(ask, gateways, now)?;
        Ok((grant, lease.let_in(None)))
    }

    /// Tells a Redis that answers again of all that was let in without it.
    fn tell_all(self: &Rc<Self>) {
        let calls: Vec<_> = self.calls.borrow().values().cloned().collect();
        calls.iter().for_each(|call| call.tell(self));
        // Whatever is asked about a key, what it has used untold goes along.
        let owing = self.owing.take();
        owing.into_values().for_each(|call| self.ask(call, Matter::Hold));
    }

    /// Redis didn't answer: where it can't be reached, or was late before, nothing waits for it until it has answered again.
    fn lost(self: &Rc<Self>, lane: fn(&Self) -> &Lane, unreachable: bool) {
        if lane(self).missed(unreachable) {
            self.metrics.shared(false);
            tracing::warn!(unreachable, of = lane(self).of, "Redis is away, so this gateway goes by what it has itself");
            actix_rt::spawn(recover(Rc::downgrade(self), lane));
        }
    }
}

/// Renews the leases of calls that take long.
async fn renew(link: Weak<Link>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let Some(link) = link.upgrade() else { return };
        let calls: Vec<_> = link.calls.borrow().values().filter(|call| call.is_known()).cloned().collect();
        if !link.limits.is_away() {
            calls.into_iter().for_each(|call| link.ask(call, Matter::Hold));
        }
    }
}
