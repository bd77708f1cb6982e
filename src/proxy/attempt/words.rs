//! How a call's end reads, in words without secrets, to follow a target's name.

use crate::health::{Failure, Outcome};

/// The same of any end of a stream.
pub(in crate::proxy) fn message_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Transient(failure) => describe(*failure),
        Outcome::RateLimited { .. } => "says in its answer that it is rate-limited".into(),
        Outcome::KeyFault { .. } => "says in its answer that the gateway's key is refused".into(),
        Outcome::Ok | Outcome::TooLong | Outcome::CallerFault | Outcome::ModelMissing | Outcome::Abandoned => outcome.label().into(),
    }
}

/// A failure in words without secrets, to follow a target's name.
pub(in crate::proxy) fn describe(failure: Failure) -> String {
    let text = match failure {
        Failure::Connect => "can't be connected to",
        Failure::Dns => "has a host name that can't be resolved",
        Failure::Tls => "failed the TLS handshake (certificate or protocol)",
        Failure::ConnectTimeout => "took longer to connect to than timeouts.connect",
        Failure::ResetBeforeHead => "closed the connection before it answered",
        Failure::ResetInBody => "closed the connection inside its answer",
        Failure::Status(status) | Failure::StatusLater(status) => return format!("answered {status}"),
        Failure::HeadTimeout => "sent no answer within timeouts.first_byte",
        Failure::FirstTokenTimeout => "sent no content within timeouts.first_token",
        Failure::IdleTimeout => "fell silent inside its answer for longer than timeouts.idle",
        Failure::TotalTimeout => "took longer than timeouts.total allows it",
        Failure::Truncated => "ended its answer too early",
        Failure::Malformed => "sent an answer that can't be read",
        Failure::ErrorBody => "sent an error in place of an answer",
        Failure::Redirect => "answered with a redirect, which is never followed",
        Failure::ContentType => "sent a content type that is no answer",
        Failure::TooLarge => "sent more than the gateway's limits allow",
        Failure::WrongPlace => "doesn't know the path: check its base_url",
        Failure::NotOffered => "doesn't offer this endpoint for this model",
        Failure::NoDescriptor => "couldn't be called: the gateway has no file descriptor left",
    };
    text.into()
}
