//! The limits of keys where several gateways share them: one script in Redis decides for all of them in one round trip. Where
//! Redis is away or slow, a call goes by this gateway's own account instead, is counted so, and nothing waits for Redis until
//! it has answered again. The stored answers that they share have a connection of their own, since those are long.
//!
//! What a call takes is a lease with a time to live: should its gateway die, its permit comes back, and the money that it
//! had reserved counts as spent.

mod answers;
mod lane;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use redis::{Client, RedisError, Script};
use tokio::sync::oneshot;

use self::lane::{Lane, in_time, recover};

use crate::access::{Allowance, Amounts, Broke, Kind, Now, Refusal, Standing, VirtualKey};
use crate::base::Secret;
use crate::clock::Clock;
use crate::telemetry::Metrics;

/// A lease that isn't renewed ends after this.
const LEASE: Duration = Duration::from_secs(60);
/// How often leases are renewed.
const RENEW: Duration = Duration::from_secs(20);

/// One worker's way to Redis.
pub struct Link {
    url: Secret,
    limits: Lane,
    answers: Lane,
    /// Answers on their way there.
    keeping: Cell<usize>,
    admit: Script,
    settle: Script,
    renew: Script,
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

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Link")
    }
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
        let link = Self {
            url: url.clone(),
            limits: Lane::new(client.clone(), "limits")?,
            answers: Lane::new(client, "stored answers")?,
            keeping: Cell::new(0),
            admit: Script::new(include_str!("shared/admit.lua")),
            settle: Script::new(include_str!("shared/settle.lua")),
            renew: Script::new(include_str!("shared/renew.lua")),
            leases: RefCell::default(),
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

    /// Has Redis know the scripts: else the first of each takes two round trips more, and what a call did use is told after the
    /// next one has asked.
    async fn prepare(&self) {
        for script in [&self.admit, &self.settle, &self.renew] {
            // Where it can't be reached they are sent with the first question.
            let _ = script.prepare_invoke().load_async(&mut self.limits.connection()).await;
        }
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
        if self.limits.is_away() {
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
                self.limits.answered();
                if let Decision::In { lease, .. } = &mut decision {
                    lease.used = None;
                    self.leases.borrow_mut().insert(Arc::clone(&lease.id), Arc::clone(&key.id));
                }
                Ok(decision)
            }
            other => {
                self.metrics.shared_fallbacks.inc();
                self.lost(|link| &link.limits, other.is_some());
                Err(Away)
            }
        }
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
        let answer = call.invoke_async::<Vec<i64>>(&mut link.limits.connection()).await;
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
        let (taken, used) = (self.taken.tokens, self.used.map_or(self.taken.tokens, |used| used.tokens));
        let tokens = self.left.1.saturating_add(taken).saturating_sub(used);
        let of = |limit: u64, remaining: u64| {
            let remaining = remaining.min(limit);
            let missing = u128::from(limit - remaining) * 60_000_000;
            let reset = Duration::from_micros(u64::try_from(missing.checked_div(u128::from(limit))?).unwrap_or(u64::MAX));
            Some(Standing { limit, remaining, reset })
        };
        (of(self.key.rpm, self.left.0), of(self.key.tpm, tokens))
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
            let spent: Result<u64, RedisError> = call.invoke_async(&mut link.limits.connection()).await;
            match spent {
                Ok(spent) => own.hear(spent, link.clock.wall()),
                // Told once more when Redis is back: rather too much than not at all.
                Err(_) => own.untold(used.nanos),
            }
        });
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
            let _: Result<i64, RedisError> = call.invoke_async(&mut link.limits.connection()).await;
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
