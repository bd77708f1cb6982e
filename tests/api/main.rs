//! The gateway as its users meet it: a real server on port 0, scripted upstreams, the client's bytes, /metrics and /health as
//! witnesses.

#![allow(clippy::disallowed_methods, reason = "these tests live in real time")]

mod acceptance;
mod actors;
mod admin;
mod auth;
mod azure;
mod breaker;
mod cache;
mod chat;
#[path = "../corpus/mod.rs"]
mod corpus;
mod dashboard;
mod dialects;
mod durability;
mod endpoints;
mod failover;
mod faults_answer;
mod faults_caller;
mod faults_connect;
mod faults_request;
mod faults_stream;
mod gemini;
mod gemini_callers;
mod grafana;
mod hedging;
mod keys;
mod ledger;
mod ledger_counts;
mod ledger_export;
mod limits;
mod mending;
mod messages;
mod metrics;
mod metrics_moved;
mod picking;
mod pools;
mod prices;
mod probes;
mod process;
mod recovery;
mod reload;
mod resume;
mod retries;
mod route;
mod shared;
mod shedding;
mod support;
mod surface;
mod traffic;
mod tune;
mod usage;
mod vendors;
mod virtual_keys;
mod wrong_keys;
