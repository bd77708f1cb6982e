//! `stagedoor demo`: the gateway over three simulated providers in one process. The first one falls sick and heals, again and
//! again, while a few callers of the demo's own go on asking; the terminal shows who serves and how the breakers move.
//!
//! What is shown comes from where an operator would look too: the log's lines and /health's figures.

mod ear;
mod scene;
mod screen;
mod stage;
mod traffic;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::time::{interval, sleep};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use self::ear::News;
use self::scene::Scene;
use self::screen::Screen;
use self::stage::Stage;
use self::traffic::Tally;
use super::failed;
use crate::base::{Secret, duration};
use crate::proxy::Gateway;

/// News that may wait to be shown; more are dropped: somebody is load-testing the demo.
const WAITING_NEWS: usize = 4096;
/// How often a terminal's table is drawn anew; without a terminal a line is printed each second.
const REDRAW: Duration = Duration::from_millis(200);

#[derive(Args, Clone)]
pub(super) struct Options {
    /// The gateway's port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Stop by itself after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// The first provider fails this long after each round's beginning
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    fail_after: Duration,
    /// It heals this long after it has failed; the breakers' times follow from this
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = time)]
    heal_after: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let long_enough = |time: &Duration| *time >= Duration::from_millis(100);
    duration(text).filter(long_enough).ok_or_else(|| "write a time of at least 100ms, such as 500ms or 10s".into())
}

pub(super) fn run(options: &Options) -> ExitCode {
    match actix_rt::System::new().block_on(play(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

type Ended = Result<(), Box<dyn std::error::Error>>;

async fn play(options: &Options) -> Ended {
    let stage = Stage::build(options.port, options.heal_after)?;
    let (tell, news) = mpsc::channel(WAITING_NEWS);
    ear::listen(tell.clone());
    let (address, stopper, gateway) = (stage.app.address(), stage.app.stopper(), stage.app.gateway());
    let mut screen = Screen::open();
    if screen.say(&opening(address, &stage.admin_key)).is_err() {
        return Ok(());
    }
    screen.begin();
    let sick = stage.simulators[0].clone();
    let server = actix_rt::spawn(stage.app.run_until_stopped());
    let tally = Rc::new(Tally::default());
    let mut busy = traffic::start(address, &tally, &tell);
    busy.push(actix_rt::spawn(stage::direct(sick, options.fail_after, options.heal_after, tell)));

    let ended = show(options, &gateway, &tally, news, &mut screen).await;
    busy.iter().for_each(actix_rt::task::JoinHandle::abort);
    screen.close();
    drop(screen);
    stopper.drain().await;
    server.await??;
    ended
}

/// Shows what happens until somebody has seen enough.
async fn show(options: &Options, gateway: &Arc<Gateway>, tally: &Tally, mut news: mpsc::Receiver<News>, screen: &mut Screen) -> Ended {
    let mut scene = Scene::new(gateway, stage::NAMES);
    let mut redraw = interval(REDRAW);
    let mut second = interval(Duration::from_secs(1));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let last = async {
        match options.seconds {
            Some(seconds) => sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(last);
    loop {
        let shown = tokio::select! {
            Some(news) = news.recv() => scene.hear(news).into_iter().try_for_each(|event| screen.event(&event)),
            _ = second.tick() => {
                scene.next_second();
                screen.second(&scene.look(gateway, tally).await)
            }
            _ = redraw.tick(), if screen.is_live() => screen.draw(&scene.look(gateway, tally).await),
            () = &mut last => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        };
        // Nobody reads any more: a closed pipe.
        if shown.is_err() {
            return Ok(());
        }
    }
    let _ = screen.last_words(&scene.look(gateway, tally).await);
    Ok(())
}

fn opening(address: SocketAddr, admin_key: &Secret) -> String {
    let body = format!(r#"{{"model":"{}","messages":[{{"role":"user","content":"Hello"}}]}}"#, stage::MODEL);
    format!(
        "stagedoor {} demo: a gateway on http://{address} over three simulated providers, {}\n  \
         try: curl -i http://{address}/v1/chat/completions -H 'content-type: application/json' -d '{body}'\n  \
         health: http://{address}/health   Ctrl-C ends it\n  \
         dashboard: http://{address}/dashboard   its admin key, of this demo alone: {}\n",
        env!("CARGO_PKG_VERSION"),
        stage::NAMES.join(", "),
        admin_key.expose()
    )
}
