//! Why a stream ends with an error after its head went out. How each dialect says so is the edge's to know: it has the table of
//! errors.

use bytes::Bytes;

use super::fault::Fault;
use super::resume::Unreadable;
use crate::dialect::Wire;

/// Why a stream ends with an error.
pub enum StreamError<'a> {
    /// No target could serve it, and nothing but heartbeats went before.
    Fault(&'a Fault),
    /// It broke after its first content, and nobody goes on.
    Broken {
        /// What happened, in words without secrets.
        message: &'a str,
        /// It came too late, rather than not at all.
        timeout: bool,
    },
    /// This reader of it can't go on.
    Unreadable(Unreadable),
    /// Its caller ended it, on another connection.
    Stopped,
}

/// Writes the event that says so in a dialect, behind so many events.
pub type ErrorEvent = fn(Wire, &StreamError<'_>, u64) -> Bytes;
