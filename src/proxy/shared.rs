//! The limits of keys where several gateways share them: one script in Redis decides for all of them in one round trip. Where
//! Redis is away or slow, a call goes by this gateway's own account instead, is counted so, and nothing waits for Redis until
//! it has answered again.
//!
//! What a call takes is a lease with a time to live: should its gateway die, its permit comes back, and the money that it
//! had reserved counts as spent.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script};
use tokio::sync::oneshot;

use crate::access::{Allowance, Amounts, Broke, Kind, Now, Refusal, Standing, VirtualKey};
use crate::base::Secret;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// A decision that takes longer is made here.
const PATIENCE: Duration = Duration::from_millis(50);
/// So many such in a row, and nothing waits for Redis any more.
const MISSES: u32 = 2;
/// Turns of this thread that an answer takes from the socket to whoever asked.
const TURNS: u32 = 3;
/// How often a Redis that is away is asked whether it is back.
const LOOK: Duration = Duration::from_millis(250);
/// A lease that isn't renewed ends after this.
const LEASE: Duration = Duration::from_secs(60);
/// How often leases are renewed.
const RENEW: Duration = Duration::from_secs(20);
/// What nobody waits for any more is given up by the connection after this.
const GIVE_UP: Duration = Duration::from_secs(10);

/// One worker's way to Redis.
pub(super) struct Link {
    url: Secret,
    connection: ConnectionManager,
    admit: Script,
    settle: Script,
    renew: Script,
    /// Decisions in a row that it didn't make in time.
    missed: Cell<u32>,
    /// It isn't asked until it has answered again.
    away: Cell<bool>,
    /// The leases of calls under way, each with its key's id.
    leases: RefCell<HashMap<Arc<str>, Arc<str>>>,
    next: Cell<u64>,
    /// What this worker's leases begin with: no other worker's do.
    name: String,
    metrics: Arc<Metrics>,
    clock: Clock,
}

/// What Redis decided.
pub(super) enum Decision {
    /// The call is in.
    In {
        /// What it holds.
        lease: Lease,
        /// What all gateways have spent in the window.
        spent: u64,
    },
    /// It isn't.
    Refused(Refusal),
}

/// What a call holds of the shared limits; given back when dropped.
pub(super) struct Lease {
    link: Rc<Link>,
    id: Arc<str>,
    key: Arc<VirtualKey>,
    own: Arc<Allowance>,
    taken: Amounts,
    /// None: nobody told, so what it took stands.
    used: Option<Amounts>,
    left: (u64, u64),
}

/// Redis didn't decide.
pub(super) struct Away;

impl Link {
    /// By the settings' address, on this worker's thread. None where it can't be one: the settings have checked that.
    pub(super) fn new(url: &Secret, name: String, metrics: Arc<Metrics>, clock: Clock) -> Option<Rc<Self>> {
        let client = Client::open(url.expose()).ok()?;
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(GIVE_UP))
            .set_connection_timeout(Some(Duration::from_secs(2)))
            .set_number_of_retries(1);
        let link = Self {
            url: url.clone(),
            connection: ConnectionManager::new_lazy_with_config(client, config).ok()?,
            admit: Script::new(include_str!("shared/admit.lua")),
            settle: Script::new(include_str!("shared/settle.lua")),
            renew: Script::new(include_str!("shared/renew.lua")),
            missed: Cell::new(0),
            away: Cell::new(false),
            leases: RefCell::default(),
            next: Cell::new(0),
            name,
            metrics,
            clock,
        };
        let link = Rc::new(link);
        actix_rt::spawn(renew(Rc::downgrade(&link)));
        Some(link)
    }

    /// Whether it leads there.
    pub(super) fn leads_to(&self, url: &Secret) -> bool {
        self.url.expose() == url.expose()
    }

    /// Asks Redis to let a call in.
    pub(super) async fn admit(
        self: &Rc<Self>,
        key: &Arc<VirtualKey>,
        own: &Arc<Allowance>,
        ask: Amounts,
        now: Now,
    ) -> Result<Decision, Away> {
        if self.away.get() {
            self.metrics.shared_fallbacks.inc();
            return Err(Away);
        }
        let id: Arc<str> = format!("{}-{}", self.name, self.next.replace(self.next.get() + 1)).into();
        let lease = Lease { link: Rc::clone(self), id, key: Arc::clone(key), own: Arc::clone(own), taken: ask, used: None, left: (0, 0) };
        let (tell, told) = oneshot::channel();
        // A task of its own: what Redis answers after its time, or to a caller who has left, is to be put right as well.
        actix_rt::spawn(async move { drop(tell.send(lease.asked(now).await)) });
        match in_time(told).await {
            Some(Ok(Ok(mut decision))) => {
                self.missed.set(0);
                if let Decision::In { lease, .. } = &mut decision {
                    lease.used = None;
                    self.leases.borrow_mut().insert(Arc::clone(&lease.id), Arc::clone(&key.id));
                }
                Ok(decision)
            }
            other => {
                self.lost(other.is_some());
                Err(Away)
            }
        }
    }

    /// Redis didn't decide: where it can't be reached, or was late before, nothing waits for it until it has answered again.
    fn lost(self: &Rc<Self>, unreachable: bool) {
        self.metrics.shared_fallbacks.inc();
        self.missed.set(self.missed.get() + 1);
        if (unreachable || self.missed.get() >= MISSES) && !self.away.replace(true) {
            self.metrics.shared(false);
            tracing::warn!(unreachable, "shared limits: Redis is away, so this gateway keeps the limits by its own account");
            actix_rt::spawn(recover(Rc::downgrade(self)));
        }
    }
}

impl Lease {
    /// The question and its answer. Whatever it holds then is unused until somebody says otherwise.
    async fn asked(mut self, now: Now) -> Result<Decision, Away> {
        self.used = Some(Amounts::default());
        let (link, key, ask) = (Rc::clone(&self.link), &self.key, self.taken);
        let (budget, window) = key.budget.map_or((0, 0), |budget| (budget.nanos, budget.window.number(now.wall)));
        let (known, untold) = self.own.tell(now.wall);
        let mut call = link.admit.key(hash(&key.id));
        call.key(leases(&key.id)).arg(key.rpm).arg(key.tpm).arg(key.concurrency).arg(budget).arg(window);
        call.arg(known).arg(untold).arg(ask.tokens).arg(ask.nanos).arg(&*self.id).arg(LEASE.as_micros() as u64);
        let answer = call.invoke_async::<Vec<i64>>(&mut link.connection.clone()).await;
        let Ok([code, wait, requests, tokens, spent]) = answer.as_ref().map(Vec::as_slice) else {
            self.own.untold(untold);
            return Err(Away);
        };
        let count = |number: &i64| u64::try_from(*number).unwrap_or(0);
        self.own.hear(count(spent), now.wall);
        let kind = match code {
            0 => {
                self.left = (count(requests), count(tokens));
                return Ok(Decision::In { lease: self, spent: count(spent) });
            }
            1 => Kind::Requests,
            2 => Kind::Tokens,
            3 => Kind::Concurrency,
            4 => Kind::Budget(Broke::Spent),
            _ => Kind::Budget(Broke::Reserved),
        };
        let wait = (*code != 4).then(|| Duration::from_micros(count(wait)));
        Ok(Decision::Refused(Refusal { kind, wait }))
    }

    /// What the call did use.
    pub(super) fn settle(&mut self, used: Amounts) {
        self.used = Some(used);
    }

    /// What is left of requests and of tokens a minute, as it was when the call was let in, but for what it gives back.
    pub(super) fn standing(&self) -> (Option<Standing>, Option<Standing>) {
        let back = self.used.map_or(0, |used| self.taken.tokens.saturating_sub(used.tokens));
        let of = |limit: u64, remaining: u64| {
            let remaining = remaining.min(limit);
            let missing = u128::from(limit - remaining) * 60_000_000;
            let reset = Duration::from_micros(u64::try_from(missing.checked_div(u128::from(limit))?).unwrap_or(u64::MAX));
            Some(Standing { limit, remaining, reset })
        };
        (of(self.key.rpm, self.left.0), of(self.key.tpm, self.left.1.saturating_add(back)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (link, id, key, own) = (Rc::clone(&self.link), Arc::clone(&self.id), Arc::clone(&self.key), Arc::clone(&self.own));
        let (taken, used) = (self.taken, self.used.unwrap_or(self.taken));
        link.leases.borrow_mut().remove(&id);
        // Nobody waits for it. One that Redis didn't give is none there.
        actix_rt::spawn(async move {
            let mut call = link.settle.key(hash(&key.id));
            call.key(leases(&key.id)).arg(&*id).arg(taken.tokens).arg(used.tokens).arg(used.nanos).arg(key.tpm);
            let spent: Result<u64, RedisError> = call.invoke_async(&mut link.connection.clone()).await;
            match spent {
                Ok(spent) => own.hear(spent, link.clock.wall()),
                // Told once more when Redis is back: rather too much than not at all.
                Err(_) => own.untold(used.nanos),
            }
        });
    }
}

/// What is done in time; what came meanwhile counts, since it may have been this thread that was busy.
async fn in_time<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    if let Ok(done) = tokio::time::timeout(PATIENCE, work.as_mut()).await {
        return Some(done);
    }
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
        if let Some(done) = work.as_mut().now_or_never() {
            return Some(done);
        }
    }
    None
}

/// Asks again and again, until Redis answers in time.
async fn recover(link: Weak<Link>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(link) = link.upgrade() else { return };
        let mut connection = link.connection.clone();
        let ping = async { redis::cmd("PING").query_async::<String>(&mut connection).await };
        if let Some(Ok(_)) = in_time(ping).await {
            link.missed.set(0);
            link.away.set(false);
            link.metrics.shared(true);
            tracing::info!("shared limits: Redis is back");
            return;
        }
    }
}

/// Renews the leases of calls that take long.
async fn renew(link: Weak<Link>) {
    loop {
        tokio::time::sleep(RENEW).await;
        let Some(link) = link.upgrade() else { return };
        let held: Vec<_> = link.leases.borrow().iter().map(|(lease, key)| (Arc::clone(lease), Arc::clone(key))).collect();
        for (lease, key) in held {
            let mut call = link.renew.key(hash(&key));
            call.key(leases(&key)).arg(&*lease).arg(LEASE.as_micros() as u64);
            let _: Result<i64, RedisError> = call.invoke_async(&mut link.connection.clone()).await;
        }
    }
}

/// Both keys of one are on the same node of a cluster.
fn hash(key: &str) -> String {
    format!("stagedoor:{{{key}}}:limits")
}

fn leases(key: &str) -> String {
    format!("stagedoor:{{{key}}}:leases")
}
