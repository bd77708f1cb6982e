//! The provider actors by their place, for whoever tells them something: found anew at each telling, so that an actor that
//! was started again, or came with a reload, is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use actix::dev::ToEnvelope;
use actix::{Addr, Handler, Message};
use arc_swap::ArcSwap;

use super::provider::Provider;

/// See the module's text. Read by every thread, changed by one at a time.
#[derive(Debug, Default)]
pub struct Cast(ArcSwap<Vec<Member>>);

/// How much waits in a mailbox: counted up by who tells, down by who is told. Actix doesn't say it.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting(Arc<AtomicI64>);

impl Waiting {
    /// Something that was told is being heard.
    pub(super) fn heard(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Clone, Debug)]
struct Member {
    actor: Addr<Provider>,
    waiting: Waiting,
}

impl Cast {
    /// The actor at a place.
    pub fn at(&self, place: usize) -> Option<Addr<Provider>> {
        self.0.load().get(place).map(|member| member.actor.clone())
    }

    /// Tells the actor at a place; false where its mailbox is full or closed.
    pub fn tell<M>(&self, place: usize, message: M) -> bool
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Provider: Handler<M>,
        <Provider as actix::Actor>::Context: ToEnvelope<Provider, M>,
    {
        let all = self.0.load();
        let Some(Member { actor, waiting }) = all.get(place) else { return false };
        // Before it can be heard.
        waiting.0.fetch_add(1, Ordering::Relaxed);
        let told = actor.try_send(message).is_ok();
        if !told {
            waiting.heard();
        }
        told
    }

    /// What was told to the actor at a place and waits to be heard.
    pub fn waiting(&self, place: usize) -> i64 {
        self.0.load().get(place).map_or(0, |member| member.waiting.0.load(Ordering::Relaxed))
    }

    /// How many places are given.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an actor at a place: the next free one, or in place of the one that was there.
    pub(super) fn put(&self, place: usize, actor: Addr<Provider>, waiting: Waiting) {
        let mut all = Vec::clone(&self.0.load());
        let member = Member { actor, waiting };
        match all.get_mut(place) {
            Some(old) => *old = member,
            None => all.push(member),
        }
        self.0.store(all.into());
    }
}
