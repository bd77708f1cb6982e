//! The stored answers that several gateways share. To be there late is not to be there: the request makes its call. What is kept
//! is sent without anybody waiting for it, so many at once; more than that aren't kept.

use std::rc::Rc;
use std::time::Duration;

use super::super::cache::MOST_PACKED;
use super::Link;
use super::lane::in_time;

/// Answers that may be on their way at once, of one worker.
const KEEPING: usize = 64;

impl Link {
    /// What is kept under a name, if it comes in time and isn't too large to be an answer.
    pub(in crate::proxy) async fn answer(self: &Rc<Self>, name: &str) -> Option<Vec<u8>> {
        if self.answers.is_away() {
            return None;
        }
        let mut connection = self.answers.connection();
        let mut ask = redis::cmd("GETRANGE");
        // Whatever lies there, no more than this is read. One byte more tells what is too large.
        ask.arg(place(name)).arg(0).arg(MOST_PACKED);
        let asked = async { ask.query_async::<Vec<u8>>(&mut connection).await };
        match in_time(asked).await {
            Some(Ok(packed)) => {
                self.answers.answered();
                (!packed.is_empty() && packed.len() <= MOST_PACKED).then_some(packed)
            }
            // Something that isn't text lies there: no answer, and Redis is well.
            Some(Err(error)) if error.code().is_some() => None,
            other => {
                self.lost(|link| &link.answers, other.is_some());
                None
            }
        }
    }

    /// Keeps an answer under a name, for its time.
    pub(in crate::proxy) fn keep_answer(self: &Rc<Self>, name: String, packed: Vec<u8>, ttl: Duration) {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(LONGEST);
        if self.answers.is_away() || self.keeping.get() >= KEEPING || ttl == 0 {
            return;
        }
        self.keeping.set(self.keeping.get() + 1);
        let link = Rc::clone(self);
        actix_rt::spawn(async move {
            let mut keep = redis::cmd("SET");
            keep.arg(place(&name)).arg(packed).arg("PX").arg(ttl);
            // One that isn't there is asked for anew; whether Redis is away the next question shows.
            if let Err(error) = keep.query_async::<()>(&mut link.answers.connection()).await {
                tracing::debug!(%error, "an answer wasn't kept in Redis");
            }
            link.keeping.set(link.keeping.get() - 1);
        });
    }
}

/// Ten years: Redis takes no time that never ends.
const LONGEST: u64 = 10 * 365 * 86_400_000;

fn place(name: &str) -> String {
    format!("stagedoor:answer:{name}")
}
