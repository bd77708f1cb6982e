//! `stagedoor serve`: boots, says what it serves, and drains on SIGTERM or SIGINT.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use actix::Addr;
use tokio::signal::unix::{SignalKind, signal};

use super::check::label;
use super::{CANT_RUN, failed, settings};
use crate::actors::{Cause, Reload, Reloader};
use crate::app::{App, Parts, Stopper};
use crate::clock::random_key;
use crate::settings::{LogForm, NoteKind, Settings};
use crate::telemetry::trace;

pub(super) fn run(file: Option<PathBuf>) -> ExitCode {
    let Some((settings, source)) = settings(file) else { return ExitCode::from(CANT_RUN) };
    let level = source.variable("STAGEDOOR_LOG");
    let log = Arc::new(trace::start(settings.telemetry.log == LogForm::Json, level.as_deref()));
    raise_descriptor_limit(&settings);
    let (banner, scheme) = (banner(&settings), if settings.server.tls.is_some() { "https" } else { "http" });
    let watched = Arc::clone(&log).watch();
    let ran = actix_rt::System::new().block_on(async move {
        actix_rt::spawn(watched);
        for note in &settings.notes {
            match note.kind {
                NoteKind::Warning => tracing::warn!(path = note.path, "{}", note.message),
                NoteKind::NoEffectYet | NoteKind::LeftOut => tracing::info!(path = note.path, "{}: {}", label(note.kind), note.message),
            }
        }
        if source.variable("HTTPS_PROXY").or(source.variable("https_proxy")).is_some() {
            tracing::warn!("HTTPS_PROXY is set, but not used: upstreams are called directly");
        }
        // Only whoever is at the terminal may see it: a log is read by others.
        let admin_key = (settings.admin.key.is_none() && std::io::stdout().is_terminal()).then(random_key);
        let app = App::build(settings, Parts { source: Some(source), admin_key: admin_key.clone(), ..Parts::default() })?;
        let operators = app.admin_address().unwrap_or(app.address());
        println!("{}", listening(scheme, app.address()));
        println!(
            "{}",
            banner.replace("{address}", &from_here(scheme, app.address())).replace("{operators}", &from_here(scheme, operators))
        );
        if let Some(key) = admin_key {
            println!("  admin key of this start, since admin.key names none: {}", key.expose());
        }
        actix_rt::spawn(stop_on_signals(app.stopper(), app.reloader()));
        app.run_until_stopped().await
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Where it listens, and who that lets in: an address that stands for all of the machine's says so.
fn listening(scheme: &str, address: SocketAddr) -> String {
    let line = format!("stagedoor {} listens on {scheme}://{address}", env!("CARGO_PKG_VERSION"));
    let all = match address.ip() {
        ip if !ip.is_unspecified() => return line,
        IpAddr::V4(_) => "every IPv4 address of this machine, so the network reaches it",
        IpAddr::V6(_) => "every address of this machine, so the network reaches it",
    };
    format!("{line}\n  that is {all}; from the machine itself: {}", from_here(scheme, address))
}

/// An address that a client on this machine can use.
fn from_here(scheme: &str, address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{scheme}://{}", SocketAddr::new(ip, address.port()))
}

fn banner(settings: &Settings) -> String {
    let mut lines = Vec::new();
    for provider in settings.providers.values() {
        let keys: Vec<_> = provider.keys.iter().map(|key| key.name.as_str()).collect();
        let keys = if keys.is_empty() { "no key".to_owned() } else { keys.join(", ") };
        lines.push(format!("  {}: {} ({keys})", provider.name, provider.base_url));
    }
    if settings.rehearsing {
        let names: Vec<_> = settings.left_out.values().flatten().map(String::as_str).collect();
        lines.push("  No provider has a key, so the rehearsal provider (a simulated upstream) answers for every model.".into());
        lines.push(format!("  Set one of {} and restart (or put it into .env) to reach the real ones.", names.join(", ")));
    }
    let names = || settings.models.keys().filter(|name| !name.contains('*'));
    let model = names().find(|name| *name == "gpt-4o").or_else(|| names().next()).map_or("MODEL", String::as_str);
    let key = if settings.auth.keys.is_empty() { "" } else { " -H \"authorization: Bearer $KEY\"" };
    lines.push(format!(
        "  try: curl {{address}}/v1/chat/completions -H 'content-type: application/json'{key} -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    ));
    lines.push(
        "  health: {address}/health   models: {address}/v1/models   metrics: {operators}/metrics   dashboard: {operators}/dashboard".into(),
    );
    lines.join("\n")
}

/// As many descriptors as the system allows; a stream needs two.
fn raise_descriptor_limit(settings: &Settings) {
    let Ok(limit) = rlimit::increase_nofile_limit(u64::MAX) else {
        tracing::warn!("the descriptor limit can't be raised");
        return;
    };
    let wanted = 2 * settings.server.max_streams as u64;
    if limit < wanted {
        let fitting = limit / 2;
        tracing::warn!(
            limit,
            fitting,
            "server.max_streams needs {wanted} descriptors (one to the caller, one upstream each); raise `ulimit -n` or lower it"
        );
    }
}

/// Waits for a SIGTERM or SIGINT; for ever where signals can't be received.
pub(super) async fn stop_signal() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The first SIGTERM or SIGINT drains, a second SIGINT stops at once.
/// SIGHUP has the settings read again.
pub(super) async fn stop_on_signals(stopper: Stopper, reloader: Addr<Reloader>) {
    let (Ok(mut term), Ok(mut int), Ok(mut hup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        tracing::error!("signals can't be received: stop it by kill -9");
        return;
    };
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => reloader.do_send(Reload(Cause::Signal)),
        }
    }
    let drained = stopper.clone();
    tokio::select! {
        () = drained.drain() => {}
        _ = int.recv() => stopper.stop().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_stands_for_all_is_told_as_such_with_one_to_use() {
        for (address, from_here_on, all) in [
            ("0.0.0.0:8000", "http://127.0.0.1:8000", Some("every IPv4 address")),
            ("[::]:8000", "http://[::1]:8000", Some("every address")),
            ("127.0.0.1:8000", "http://127.0.0.1:8000", None),
            ("[::1]:8000", "http://[::1]:8000", None),
            ("10.0.0.1:80", "http://10.0.0.1:80", None),
        ] {
            let (text, address) = (address, address.parse().unwrap());
            assert_eq!(from_here("http", address), from_here_on);
            let told = listening("https", address);
            assert!(told.contains(&format!("listens on https://{text}")), "{told}");
            assert_eq!(told.lines().count(), 1 + all.iter().count());
            assert!(all.is_none_or(|all| told.contains(all)), "{told}");
        }
    }
}
