//! What an upstream's refusal means, and whether its caller may see it.

use std::time::Duration;

use super::{Attempt, Failing, describe};
use crate::dialect::fault::{Refused, refused};
use crate::dialect::scan::error_parts;
use crate::dialect::{Quota, retry_after_in};
use crate::health::Outcome;
use crate::proxy::client::Response;
use crate::proxy::fault::Fault;

/// Of a refusal's body this much is read: to tell what it means, or to pass it on.
pub(super) const MOST_OF_A_REFUSAL: usize = 1 << 20;
/// A refusal's body has this long.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

impl Attempt<'_> {
    pub(super) async fn refusal(&mut self, mut response: Response) -> Failing {
        let wall = self.worker.gateway.clock.wall();
        let (status, head) = (response.status, &response.head);
        // For a 429 alone: what is said of limits comes with every answer.
        let wait = head.wait(wall).or_else(|| head.quota().filter(|_| status == 429)?.wait(wall));
        let whole_key = head.quota().is_some_and(Quota::whole_key);
        let content_type = response.head.content_type().map(str::to_owned);
        // What it means may be told by the status alone: a body that doesn't come is no further failure.
        let body = self.read(&mut response, MOST_OF_A_REFUSAL, REFUSAL_TIME).await.unwrap_or_default();
        let wait = wait.or_else(|| if status == 429 { retry_after_in(&body) } else { None });
        let parts = error_parts(&body);
        let outcome = refused(&Refused { status, wait, whole_key, parts: &parts, codes: self.codes() });
        let outcome = self.of_endpoint(status, outcome);
        let passed = matches!(outcome, Outcome::CallerFault | Outcome::TooLong).then(|| match &self.foreign {
            None => Fault::PassedOn { status, content_type, body: body.clone() },
            Some(foreign) => Fault::PassedOn { status, content_type: None, body: foreign.refusal(status, &parts) },
        });
        let message = match &outcome {
            Outcome::RateLimited { .. } => format!("rate-limited it ({status})"),
            Outcome::KeyFault { .. } => format!("refused the gateway's key ({status})"),
            Outcome::ModelMissing => format!("says that it has no such model ({status})"),
            Outcome::TooLong => format!("says that the request is too long ({status})"),
            Outcome::CallerFault => format!("refused the request ({status})"),
            Outcome::Transient(failure) => describe(*failure),
            Outcome::Ok | Outcome::Abandoned => format!("answered {status}"),
        };
        Failing { outcome, message, passed, usage_unwanted: self.is_usage_unwanted(status, &body) }
    }

    /// Whether a refusal is about the question for the usage, and the caller didn't ask it. Then it is no longer asked there.
    fn is_usage_unwanted(&self, status: u16, body: &[u8]) -> bool {
        let scan = &self.request.scan;
        let names_it = || memchr::memmem::find(body, b"stream_options").is_some();
        let upstream = self.worker.upstream(self.ongoing.taken.target.provider.place);
        let unwanted = scan.stream && scan.stream_options.is_none() && matches!(status, 400 | 422) && names_it();
        unwanted && upstream.is_some_and(|upstream| upstream.stop_asking_usage())
    }
}
