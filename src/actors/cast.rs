//! The provider actors by their place, for whoever tells them something: found anew at each telling, so that an actor that
//! was started again, or came with a reload, is found.

use actix::dev::ToEnvelope;
use actix::{Addr, Handler, Message};
use arc_swap::ArcSwap;

use super::provider::Provider;

/// See the module's text. Read by every thread, changed by one at a time.
#[derive(Debug, Default)]
pub struct Cast(ArcSwap<Vec<Addr<Provider>>>);

impl Cast {
    /// The actor at a place.
    pub fn at(&self, place: usize) -> Option<Addr<Provider>> {
        self.0.load().get(place).cloned()
    }

    /// Tells the actor at a place; false where its mailbox is full or closed.
    pub fn tell<M>(&self, place: usize, message: M) -> bool
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Provider: Handler<M>,
        <Provider as actix::Actor>::Context: ToEnvelope<Provider, M>,
    {
        self.0.load().get(place).is_some_and(|actor| actor.try_send(message).is_ok())
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
    pub fn put(&self, place: usize, actor: Addr<Provider>) {
        let mut all = Vec::clone(&self.0.load());
        match all.get_mut(place) {
            Some(old) => *old = actor,
            None => all.push(actor),
        }
        self.0.store(all.into());
    }
}
