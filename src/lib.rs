//! Stagedoor: an AI gateway with one OpenAI-compatible door to every model.
//!
//! Each upstream provider is an actor that tracks its own failures and latency as a circuit breaker; a router actor per
//! HTTP worker picks the healthiest target along the model's failover chain; the answer is proxied and streamed back
//! through awc. The floors of the house, lowest first (a file imports from its own floor or any below):
//! `base`, `health`, `access`, `routing`, `tuning`, `stream`, `dialect`, `ledger` (pure: no clock, no I/O), then `clock`,
//! `machine`, `telemetry`, `settings`, `store` and `rehearsal`, `actors`, `proxy`, `http`, `app`, `cli`.

#![warn(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::print_stdout)]

pub mod access;
pub mod actors;
pub mod app;
pub mod base;
pub mod cli;
pub mod clock;
#[cfg(test)]
mod corpus;
pub mod dialect;
pub mod health;
pub mod http;
pub mod ledger;
pub mod machine;
pub mod proxy;
pub mod rehearsal;
pub mod routing;
pub mod settings;
pub mod sim;
pub mod store;
pub mod stream;
pub mod telemetry;
pub mod tuning;
