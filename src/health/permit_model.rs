//! The permit under every interleaving of its threads, and every order in which memory may show their writes: loom runs the
//! gate's own source over its atomics.

use loom::sync::Arc;
use loom::thread;

/// What the gate finds above itself here.
mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

#[expect(clippy::duplicate_mod, reason = "the same source over other atomics is what this is for")]
#[path = "gate.rs"]
mod gate;

use std::time::Duration;

use self::atomic::{AtomicU32, Ordering};
use self::gate::{Gate, Sign, Stand};
use super::Admission;
use crate::base::Moment;

const DUE: Moment = Moment::from_millis(10);
const LATER: Moment = Moment::from_millis(30);

fn sign(epoch: u32, stand: Stand) -> Sign {
    let until = if epoch > 1 { LATER } else { DUE };
    Sign { epoch, stand, until: Some(until), permits: 1, gap: Duration::ZERO, gap_waived: false }
}

/// All interleavings in which a thread is interrupted at most three times: there are millions of the rest, and no fault of a
/// few writes needs so many.
fn explore(threads: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(threads);
}

fn published(sign: Sign) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    gate.publish(sign);
    gate
}

#[test]
fn one_permit_is_never_held_twice_and_always_comes_back() {
    explore(|| {
        let gate = published(sign(1, Stand::HalfOpen));
        let held = Arc::new(AtomicU32::new(0));
        let probe = |gate: Arc<Gate>, held: Arc<AtomicU32>| {
            move || {
                let Some(epoch) = gate.claim(DUE) else { return 0 };
                assert_eq!((epoch, held.fetch_add(1, Ordering::SeqCst)), (1, 0), "one at a time");
                held.fetch_sub(1, Ordering::SeqCst);
                gate.release(epoch);
                1
            }
        };
        let other = thread::spawn(probe(Arc::clone(&gate), Arc::clone(&held)));
        let more = thread::spawn(probe(Arc::clone(&gate), Arc::clone(&held)));
        assert!(other.join().unwrap() + more.join().unwrap() >= 1, "someone got it");
        assert_eq!(gate.used(), 0);
        assert!(gate.claim(DUE).is_some());
    });
}

/// The writer says again what it said (a tick, a latency) while permits come and go: none is lost, none is made.
#[test]
fn saying_the_same_again_keeps_the_permits() {
    explore(|| {
        let gate = published(sign(1, Stand::Open));
        let early = gate.claim(DUE);
        assert_eq!(early, Some(1));
        let writer = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.publish(sign(1, Stand::HalfOpen)))
        };
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.claim(DUE))
        };
        gate.release(1);
        writer.join().unwrap();
        let claimed = other.join().unwrap();
        assert_eq!(u32::from(gate.used()), u32::from(claimed.is_some()));
        assert_eq!(gate.admit(DUE), (if claimed.is_some() { Admission::Busy } else { Admission::Due }, 1));
    });
}

/// A failed probe opens the breaker again while its permit is given back and another thread claims: the earlier permit gives
/// nothing back to the later epoch, and nobody passes before the later period is over.
#[test]
fn a_permit_ends_with_its_epoch() {
    explore(|| {
        let gate = published(sign(1, Stand::HalfOpen));
        assert_eq!(gate.claim(DUE), Some(1));
        let writer = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.publish(sign(2, Stand::Open)))
        };
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.claim(Moment::from_millis(20)))
        };
        gate.release(1);
        writer.join().unwrap();
        assert_ne!(other.join().unwrap(), Some(2), "the later period wasn't over");
        assert_eq!(gate.used(), 0, "what was claimed in the earlier epoch isn't counted any more");
        assert_eq!(gate.published(), (2, Stand::Open, Some(LATER)));
        assert_eq!(gate.claim(LATER), Some(2));
    });
}

/// An operator's order against a claim: whoever claims, does so in the epoch before.
#[test]
fn held_open_lets_nobody_claim() {
    explore(|| {
        let gate = published(sign(1, Stand::HalfOpen));
        let writer = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.publish(Sign { until: None, ..sign(2, Stand::HeldOpen) }))
        };
        let claimed = gate.claim(LATER);
        assert!(matches!(claimed, None | Some(1)));
        writer.join().unwrap();
        claimed.into_iter().for_each(|epoch| gate.release(epoch));
        assert_eq!((gate.admit(LATER), gate.used(), gate.claim(LATER)), ((Admission::Held, 2), 0, None));
    });
}

/// Two threads claim in the same second where probes keep a distance of one.
#[test]
fn a_distance_between_probes_holds_for_all_threads() {
    explore(|| {
        let gate = published(Sign { permits: 2, gap: Duration::from_secs(1), ..sign(1, Stand::HalfOpen) });
        let other = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.claim(DUE))
        };
        let own = gate.claim(DUE);
        assert_eq!(u32::from(own.is_some()) + u32::from(other.join().unwrap().is_some()), 1);
        assert_eq!(gate.claim(DUE.plus(Duration::from_secs(1))), Some(1));
    });
}
