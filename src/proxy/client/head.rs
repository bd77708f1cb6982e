//! What the gateway reads of an answer's head, once and in one pass; nothing else of it reaches anyone.

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::dialect::{Quota, Waits, retry_after};

// Ready as names: looking one up by its text would check and copy it in each call.
static RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
static X_MS_RETRY_AFTER_MS: HeaderName = HeaderName::from_static("x-ms-retry-after-ms");

/// See the module's text.
#[derive(Debug, Default)]
pub struct Head {
    content_type: Option<HeaderValue>,
    content_length: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    retry_after: Option<HeaderValue>,
    retry_after_ms: Option<HeaderValue>,
    x_ms_retry_after_ms: Option<HeaderValue>,
    quota: Option<Box<Quota>>,
}

impl Head {
    pub(super) fn read(headers: &HeaderMap) -> Self {
        // One look at each header: six look-ups by name would cost more.
        let mut head = Self::default();
        for (name, value) in headers {
            let place = match name {
                name if *name == header::CONTENT_TYPE => &mut head.content_type,
                name if *name == header::CONTENT_LENGTH => &mut head.content_length,
                name if *name == header::CONTENT_ENCODING => &mut head.content_encoding,
                name if *name == header::RETRY_AFTER => &mut head.retry_after,
                name if *name == X_MS_RETRY_AFTER_MS => &mut head.x_ms_retry_after_ms,
                name if *name == RETRY_AFTER_MS => &mut head.retry_after_ms,
                name => {
                    if Quota::concerns(name.as_str())
                        && let Ok(value) = value.to_str()
                    {
                        head.quota.get_or_insert_default().note(name.as_str(), value);
                    }
                    continue;
                }
            };
            // Of several the first holds.
            place.get_or_insert_with(|| value.clone());
        }
        head
    }

    /// Its content type.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_ref()?.to_str().ok()
    }

    /// Whether it announces JSON.
    pub fn is_json(&self) -> bool {
        self.content_type().is_some_and(|kind| kind.contains("json"))
    }

    /// Whether it announces events.
    pub fn is_events(&self) -> bool {
        self.content_type().is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// Whether it announces a page for people.
    pub fn is_html(&self) -> bool {
        self.content_type().is_some_and(|kind| kind.contains("html"))
    }

    /// The body's length as promised; None where it is chunked or was decoded.
    pub fn promised(&self) -> Option<usize> {
        let counted = self.content_length.as_ref().filter(|_| self.content_encoding.is_none());
        counted?.to_str().ok()?.trim().parse().ok()
    }

    /// Whether its encoding is one that awc has decoded, or none.
    pub fn is_readable(&self) -> bool {
        let Some(encoding) = &self.content_encoding else { return true };
        matches!(encoding.as_bytes(), b"" | b"identity" | b"gzip" | b"x-gzip" | b"deflate")
    }

    /// What it says of its key's limits; None where it says nothing.
    pub fn quota(&self) -> Option<&Quota> {
        self.quota.as_deref()
    }

    /// The wait that it asks for.
    pub fn wait(&self, wall: Duration) -> Option<Duration> {
        let text = |value: &'_ Option<HeaderValue>| value.as_ref().and_then(|v| v.to_str().ok().map(str::to_owned));
        let millis = text(&self.retry_after_ms).or_else(|| text(&self.x_ms_retry_after_ms));
        let after = text(&self.retry_after);
        retry_after(Waits { millis: millis.as_deref(), after: after.as_deref() }, wall)
    }
}
