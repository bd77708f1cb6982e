//! A stream that can be come back to, as its pump and its readers share it: what is kept of its events, who reads, and since
//! when nobody does. The pump may be on one thread and a reader on any other; the lock is this stream's alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actix::Addr;
use bytes::Bytes;

use super::pump::{Alone, Pump, Stop};
use super::shelf::{Owner, Shelf};
use crate::base::Moment;
use crate::dialect::Wire;
use crate::stream::{Behind, Ring};

/// The seat of the caller who began the stream.
pub(super) const FIRST: u64 = 0;

/// What makes one stream different from others.
#[derive(Debug)]
pub(super) struct Terms {
    /// Who may read it.
    pub(super) owner: Owner,
    /// Its request's id.
    pub(super) id: Arc<str>,
    /// How long it is read on and kept with no reader.
    pub(super) window: Duration,
    /// What is kept of it, in bytes.
    pub(super) buffer: usize,
    /// Its caller's dialect.
    pub(super) wire: Wire,
}

/// See the module's text.
#[derive(Debug)]
pub struct Kept {
    terms: Terms,
    shelf: Arc<Shelf>,
    pump: Addr<Pump>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ring: Ring,
    /// No event comes any more.
    ended: bool,
    /// Nobody may join any more.
    closed: bool,
    seats: Vec<Seat>,
    last_seat: u64,
    /// Since when nobody reads.
    alone_since: Option<Moment>,
}

/// A reader's.
#[derive(Debug)]
struct Seat {
    number: u64,
    /// What wakes it, while it waits.
    waker: Option<Waker>,
}

/// Why a stream can't be read from where a reader wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It isn't there any more.
    Closed,
    /// What comes next is no longer kept. The buffer's size, in bytes.
    Gone(usize),
    /// It has no such event yet. The last one's id.
    Ahead(u64),
}

impl Kept {
    /// Of a stream that begins, with its first reader's seat taken.
    pub(super) fn new(terms: Terms, shelf: Arc<Shelf>, pump: Addr<Pump>) -> Self {
        let ring = if terms.wire.takes_ids() { Ring::default() } else { Ring::unnumbered() };
        let state = State { ring, seats: vec![Seat { number: FIRST, waker: None }], ..State::default() };
        Self { terms, shelf, pump, state: Mutex::new(state) }
    }

    pub(super) fn name(&self) -> (Owner, Arc<str>) {
        (self.terms.owner.clone(), Arc::clone(&self.terms.id))
    }

    /// Its request's id.
    pub fn id(&self) -> &str {
        &self.terms.id
    }

    /// The dialect of its events.
    pub fn wire(&self) -> Wire {
        self.terms.wire
    }

    /// How long it stays with no reader.
    pub(super) fn window(&self) -> Duration {
        self.terms.window
    }

    /// More of the stream has come.
    pub(super) fn write(&self, piece: Bytes) {
        self.change(|state| {
            let most = self.shelf.most(state.ring.size(), self.terms.buffer);
            state.ring.write(piece, most);
        });
        self.shelf.make_room();
    }

    /// Nothing more comes but these last words behind so many events. Only the first end counts.
    pub(super) fn end(self: &Arc<Self>, last: impl FnOnce(u64) -> Option<Bytes>) {
        let mut first = false;
        self.change(|state| {
            if let Some(last) = last(state.ring.last()) {
                state.ring.write(last, self.terms.buffer);
            }
            state.ring.finish();
            (state.ended, first) = (true, true);
        });
        if first {
            self.shelf.ended(self);
        }
    }

    /// Ends it for good and lets its upstream go; its readers are told so by `event`, behind so many others.
    pub fn stop(self: &Arc<Self>, event: impl FnOnce(u64) -> Bytes) {
        self.end(|events| Some(event(events)));
        self.lock().closed = true;
        self.shelf.forget(self);
        self.pump.do_send(Stop);
    }

    /// Nobody can come back to it any more: it goes with its last reader.
    pub(super) fn replace(&self) {
        let mut state = self.lock();
        state.closed = true;
        if state.seats.is_empty() {
            drop(state);
            self.pump.do_send(Stop);
        }
    }

    /// Whether nobody may join any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Nothing of it is kept any more.
    pub(super) fn empty(&self) {
        let mut state = self.lock();
        self.shelf.changed(state.ring.size(), 0);
        state.ring.clear();
    }

    /// Closes it where nobody has read it for its window.
    pub(super) fn close_if_alone(&self, now: Moment) -> bool {
        let mut state = self.lock();
        state.closed |= state.alone_since.is_some_and(|since| now >= since.plus(self.terms.window));
        state.closed
    }

    /// A seat for a reader who has everything up to the event `after`.
    pub(super) fn join(&self, after: u64) -> Result<u64, Unreadable> {
        let mut state = self.lock();
        if state.closed {
            return Err(Unreadable::Closed);
        }
        if after > state.ring.last() {
            return Err(Unreadable::Ahead(state.ring.last()));
        }
        if state.ring.behind(after) == Behind::Gone {
            return Err(Unreadable::Gone(self.terms.buffer));
        }
        state.last_seat += 1;
        let number = state.last_seat;
        state.seats.push(Seat { number, waker: None });
        state.alone_since = None;
        Ok(number)
    }

    /// Gives a seat back.
    pub(super) fn leave(&self, number: u64, now: Moment) {
        let mut state = self.lock();
        state.seats.retain(|seat| seat.number != number);
        if state.seats.is_empty() {
            state.alone_since = Some(now);
            let closed = state.closed;
            drop(state);
            if closed { self.pump.do_send(Stop) } else { self.pump.do_send(Alone) }
        }
    }

    /// What comes behind the event `after`; None: nothing, as the stream is over.
    pub(super) fn poll(&self, number: u64, after: u64, cx: &Context<'_>) -> Poll<Option<Result<Bytes, Unreadable>>> {
        let mut state = self.lock();
        match state.ring.behind(after) {
            Behind::Event(event) => Poll::Ready(Some(Ok(event))),
            Behind::Gone => Poll::Ready(Some(Err(Unreadable::Gone(self.terms.buffer)))),
            Behind::Nothing if state.ended => Poll::Ready(None),
            Behind::Nothing => {
                if let Some(seat) = state.seats.iter_mut().find(|seat| seat.number == number)
                    && !seat.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    seat.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Does something to a stream that hasn't ended, and wakes who waits for it.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiting: Vec<Waker> = {
            let mut state = self.lock();
            if state.ended {
                return;
            }
            let before = state.ring.size();
            change(&mut state);
            self.shelf.changed(before, state.ring.size());
            state.seats.iter_mut().filter_map(|seat| seat.waker.take()).collect()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let size = self.lock().ring.size();
        self.shelf.changed(size, 0);
    }
}
