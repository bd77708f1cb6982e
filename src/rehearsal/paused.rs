//! Time as the simulator keeps it, by tokio's clock standing still: exact, and no test waits. Apart from the other tests since
//! it needs tokio's `test-util`.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use super::tests::{chat, chunks, script, simulator, stream};
use super::*;

#[tokio::test(start_paused = true)]
async fn waits_are_the_scripts() {
    let simulator = simulator(script("latency = \"80ms\"\nfirst_token = \"300ms\"\npace = \"10ms\"\ntext = \"a b c d\""));
    let began = Instant::now();
    let mut stream = stream(chat(&simulator, json!({"stream": true})).await);
    assert_eq!(began.elapsed(), Duration::from_millis(80));
    let mut times = Vec::new();
    while stream.next().await.is_some() {
        times.push(began.elapsed().as_millis());
    }
    // role, a, b, c, d, finish, [DONE]
    assert_eq!(times, [80, 380, 390, 400, 410, 410, 410]);
}

#[tokio::test(start_paused = true)]
async fn slow_slows_everything() {
    let simulator =
        simulator(script("latency = \"80ms\"\npace = \"10ms\"\ntext = \"a b c\"\nfaults = [ { kind = \"slow\", factor = 10 } ]"));
    let began = Instant::now();
    chunks(chat(&simulator, json!({"stream": true})).await).await;
    assert_eq!(began.elapsed(), Duration::from_millis(800 + 200));
}

#[tokio::test(start_paused = true)]
async fn a_fault_has_its_window() {
    let simulator = simulator(script("latency = \"0\"\nfaults = [ { kind = \"status\", status = 503, from = \"1s\", to = \"3s\" } ]"));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(chat(&simulator, json!({})).await.status);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert_eq!(seen, [200, 503, 503, 200]);
    // Another script's clock begins anew.
    simulator.set_script(script("latency = \"0\"\nfaults = [ { kind = \"status\", status = 429, to = \"1s\" } ]"));
    assert_eq!(chat(&simulator, json!({})).await.status, 429);
    assert_eq!(simulator.stats(), Stats { calls: 5, served: 5, faulted: 3, ..Stats::default() });
}
