//! One call that identical requests share while it is under way: the first of them leads it, the others sit down beside it
//! and get what it gets, a stream's words so far at once. It goes on while anybody sits there, whoever leaves; where it fails,
//! each is told, and the first to ask again leads the next one.
//!
//! Nobody may join who couldn't have all of it: a stream that has outgrown what is held of it takes no more readers, and its
//! upstream waits for the slowest.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::task::AbortHandle;

use super::super::fault::Fault;
use super::answers::{Author, Stored};
use super::key::Fingerprint;

/// What is held of one stream for who comes late, and for who is slow, in bytes.
const HELD: usize = 4 << 20;
/// What is held of all of them; from there on nobody new joins those that flow.
const TOGETHER: usize = 256 << 20;

/// The calls that may be shared, by what tells their requests apart. Touched only by requests that the cache has to do with.
#[derive(Debug, Default)]
pub struct Flights {
    flights: DashMap<Fingerprint, Arc<Flight>>,
    together: AtomicUsize,
}

/// What a request is to do.
pub enum Role {
    /// Make the call: it is the first.
    Lead(Lead, Seat),
    /// Wait for one that is under way.
    Follow(Seat),
}

/// What has become of a call.
#[derive(Clone, Debug)]
pub enum Joined {
    /// A whole answer.
    Whole(Arc<Stored>),
    /// A stream that flows, and who serves it.
    Flowing(Author),
    /// It failed; None: nobody can say why.
    Failed(Option<Fault>),
}

#[derive(Debug)]
struct Flight {
    key: Fingerprint,
    flights: Arc<Flights>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None: the upstream has said nothing yet.
    became: Option<Joined>,
    /// No piece comes any more.
    ended: bool,
    pieces: VecDeque<Bytes>,
    /// The number of the first piece that is held.
    first: usize,
    held: usize,
    seats: Vec<Place>,
    last_seat: u64,
    /// What wakes the leader, while it waits for room.
    leader: Option<Waker>,
    work: Option<AbortHandle>,
}

#[derive(Debug)]
struct Place {
    number: u64,
    /// The next piece that it wants.
    next: usize,
    waker: Option<Waker>,
}

impl Flights {
    /// Joins the call that is under way for such a request, or begins one.
    pub fn enter(self: &Arc<Self>, key: Fingerprint) -> Role {
        match self.flights.entry(key) {
            Entry::Occupied(mut there) => match Flight::join(there.get()) {
                Some(seat) => Role::Follow(seat),
                None => {
                    let (lead, seat) = self.lead(key);
                    there.insert(Arc::clone(&lead.flight));
                    Role::Lead(lead, seat)
                }
            },
            Entry::Vacant(place) => {
                let (lead, seat) = self.lead(key);
                place.insert(Arc::clone(&lead.flight));
                Role::Lead(lead, seat)
            }
        }
    }

    fn lead(self: &Arc<Self>, key: Fingerprint) -> (Lead, Seat) {
        let state = State { seats: vec![Place { number: 0, next: 0, waker: None }], ..State::default() };
        let flight = Arc::new(Flight { key, flights: Arc::clone(self), state: Mutex::new(state) });
        (Lead { flight: Arc::clone(&flight) }, Seat { flight, number: 0 })
    }

    fn forget(&self, flight: &Arc<Flight>) {
        self.flights.remove_if(&flight.key, |_, there| Arc::ptr_eq(there, flight));
    }

    fn is_full(&self) -> bool {
        self.together.load(Ordering::Relaxed) > TOGETHER
    }
}

impl Flight {
    /// A seat, where the whole of it can still be had.
    fn join(flight: &Arc<Self>) -> Option<Seat> {
        let mut state = flight.lock();
        let lost = state.ended || state.first > 0 || state.seats.is_empty() || matches!(state.became, Some(Joined::Failed(_)));
        if lost {
            return None;
        }
        state.last_seat += 1;
        let number = state.last_seat;
        state.seats.push(Place { number, next: 0, waker: None });
        Some(Seat { flight: Arc::clone(flight), number })
    }

    /// Changes it, and wakes all who wait for that.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (changed, waiting) = {
            let mut state = self.lock();
            let changed = change(&mut state);
            (changed, state.seats.iter_mut().filter_map(|seat| seat.waker.take()).collect::<Vec<_>>())
        };
        waiting.into_iter().for_each(Waker::wake);
        changed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let held = self.lock().held;
        self.flights.together.fetch_sub(held, Ordering::Relaxed);
    }
}

impl State {
    /// Lets go what everybody has had, where it is more than is held for who comes late. Gives how much that was.
    fn shrink(&mut self, most: usize) -> usize {
        let least = self.seats.iter().map(|seat| seat.next).min().unwrap_or(usize::MAX);
        let mut gone = 0;
        while self.held > most && self.first < least {
            let Some(piece) = self.pieces.pop_front() else { break };
            self.first += 1;
            self.held -= piece.len();
            gone += piece.len();
        }
        gone
    }
}

/// The call's own side. Dropped before it says how the call ended, the call has failed.
#[derive(Debug)]
pub struct Lead {
    flight: Arc<Flight>,
}

impl Lead {
    /// What stops the call once nobody waits for it.
    pub(super) fn works(&self, work: AbortHandle) {
        self.flight.lock().work = Some(work);
    }

    /// Whether who began it is still there.
    pub(super) fn is_watched(&self) -> bool {
        self.flight.lock().seats.iter().any(|seat| seat.number == 0)
    }

    /// There was an answer already.
    pub fn found(&self, stored: &Arc<Stored>) {
        self.became(Joined::Whole(Arc::clone(stored)));
    }

    /// It has an answer: a whole one, which ends it, or a stream.
    pub(super) fn became(&self, joined: Joined) {
        let ends = !matches!(joined, Joined::Flowing(_));
        self.flight.change(|state| {
            state.became = Some(joined);
            state.ended = ends;
        });
        if ends {
            self.flight.flights.forget(&self.flight);
        }
    }

    /// More of the stream; `last`: nothing comes after it.
    pub(super) fn write(&self, piece: &[u8], last: bool) {
        let flights = &self.flight.flights;
        let most = if flights.is_full() { 0 } else { HELD };
        flights.together.fetch_add(piece.len(), Ordering::Relaxed);
        let gone = self.flight.change(|state| {
            // A copy: a slice would hold the whole buffer that its connection was read into.
            state.pieces.push_back(Bytes::copy_from_slice(piece));
            state.held += piece.len();
            state.ended |= last;
            state.shrink(most)
        });
        flights.together.fetch_sub(gone, Ordering::Relaxed);
        if last {
            flights.forget(&self.flight);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        self.flight.change(|state| state.ended = true);
        self.flight.flights.forget(&self.flight);
    }

    /// Ready once there is room for more, or nobody who takes it.
    pub(super) fn room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.flight.lock();
        if state.held <= HELD || state.seats.iter().all(|seat| seat.next > state.first) {
            return Poll::Ready(());
        }
        state.leader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flight.change(|state| {
            if !state.ended {
                state.became = Some(Joined::Failed(None));
                state.ended = true;
            }
        });
        self.flight.flights.forget(&self.flight);
    }
}

/// One request's place at a call. Dropped, it is given back; the last one lets the call go.
#[derive(Debug)]
pub struct Seat {
    flight: Arc<Flight>,
    number: u64,
}

impl Seat {
    /// What has become of the call.
    pub fn poll_became(&self, cx: &Context<'_>) -> Poll<Joined> {
        let mut state = self.flight.lock();
        if let Some(became) = &state.became {
            return Poll::Ready(became.clone());
        }
        self.wait(&mut state, cx);
        Poll::Pending
    }

    /// What of the stream it hasn't had, and whether nothing comes after that; None: it was over.
    pub(super) fn poll_more(&self, cx: &Context<'_>) -> Poll<Option<(Bytes, bool)>> {
        let mut state = self.flight.lock();
        let next = state.seats.iter().find(|seat| seat.number == self.number).map_or(0, |seat| seat.next);
        let skipped = next.saturating_sub(state.first);
        let more = match state.pieces.len() - skipped.min(state.pieces.len()) {
            0 if state.ended => return Poll::Ready(None),
            0 => {
                self.wait(&mut state, cx);
                return Poll::Pending;
            }
            1 => state.pieces[skipped].clone(),
            _ => {
                let mut all = BytesMut::new();
                state.pieces.range(skipped..).for_each(|piece| all.extend_from_slice(piece));
                all.freeze()
            }
        };
        let end = state.first + state.pieces.len();
        if let Some(seat) = state.seats.iter_mut().find(|seat| seat.number == self.number) {
            seat.next = end;
        }
        let most = if state.first > 0 { 0 } else { HELD };
        let gone = state.shrink(most);
        let (last, leader) = (state.ended, state.leader.take());
        drop(state);
        self.flight.flights.together.fetch_sub(gone, Ordering::Relaxed);
        leader.into_iter().for_each(Waker::wake);
        Poll::Ready(Some((more, last)))
    }

    /// Why the stream can't go on, where it failed before its first word.
    pub(super) fn failed(&self) -> Option<Option<Fault>> {
        match &self.flight.lock().became {
            Some(Joined::Failed(fault)) => Some(fault.clone()),
            _ => None,
        }
    }

    fn wait(&self, state: &mut State, cx: &Context<'_>) {
        if let Some(seat) = state.seats.iter_mut().find(|seat| seat.number == self.number)
            && !seat.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            seat.waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (left, work, leader) = {
            let mut state = self.flight.lock();
            state.seats.retain(|seat| seat.number != self.number);
            let alone = state.seats.is_empty() && !state.ended;
            (alone, state.work.take_if(|_| alone), state.leader.take())
        };
        leader.into_iter().for_each(Waker::wake);
        if left {
            self.flight.flights.forget(&self.flight);
            work.into_iter().for_each(|work| work.abort());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    #[derive(Default)]
    struct Bell(AtomicBool);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn key(text: &str) -> Fingerprint {
        Fingerprint::of_body(text.as_bytes())
    }

    fn lead(flights: &Arc<Flights>) -> (Lead, Seat) {
        match flights.enter(key("a")) {
            Role::Lead(lead, seat) => (lead, seat),
            Role::Follow(_) => panic!("it is under way"),
        }
    }

    fn follow(flights: &Arc<Flights>) -> Seat {
        match flights.enter(key("a")) {
            Role::Follow(seat) => seat,
            Role::Lead(..) => panic!("nothing is under way"),
        }
    }

    fn author() -> Author {
        Author { provider: "p".into(), model: "m".into() }
    }

    fn more(seat: &Seat) -> Option<(String, bool)> {
        match seat.poll_more(&Context::from_waker(futures_util::task::noop_waker_ref())) {
            Poll::Ready(Some((bytes, last))) => Some((String::from_utf8_lossy(&bytes).into_owned(), last)),
            Poll::Ready(None) => Some((String::new(), true)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn who_comes_late_gets_all_and_is_woken_for_more() {
        let flights = Arc::<Flights>::default();
        let (lead, first) = lead(&flights);
        let early = follow(&flights);
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        assert!(early.poll_became(&Context::from_waker(&waker)).is_pending());
        lead.became(Joined::Flowing(author()));
        assert!(bell.0.swap(false, Ordering::Relaxed));
        lead.write(b"one ", false);
        assert_eq!(more(&first), Some(("one ".into(), false)));
        lead.write(b"two ", false);
        let late = follow(&flights);
        assert_eq!(
            (more(&late), more(&first), more(&early)),
            (Some(("one two ".into(), false)), Some(("two ".into(), false)), Some(("one two ".into(), false)))
        );
        assert!(late.poll_more(&Context::from_waker(&waker)).is_pending());
        lead.write(b"end", true);
        assert!(bell.0.load(Ordering::Relaxed));
        assert_eq!((more(&late), more(&first)), (Some(("end".into(), true)), Some(("end".into(), true))));
        assert!(matches!(flights.enter(key("a")), Role::Lead(..)), "it is over");
        drop((lead, first, early, late));
        assert_eq!((flights.flights.len(), flights.together.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn it_is_there_while_anybody_sits_and_a_lost_lead_is_a_failure() {
        let flights = Arc::<Flights>::default();
        let (leading, first) = lead(&flights);
        let second = follow(&flights);
        drop(first);
        assert!(!leading.is_watched());
        let third = follow(&flights);
        drop((second, third));
        let (next, seat) = lead(&flights);
        drop(leading);
        let late = follow(&flights);
        drop(next);
        for seat in [&seat, &late] {
            assert!(matches!(seat.failed(), Some(None)));
        }
        assert!(flights.flights.is_empty());
    }

    #[test]
    fn what_has_outgrown_what_is_held_takes_nobody_more_and_waits_for_the_slowest() {
        let flights = Arc::<Flights>::default();
        let (lead, first) = lead(&flights);
        let slow = follow(&flights);
        lead.became(Joined::Flowing(author()));
        let cx = Context::from_waker(futures_util::task::noop_waker_ref());
        for _ in 0..5 {
            assert!(lead.room(&cx).is_ready());
            lead.write(&vec![b'x'; 1 << 20], false);
            more(&first);
        }
        assert!(lead.room(&cx).is_pending(), "the slow one has had nothing");
        assert_eq!(more(&slow).unwrap().0.len(), 5 << 20, "and gets all of it");
        assert!(lead.room(&cx).is_ready());
        lead.write(b"x", false);
        assert!(matches!(flights.enter(key("a")), Role::Lead(..)), "the beginning is gone");
        let held = flights.together.load(Ordering::Relaxed);
        assert!(held <= HELD, "{held}");
    }
}
