//! A connection's last answer: behind a request or an answer that says `connection: close` nothing more is done for whoever sends
//! on (RFC 9112, 9.6). actix reads ahead, takes the last head that it has read for the connection's, and would serve what stands
//! behind as if nothing had been said: calls that nobody may hear the answer of, but that somebody pays for.
//!
//! actix writes chunks to HTTP/1.0, too, and they stay: proxies read them, and to those an answer that ended with its connection
//! would look whole where it was cut.

use std::cell::Cell;
use std::future::Future;

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Version};

/// Of a connection: whether its last answer is on its way.
#[derive(Debug, Default)]
pub struct Farewell(Cell<bool>);

/// Serves what comes before a connection's last answer; that says so, too. What comes behind is refused unread: with nothing but a
/// status, since whoever keeps to the rules doesn't read on.
pub fn heed<S, B>(request: ServiceRequest, service: &S) -> impl Future<Output = Result<ServiceResponse, actix_web::Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let is_over = request.conn_data::<Farewell>().is_some_and(|farewell| farewell.0.get());
    let is_last = is_over || request.head().connection_type() == ConnectionType::Close;
    let served = if is_over { Err(request) } else { Ok(service.call(request)) };
    async move {
        let mut answer = match served {
            Ok(answer) => answer.await?.map_into_boxed_body(),
            Err(request) => request.into_response(HttpResponse::BadRequest().finish()),
        };
        let head = answer.response_mut().head_mut();
        // actix uses heads again and leaves the version of the answer before in them, until it sends them: after one of HTTP/1.0 each
        // would pass for a connection's last.
        head.version = Version::HTTP_11;
        if is_last {
            head.set_connection_type(ConnectionType::Close);
        }
        if head.connection_type() == ConnectionType::Close
            && let Some(farewell) = answer.request().conn_data::<Farewell>()
        {
            farewell.0.set(true);
        }
        Ok(answer)
    }
}
