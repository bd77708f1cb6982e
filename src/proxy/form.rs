//! A form on its way to an upstream: the caller's own bytes but for the model's name, in three slices, so that a file of any size
//! is held once, however often it is sent.

use std::convert::Infallible;

use actix_web::http::header::HeaderValue;
use awc::body::SizedStream;
use bytes::Bytes;
use futures_util::stream::{self, Stream};

use crate::dialect::scan::Scan;

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Form {
    /// The caller's own: it names the boundary.
    pub(super) content_type: HeaderValue,
    pieces: [Bytes; 3],
}

impl Form {
    /// A form's body for a target that calls the model so. `scan` must be this body's.
    pub(super) fn new(body: &Bytes, scan: &Scan, upstream_model: &str, content_type: &HeaderValue) -> Self {
        let span = scan.model.span.clone();
        let model = Bytes::copy_from_slice(upstream_model.as_bytes());
        Self { content_type: content_type.clone(), pieces: [body.slice(..span.start), model, body.slice(span.end..)] }
    }

    /// As a body of a known length.
    pub(super) fn body(&self) -> SizedStream<impl Stream<Item = Result<Bytes, Infallible>> + use<>> {
        let length: usize = self.pieces.iter().map(Bytes::len).sum();
        SizedStream::new(length as u64, stream::iter(self.pieces.clone().map(Ok)))
    }

    /// In one piece.
    pub(super) fn joined(&self) -> Bytes {
        self.pieces.concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::scan::form;

    #[test]
    fn only_the_models_name_is_another() {
        let text = "--X\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--X--";
        let (body, kind) = (Bytes::from(text), HeaderValue::from_static("multipart/form-data; boundary=X"));
        let scan = form(&body, kind.to_str().unwrap()).unwrap();
        let sent = Form::new(&body, &scan, "whisper-1", &kind);
        assert_eq!(sent.joined(), text.replace("\r\n\r\nm\r\n", "\r\n\r\nwhisper-1\r\n"));
        assert_eq!(sent.pieces[2].as_ptr(), body[scan.model.span.end..].as_ptr(), "not copied");
    }
}
