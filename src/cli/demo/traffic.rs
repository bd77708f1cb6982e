//! The demo's own callers: a few, one request at a time each, so that the load is bounded whatever the providers do. They
//! count what a caller would count: a whole answer, or not.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use actix_rt::time::sleep;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::ear::News;
use super::stage::MODEL;

/// How the ids of their requests begin; all others are the visitors'.
pub(super) const OWN: &str = "demo-";

/// Callers of plain answers, and how long each rests between two.
const PLAIN: (u32, Duration) = (2, Duration::from_millis(250));
/// One reads streams.
const STREAMED: (u32, Duration) = (1, Duration::from_millis(2_500));
/// No answer within this is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of an error's text, so much is shown.
const SHOWN: usize = 200;

/// What they got.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests answered whole.
    pub(super) answered: Cell<u64>,
    /// Requests that were not.
    pub(super) failed: Cell<u64>,
}

/// Starts them all.
pub(super) fn start(address: SocketAddr, tally: &Rc<Tally>, tell: &mpsc::Sender<News>) -> Vec<JoinHandle<()>> {
    let callers = [(PLAIN, false), (STREAMED, true)];
    let all = callers.into_iter().flat_map(|((count, rest), stream)| (0..count).map(move |number| (number, rest, stream)));
    all.map(|(number, rest, stream)| actix_rt::spawn(call_on(address, number, rest, stream, Rc::clone(tally), tell.clone()))).collect()
}

async fn call_on(address: SocketAddr, number: u32, rest: Duration, stream: bool, tally: Rc<Tally>, tell: mpsc::Sender<News>) {
    let client = awc::Client::builder().timeout(PATIENCE).finish();
    let kind = if stream { "stream" } else { "plain" };
    // Not all in step.
    sleep(rest / 2 * number).await;
    for turn in 1u64.. {
        match one(&client, address, &format!("{OWN}{kind}-{number}-{turn}"), stream).await {
            Ok(()) => tally.answered.set(tally.answered.get() + 1),
            Err(why) => {
                tally.failed.set(tally.failed.get() + 1);
                let _ = tell.send(News::CallerFailed(why)).await;
            }
        }
        sleep(rest).await;
    }
}

/// One request; Ok if its answer came whole.
async fn one(client: &awc::Client, address: SocketAddr, id: &str, stream: bool) -> Result<(), String> {
    let messages = json!([{ "role": "user", "content": "Is anybody there?" }]);
    let request = client.post(format!("http://{address}/v1/chat/completions")).insert_header(("x-request-id", id));
    let asked = json!({ "model": MODEL, "stream": stream, "messages": messages });
    let mut response = request.send_json(&asked).await.map_err(|error| error.to_string())?;
    let body = response.body().await.map_err(|error| error.to_string())?;
    // awc tells a cut body from a whole one by nothing: the answer's own end has to be there.
    let whole = match stream {
        true => body.ends_with(b"data: [DONE]\n\n"),
        false => serde_json::from_slice::<Value>(&body).is_ok_and(|answer| answer["choices"].is_array()),
    };
    if response.status().is_success() && whole {
        return Ok(());
    }
    let text: String = String::from_utf8_lossy(&body).chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(format!("{} {text}", response.status().as_u16()))
}
