//! The inference endpoints: extract, run along the chain, respond.

pub(super) mod chat;
pub(super) mod models;
