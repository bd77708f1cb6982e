//! The choice among equal targets, as callers meet it: one that falls ill is left alone. How long callers wait, at many rates
//! and with all kinds of latencies, is shown by `routing`'s own tests in virtual time: a busy machine has its own say here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::support::{TestApp, Upstream, answer, status};

const CALLERS: usize = 12;
const WELL: Duration = Duration::from_millis(60);

/// Three equal providers, the third of which can fall ill.
struct Three {
    app: TestApp,
    ill: Arc<AtomicBool>,
    upstreams: [Upstream; 3],
}

impl Three {
    fn new(when_ill: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Self {
        let ill = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ill);
        let well = || {
            Upstream::by(|_| {
                std::thread::sleep(WELL);
                answer("well")
            })
        };
        let third = Upstream::by(move |_| {
            if told.load(Ordering::SeqCst) {
                return when_ill();
            }
            std::thread::sleep(WELL);
            answer("well")
        });
        let upstreams = [well(), well(), third];
        let providers: String = upstreams.iter().enumerate().map(|(n, upstream)| upstream.provider(&format!("p{n}"))).collect();
        let targets = (0..3).map(|n| format!("{{ provider = \"p{n}\", model = \"up\" }}")).collect::<Vec<_>>().join(", ");
        Self { app: TestApp::start(&format!("{providers}[models.m]\ntargets = [{targets}]\n")), ill, upstreams }
    }

    /// Has all callers call for a while; how many calls that made.
    fn call_for(&self, time: Duration) -> usize {
        let (end, calls) = (Instant::now() + time, AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    while Instant::now() < end {
                        let reply = self.app.chat("m");
                        assert_eq!(reply.status, 200, "{}", reply.text());
                        calls.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        calls.into_inner()
    }

    fn third(&self) -> usize {
        self.upstreams[2].count()
    }
}

#[test]
fn one_that_turns_ten_times_slower_is_left_alone() {
    let three = Three::new(|| {
        std::thread::sleep(WELL * 10);
        answer("slow")
    });
    let well = three.call_for(Duration::from_millis(1_500));
    let share = three.third() as f64 / well as f64;
    assert!((0.15..0.55).contains(&share), "{share} while it was well");
    three.ill.store(true, Ordering::SeqCst);
    three.call_for(Duration::from_secs(5));
    let before = three.third();
    let calls = three.call_for(Duration::from_secs(3));
    let sent = three.third() - before;
    println!("{share:.3} of all calls while it was well; after 5 s {sent} of {calls}");
    assert!(sent * 100 <= calls, "{sent} of {calls}");
}

#[test]
fn one_that_fails_fast_gets_no_more_than_its_share() {
    let three = Three::new(|| status(500, "server_error", ""));
    three.call_for(Duration::from_millis(500));
    three.ill.store(true, Ordering::SeqCst);
    let before = three.third();
    let calls = three.call_for(Duration::from_secs(2));
    let sent = three.third() - before;
    println!("{sent} of {calls} calls to the one that fails fast");
    assert!(sent * 3 <= calls, "{sent} of {calls}");
}
