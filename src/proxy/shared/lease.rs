//! What a call holds of the limits that several gateways share, from the question to the end. Its answer may come after its time, when
//! the call was let in alone or its caller has left: then that is put right once the answer is there.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Link;
use super::line::Matter;
use crate::access::{Allowance, Amounts, Leased, Refusal, Standing, Untold, VirtualKey};

/// What Redis said to a call.
pub(super) enum Said {
    /// It is in.
    In {
        /// Requests and tokens that are left of the minute.
        left: (u64, u64),
    },
    /// It isn't.
    Refused(Refusal),
}

/// A call, as Redis is asked about it.
pub(super) struct Call {
    /// Its lease's id.
    pub(super) id: Rc<str>,
    pub(super) key: Arc<VirtualKey>,
    pub(super) own: Arc<Allowance>,
    pub(super) taken: Amounts,
    /// Questions of it that aren't answered yet.
    pub(super) asked: Cell<u32>,
    /// It holds a lease in what was made then.
    made: Cell<Option<u64>>,
    /// It was let in here.
    within: Cell<bool>,
    /// It is over, and used so much.
    over: Cell<Option<Amounts>>,
}

impl Call {
    pub(super) fn new(id: String, key: &Arc<VirtualKey>, own: &Arc<Allowance>, taken: Amounts) -> Rc<Self> {
        let call = Self {
            id: id.into(),
            key: Arc::clone(key),
            own: Arc::clone(own),
            taken,
            asked: Cell::new(0),
            made: Cell::new(None),
            within: Cell::new(false),
            over: Cell::new(None),
        };
        Rc::new(call)
    }

    /// Whether Redis knows of it.
    pub(super) fn is_known(&self) -> bool {
        self.made.get().is_some()
    }

    /// What the one call is among those that Redis knows of.
    pub(super) fn leased(&self) -> Leased {
        Leased { calls: 1, nanos: i64::try_from(self.taken.nanos).unwrap_or(i64::MAX) }
    }

    /// It holds a lease; false where it did already.
    pub(super) fn holds(&self, made: u64) -> bool {
        self.made.replace(Some(made)).is_none()
    }

    /// A question of it is answered, or never will be: what is to be done about it now.
    pub(super) fn answered(self: &Rc<Self>, link: &Rc<Link>) {
        self.asked.set(self.asked.get().saturating_sub(1));
        self.see(link);
    }

    /// Redis is to know of it, where it doesn't yet and was let in here.
    pub(super) fn tell(self: &Rc<Self>, link: &Rc<Link>) {
        if self.within.get() && !self.is_known() && self.asked.get() == 0 {
            link.ask(Rc::clone(self), Matter::Take);
        }
    }

    /// Does what is to be done where it is over, once all questions of it are answered.
    fn see(self: &Rc<Self>, link: &Rc<Link>) {
        if self.asked.get() > 0 {
            return;
        }
        let Some(used) = self.over.take() else { return };
        match (self.made.get(), self.within.get()) {
            (Some(made), true) => link.ask(Rc::clone(self), Matter::End { used, made }),
            (Some(_), false) => link.ask(Rc::clone(self), Matter::Back),
            (None, true) => {
                let told = Untold { requests: 1, tokens: used.tokens, nanos: used.nanos };
                self.own.untold(told, Leased::default());
            }
            (None, false) => {}
        }
    }
}

/// What a call holds of the shared limits; given back when dropped.
pub(in crate::proxy) struct Lease {
    link: Rc<Link>,
    call: Rc<Call>,
    /// None: nobody told, so what it took stands.
    used: Option<Amounts>,
    /// What Redis said is left of requests and tokens; None: it was let in alone.
    left: Option<(u64, u64)>,
}

impl Lease {
    pub(super) fn new(link: &Rc<Link>, call: Rc<Call>) -> Self {
        Self { link: Rc::clone(link), call, used: None, left: None }
    }

    pub(super) fn ask(&self, matter: Matter) {
        self.link.ask(Rc::clone(&self.call), matter);
    }

    /// Its call is let in: by Redis, or alone.
    pub(super) fn let_in(mut self, left: Option<(u64, u64)>) -> Self {
        self.left = left;
        self.call.within.set(true);
        self.link.calls.borrow_mut().insert(Rc::clone(&self.call.id), Rc::clone(&self.call));
        // Whatever Redis says to the question, or later: it is in. Whoever has Redis decide meanwhile is to know.
        if left.is_none() {
            self.ask(Matter::Take);
        }
        self
    }

    /// What the call did use.
    pub(in crate::proxy) fn settle(&mut self, used: Amounts) {
        self.used = Some(used);
    }

    /// What is left of requests and of tokens a minute, as it was when the call was let in, but for what it gives back; None: Redis
    /// didn't say.
    pub(in crate::proxy) fn standing(&self) -> Option<(Option<Standing>, Option<Standing>)> {
        let (requests, tokens) = self.left?;
        let taken = self.call.taken.tokens;
        let tokens = tokens.saturating_add(taken).saturating_sub(self.used.map_or(taken, |used| used.tokens));
        let of = |limit: u64, remaining: u64| {
            let remaining = remaining.min(limit);
            let missing = u128::from(limit - remaining) * 60_000_000;
            let reset = Duration::from_micros(u64::try_from(missing.checked_div(u128::from(limit))?).unwrap_or(u64::MAX));
            Some(Standing { limit, remaining, reset })
        };
        Some((of(self.call.key.rpm, requests), of(self.call.key.tpm, tokens)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link.calls.borrow_mut().remove(&self.call.id);
        let used = self.used.unwrap_or(self.call.taken);
        if self.left.is_none() && self.call.within.get() {
            self.call.own.over_alone(self.call.taken, used);
        }
        self.call.over.set(Some(used));
        // Nobody waits for it.
        self.call.see(&self.link);
    }
}
