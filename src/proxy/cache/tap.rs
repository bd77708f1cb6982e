//! Collects a stream's events on their way to the caller, so that they can be given again: only once its terminal event has
//! gone out, and only as long as it isn't larger than what is kept.

use std::rc::Rc;

use super::answers::Author;
use super::spot::Spot;

/// See the module's text.
pub(in crate::proxy) struct Tap {
    spot: Rc<Spot>,
    author: Option<Author>,
    events: Vec<u8>,
    overflowed: bool,
}

impl Tap {
    /// Of a stream that is to be kept.
    pub(in crate::proxy) fn new(spot: &Rc<Spot>) -> Box<Self> {
        Box::new(Self { spot: Rc::clone(spot), author: None, events: Vec::new(), overflowed: false })
    }

    /// Who serves it; where another goes on with it, the first one stays.
    pub(in crate::proxy) fn served(&mut self, author: impl FnOnce() -> Author) {
        self.author.get_or_insert_with(author);
    }

    /// Events go out.
    pub(in crate::proxy) fn take(&mut self, events: &[u8]) {
        self.overflowed |= !self.spot.fits(self.events.len() + events.len());
        if self.overflowed {
            self.events = Vec::new();
        } else {
            self.events.extend_from_slice(events);
        }
    }

    /// It is whole.
    pub(in crate::proxy) fn keep(self) {
        if let (Some(author), false) = (self.author, self.overflowed) {
            self.spot.keep(&self.events, author);
        }
    }
}
