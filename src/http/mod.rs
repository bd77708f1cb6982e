//! The edge: what callers and operators see. Handlers are short and alike: extract, run, respond; every fault takes its wire
//! shape in `error`.

mod admin;
mod auth;
mod body;
mod cors;
mod dashboard;
mod error;
mod farewell;
mod health;
mod inference;
mod metrics;
mod openapi;
mod respond;
mod route;
mod routes;
mod secure;
mod session;

pub use cors::cors;
pub use farewell::{Farewell, heed};
pub use route::explained;
pub use routes::{Plane, configure};
pub use secure::Door;
