//! What those who watch live are told: the seconds' figures, requests as they end, moves of breakers. While nobody watches, a
//! request pays one look at a flag and nothing is kept but the latest moves, which are rare.
//!
//! One narrator speaks to all watchers through a bounded ring: who is slow misses news, and holds up nobody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Notify, broadcast};

use super::fine::{Counted, Fine};
use crate::ledger::{Entry, Row, Transition};

/// Who may watch at once.
const SEATS: usize = 64;
/// News that may wait for a slow watcher.
const RING: usize = 128;
/// Requests that are told of in a second, of more, the first; and so many more that failed.
const ROWS: usize = 20;
const FAILED: usize = 20;
/// Moves that are kept for whoever comes.
const MOVES: usize = 256;
/// Seconds that are kept for whoever comes, and those that quantiles are read from.
const PAST: usize = 300;
const LATELY: usize = 10;

/// What watchers hear, ready to be sent; None: it's over.
pub type News = Option<Bytes>;

/// See the module's text.
#[derive(Debug)]
pub struct Audience {
    watchers: AtomicUsize,
    narrated: AtomicBool,
    /// Somebody has just come.
    came: Notify,
    news: broadcast::Sender<News>,
    /// Requests since the last second: answered, failed (5xx), refused (4xx), left by their caller.
    ends: [AtomicU64; 4],
    latency: Fine,
    first_token: Fine,
    tail: Mutex<Tail>,
    moves: Mutex<VecDeque<Transition>>,
    /// Those that weren't told yet.
    fresh: Mutex<Vec<Transition>>,
    past: Mutex<Past>,
}

/// The requests that ended since the last second.
#[derive(Debug, Default)]
pub struct Tail {
    /// The first of them, and the first that failed, as the ledger has them.
    pub rows: Vec<Entry>,
    /// How many there were besides.
    pub passed_over: u64,
}

#[derive(Debug, Default)]
struct Past {
    seconds: VecDeque<Second>,
    latency: VecDeque<Counted>,
    first_token: VecDeque<Counted>,
}

impl Tail {
    fn has_room(&self, failed: bool) -> bool {
        self.rows.len() < if failed { ROWS + FAILED } else { ROWS }
    }
}

/// A second's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// Its end, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How long it really was.
    pub seconds: f64,
    /// Requests that were answered in it,
    pub answered: u64,
    /// that failed (5xx),
    pub failed: u64,
    /// that were refused (4xx),
    pub refused: u64,
    /// and that their callers left.
    pub left: u64,
    /// Tokens of prompts,
    pub tokens_in: u64,
    /// and of answers.
    pub tokens_out: u64,
    /// Dollars spent, where prices are known.
    pub cost_usd: f64,
    /// Requests under way at its end, streams included.
    pub in_flight: u64,
    /// Of the requests that ended in the last ten seconds, in milliseconds; null where there were none.
    pub latency_p50_ms: Option<f64>,
    /// The same.
    pub latency_p95_ms: Option<f64>,
    /// From a stream's request to its first content.
    pub first_token_p50_ms: Option<f64>,
    /// The same.
    pub first_token_p95_ms: Option<f64>,
}

/// A watcher's place; given back when it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<Audience>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Audience {
    fn default() -> Self {
        Self {
            watchers: AtomicUsize::new(0),
            narrated: AtomicBool::new(false),
            came: Notify::new(),
            news: broadcast::Sender::new(RING),
            ends: Default::default(),
            latency: Fine::default(),
            first_token: Fine::default(),
            tail: Mutex::default(),
            moves: Mutex::default(),
            fresh: Mutex::default(),
            past: Mutex::default(),
        }
    }
}

impl Audience {
    /// Whether somebody watches.
    pub fn is_there(&self) -> bool {
        self.watchers() > 0
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// Takes a place, from which all that is said from now on is heard; None where all are taken.
    pub fn sit(self: &Arc<Self>) -> Option<(Seat, broadcast::Receiver<News>)> {
        let before = self.watchers.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(Arc::clone(self));
        (before < SEATS).then(|| {
            let news = self.news.subscribe();
            self.came.notify_one();
            (seat, news)
        })
    }

    /// Waits until somebody comes.
    pub async fn arrival(&self) {
        self.came.notified().await;
    }

    /// Becomes the narrator, where there is none; true once. Forgets what nobody has taken.
    pub fn narrate(&self) -> bool {
        let mine = !self.narrated.swap(true, Ordering::AcqRel);
        if mine {
            self.ends.iter().for_each(|count| count.store(0, Ordering::Relaxed));
            drop((self.latency.take(), self.first_token.take(), self.take_rows(), self.take_moves()));
        }
        mine
    }

    /// The narrator is one no more.
    pub fn fall_silent(&self) {
        self.narrated.store(false, Ordering::Release);
    }

    /// Tells all watchers.
    pub fn tell(&self, news: News) {
        // Nobody to hear it is no failure.
        let _ = self.news.send(news);
    }

    /// Counts a request's end, for whoever watches.
    pub(super) fn request(&self, status: u16, took: Duration) {
        if !self.is_there() {
            return;
        }
        let kind = match status {
            499 => 3,
            500.. => 1,
            400.. => 2,
            _ => 0,
        };
        self.ends[kind].fetch_add(1, Ordering::Relaxed);
        self.latency.observe(took);
    }

    /// Counts the time to a stream's first content, for whoever watches.
    pub fn first_token(&self, took: Option<Duration>) {
        if let Some(took) = took
            && self.is_there()
        {
            self.first_token.observe(took);
        }
    }

    /// Requests that ended, on their way into the ledger or told to those who watch alone.
    pub fn rows(&self, rows: &[Row]) {
        if rows.is_empty() || !self.is_there() {
            return;
        }
        let mut tail = lock(&self.tail);
        for row in rows {
            let Row::Request(entry) = row else { continue };
            if tail.has_room(entry.failed()) {
                tail.rows.push(Entry::clone(entry));
            } else {
                tail.passed_over += 1;
            }
        }
    }

    /// Whether such a request's row would be told of; counts it where not.
    pub fn wants(&self, failed: bool) -> bool {
        let mut tail = lock(&self.tail);
        let wants = tail.has_room(failed);
        tail.passed_over += u64::from(!wants);
        wants
    }

    /// A breaker has moved.
    pub fn moved(&self, moved: &Transition) {
        let mut moves = lock(&self.moves);
        if moves.len() == MOVES {
            moves.pop_front();
        }
        moves.push_back(moved.clone());
        drop(moves);
        if self.is_there() {
            let mut fresh = lock(&self.fresh);
            if fresh.len() < MOVES {
                fresh.push(moved.clone());
            }
        }
    }

    /// The latest moves since the process's start, the oldest first.
    pub fn moves(&self) -> Vec<Transition> {
        lock(&self.moves).iter().cloned().collect()
    }

    /// The requests that ended since this was asked last.
    pub fn take_rows(&self) -> Tail {
        std::mem::take(&mut *lock(&self.tail))
    }

    /// The moves since this was asked last, the oldest first.
    pub fn take_moves(&self) -> Vec<Transition> {
        std::mem::take(&mut *lock(&self.fresh))
    }

    /// Completes a second's figures, and keeps them for whoever comes.
    pub fn pass(&self, mut second: Second) -> Second {
        let [answered, failed, refused, left] = std::array::from_fn(|kind| self.ends[kind].swap(0, Ordering::Relaxed));
        let mut past = lock(&self.past);
        let mut lately = |kept: fn(&mut Past) -> &mut VecDeque<Counted>, counted| {
            let kept = kept(&mut past);
            kept.push_back(counted);
            if kept.len() > LATELY {
                kept.pop_front();
            }
            let sum = Counted::sum(kept.iter());
            (sum.quantile_ms(0.5), sum.quantile_ms(0.95))
        };
        let latency = lately(|past| &mut past.latency, self.latency.take());
        let first_token = lately(|past| &mut past.first_token, self.first_token.take());
        second = Second {
            answered,
            failed,
            refused,
            left,
            latency_p50_ms: latency.0,
            latency_p95_ms: latency.1,
            first_token_p50_ms: first_token.0,
            first_token_p95_ms: first_token.1,
            ..second
        };
        past.seconds.push_back(second);
        if past.seconds.len() > PAST {
            past.seconds.pop_front();
        }
        second
    }

    /// The seconds that somebody watched lately, the oldest first.
    pub fn past(&self) -> Vec<Second> {
        lock(&self.past).seconds.iter().copied().collect()
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: usize) -> Row {
        Row::Request(Box::new(Entry { id: number.to_string(), ..Entry::default() }))
    }

    #[test]
    fn nothing_is_kept_while_nobody_watches() {
        let audience = Arc::new(Audience::default());
        audience.request(200, Duration::from_millis(1));
        audience.first_token(Some(Duration::from_millis(1)));
        audience.rows(&[request(1)]);
        assert!(audience.narrate() && audience.take_rows().rows.is_empty());
        let second = audience.pass(Second::default());
        assert_eq!((second.answered, second.latency_p50_ms, second.first_token_p50_ms), (0, None, None));
    }

    #[test]
    fn a_second_tells_what_ended_in_it() {
        let audience = Arc::new(Audience::default());
        let (seat, _news) = audience.sit().unwrap();
        assert!(audience.narrate() && !audience.narrate());
        for status in [200, 200, 502, 404, 429, 499] {
            audience.request(status, Duration::from_millis(100));
        }
        audience.first_token(Some(Duration::from_millis(40)));
        let second = audience.pass(Second { seconds: 1.0, ..Second::default() });
        assert_eq!((second.answered, second.failed, second.refused, second.left), (2, 1, 2, 1));
        assert!((second.latency_p95_ms.unwrap() - 100.0).abs() < 6.0 && (second.first_token_p50_ms.unwrap() - 40.0).abs() < 3.0);
        let next = audience.pass(Second::default());
        assert_eq!((next.answered, next.latency_p50_ms), (0, second.latency_p50_ms), "quantiles look back ten seconds");
        (0..LATELY).for_each(|_| _ = audience.pass(Second::default()));
        assert_eq!(audience.pass(Second::default()).latency_p50_ms, None);
        assert_eq!(audience.past().len(), 3 + LATELY);
        drop(seat);
        assert!(!audience.is_there());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let audience = Arc::new(Audience::default());
        let seats: Vec<_> = std::iter::from_fn(|| audience.sit()).take(SEATS * 2).collect();
        assert_eq!(seats.len(), SEATS);
        audience.rows(&(0..ROWS + 7).map(request).collect::<Vec<_>>());
        let failed = |number| Row::Request(Box::new(Entry { id: format!("failed-{number}"), status: 502, ..Entry::default() }));
        audience.rows(&(0..FAILED + 3).map(failed).collect::<Vec<_>>());
        assert!(!audience.wants(false) && !audience.wants(true));
        let heard = audience.take_rows();
        assert_eq!((heard.rows.len(), heard.passed_over), (ROWS + FAILED, 12));
        assert_eq!((heard.rows[0].id.as_str(), heard.rows[ROWS].id.as_str()), ("0", "failed-0"));
        assert!(audience.wants(false));
        let moved = Transition {
            id: String::new(),
            time_us: 0,
            seq: 0,
            provider: "p".into(),
            model: String::new(),
            from: "closed".into(),
            to: "open".into(),
            reason: "hard".into(),
            period_us: None,
            settings: String::new(),
        };
        (0..MOVES + 5).for_each(|seq| audience.moved(&Transition { seq: seq as u64, ..moved.clone() }));
        assert_eq!((audience.moves().len(), audience.moves()[0].seq, audience.take_moves().len()), (MOVES, 5, MOVES));
        (0..PAST + 9).for_each(|_| _ = audience.pass(Second::default()));
        assert_eq!(audience.past().len(), PAST);
    }
}
