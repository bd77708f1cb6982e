//! How many wrong keys an address may send: a thousand a minute, and a thousand at first. Beyond that it is told to stop, without
//! a look into the store and without a line in the log for each. A right key is never asked where it comes from, so nobody who
//! shares an address with whoever guesses is shut out.
//!
//! A fixed number of counters, whoever comes: an address has the one that a secret hash gives it. Should two have the same,
//! they share it, which costs them nothing but the word by which a wrong key is refused.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::Moment;

/// Wrong keys of one address at once.
const AT_ONCE: u64 = 1_000;
/// And one more each of these, in microseconds.
const EVERY: u64 = 60_000;
/// Counters: 64 KiB of them.
const COUNTERS: usize = 8_192;
/// One line in the log for each of these, in microseconds.
const SAID_EVERY: u64 = 60_000_000;

/// See the module's text.
#[derive(Debug)]
pub struct Strangers {
    /// By when each would have none left to answer for, in microseconds.
    free_at: Box<[AtomicU64]>,
    hasher: RandomState,
    /// Until when it needs no saying that there are too many, in microseconds.
    said: AtomicU64,
}

/// An address has sent too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Until it may send one again.
    pub wait: Duration,
    /// Whether that is worth a line in the log: there was none for a minute.
    pub news: bool,
}

impl Strangers {
    /// Nobody yet. `hasher`: nobody outside can tell which addresses share a counter.
    pub fn new(hasher: RandomState) -> Self {
        Self { free_at: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect(), hasher, said: AtomicU64::new(0) }
    }

    /// A key that isn't known here came from an address.
    ///
    /// # Errors
    /// It has sent too many.
    pub fn knock(&self, address: IpAddr, now: Moment) -> Result<(), TooMany> {
        let (now, most) = (now.micros(), (AT_ONCE - 1) * EVERY);
        let mut over = 0;
        let counted = self.counter(address).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| {
            over = free_at.saturating_sub(now).saturating_sub(most);
            (over == 0).then(|| free_at.max(now).saturating_add(EVERY))
        });
        counted.map(drop).map_err(|_| TooMany { wait: Duration::from_micros(over), news: self.is_news(now) })
    }

    fn is_news(&self, now: u64) -> bool {
        let until = self.said.load(Ordering::Relaxed);
        until <= now && self.said.compare_exchange(until, now.saturating_add(SAID_EVERY), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The key was known after all.
    pub fn forgive(&self, address: IpAddr) {
        let undone = |free_at: u64| Some(free_at.saturating_sub(EVERY));
        // It always has a value to put.
        let _ = self.counter(address).fetch_update(Ordering::Relaxed, Ordering::Relaxed, undone);
    }

    fn counter(&self, address: IpAddr) -> &AtomicU64 {
        let place = self.hasher.hash_one(network(address)) % COUNTERS as u64;
        &self.free_at[place as usize]
    }
}

/// Who shares a counter: an address of the old kind is its own, one of the new has as many as it likes.
fn network(address: IpAddr) -> u64 {
    const PREFIX: u32 = 64;
    match address.to_canonical() {
        // Within a prefix that is nobody's.
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> (Ipv6Addr::BITS - PREFIX)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Moment = |s| Moment::from_millis(s * 1_000);

    fn strangers() -> Strangers {
        Strangers::new(RandomState::new())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_thousand_a_minute_and_a_thousand_at_first() {
        let (all, one) = (strangers(), ip("192.0.2.1"));
        let within = |from: u64, to: u64| (from * 100..to * 100).filter(|n| all.knock(one, Moment::from_millis(n * 10)).is_ok()).count();
        assert_eq!(within(0, 60), 1_999, "in the first minute, of 6,000");
        assert_eq!(within(60, 120), 1_000);
        assert_eq!(within(600, 601), 100, "as new");
        (0..1_000).for_each(|_| all.knock(one, S(1_200)).unwrap());
        assert!(all.knock(one, S(1_200)).unwrap_err().news);
        let TooMany { wait, news } = all.knock(one, S(1_200)).unwrap_err();
        assert!(!news, "it was said just now");
        assert!(!wait.is_zero() && wait <= Duration::from_millis(60), "{wait:?}");
        assert!(all.knock(one, S(1_200).plus(wait)).is_ok());
    }

    #[test]
    fn what_is_forgiven_was_never_counted() {
        let (all, one) = (strangers(), ip("192.0.2.1"));
        for _ in 0..5_000 {
            assert!(all.knock(one, S(1)).is_ok());
            all.forgive(one);
        }
    }

    #[test]
    fn a_house_is_one_and_its_neighbours_are_others() {
        let all = strangers();
        (0..1_000).for_each(|n| all.knock(ip(&format!("2001:db8::{n:x}")), S(1)).unwrap());
        assert!(all.knock(ip("2001:db8::ffff:1"), S(1)).is_err(), "one of the same 64 bits");
        (0..1_000).for_each(|_| all.knock(ip("192.0.2.1"), S(1)).unwrap());
        assert!(all.knock(ip("::ffff:192.0.2.1"), S(1)).is_err(), "the same, written otherwise");
        let free = (0..100).filter(|n| all.knock(ip(&format!("192.0.3.{n}")), S(1)).is_ok()).count();
        assert!(free >= 95, "{free} of 100 others have a counter of their own");
    }

    #[test]
    fn a_clock_that_steps_back_lets_nobody_out() {
        let (all, one) = (strangers(), ip("192.0.2.1"));
        (0..1_000).for_each(|_| all.knock(one, S(50)).unwrap());
        assert!(all.knock(one, S(1)).is_err() && all.knock(one, S(50)).is_err() && all.knock(one, S(51)).is_ok());
    }
}
