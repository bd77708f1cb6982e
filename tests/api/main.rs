//! The gateway as its users meet it: a real server on port 0, scripted upstreams, the client's bytes, /metrics and /health as
//! witnesses.

mod chat;
mod support;
