//! What awc's errors mean in our words: whose fault a call's end was. awc's own kinds aren't enough: a refused connection, a reset
//! and a failed handshake are all `Connect(Io)`, and only whether the connection was fresh tells a stale one from a fault.

use std::io;

use awc::error::{ConnectError, PayloadError, SendRequestError};

use crate::health::Failure;
use crate::proxy::connect::Dialled;

/// Whether the connection ended before a byte of the answer.
pub(super) fn closed(error: &SendRequestError) -> bool {
    match error {
        SendRequestError::Connect(ConnectError::Disconnected) => true,
        SendRequestError::Send(error) | SendRequestError::Connect(ConnectError::Io(error)) => is_close(error.kind()),
        SendRequestError::Response(error) => {
            matches!(error, actix_web::error::ParseError::Io(error) if is_close(error.kind()))
        }
        _ => false,
    }
}

/// Whether the process (EMFILE) or the machine (ENFILE) has no file descriptor left, on Linux and the BSDs alike.
fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24))
}

fn is_close(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// Why a call has no answer's head. `note`: how its connection came about.
pub(super) fn failure(error: &SendRequestError, note: &Dialled, tls: bool) -> Failure {
    let connecting = note.fresh.get() && !note.connected.get();
    match error {
        SendRequestError::Connect(ConnectError::Io(error)) if out_of_descriptors(error) => Failure::NoDescriptor,
        SendRequestError::Connect(ConnectError::Resolver(error)) if error.downcast_ref().is_some_and(out_of_descriptors) => {
            Failure::NoDescriptor
        }
        SendRequestError::Timeout | SendRequestError::Connect(ConnectError::Timeout) => Failure::ConnectTimeout,
        SendRequestError::Connect(ConnectError::Resolver(_) | ConnectError::NoRecords | ConnectError::Unresolved) => Failure::Dns,
        SendRequestError::Connect(ConnectError::Io(error)) if connecting => {
            if error.kind() == io::ErrorKind::TimedOut {
                Failure::ConnectTimeout
            } else {
                Failure::Connect
            }
        }
        // The socket stood: what failed on it before the request was the handshake. A close says nothing of certificates.
        SendRequestError::Connect(ConnectError::Io(error)) if tls && !is_close(error.kind()) => Failure::Tls,
        SendRequestError::Connect(_) | SendRequestError::Send(_) => Failure::ResetBeforeHead,
        SendRequestError::Response(actix_web::error::ParseError::TooLarge) => Failure::TooLarge,
        SendRequestError::Response(actix_web::error::ParseError::Io(_) | actix_web::error::ParseError::Incomplete) => {
            Failure::ResetBeforeHead
        }
        _ => Failure::Malformed,
    }
}

/// Why a body ended before its end.
pub(super) fn in_body(error: &PayloadError) -> Failure {
    match error {
        PayloadError::Overflow => Failure::TooLarge,
        PayloadError::EncodingCorrupted => Failure::Malformed,
        _ => Failure::ResetInBody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_without_a_descriptor_is_the_gateways_own_failure() {
        let fresh = Dialled::default();
        fresh.fresh.set(true);
        let connecting = |code| SendRequestError::Connect(ConnectError::Io(io::Error::from_raw_os_error(code)));
        let resolving = |code| SendRequestError::Connect(ConnectError::Resolver(Box::new(io::Error::from_raw_os_error(code))));
        for (code, dial, name) in [
            (23, Failure::NoDescriptor, Failure::NoDescriptor),
            (24, Failure::NoDescriptor, Failure::NoDescriptor),
            (111, Failure::Connect, Failure::Dns),
        ] {
            assert_eq!(failure(&connecting(code), &fresh, false), dial, "{code}");
            assert_eq!(failure(&resolving(code), &fresh, false), name, "{code}");
        }
    }
}
