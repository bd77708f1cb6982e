//! A provider's awc client on one worker, with the connections that it keeps for the next call.
//!
//! awc looks at those it keeps only when it wants one: what a burst left behind would stay open, each with its file descriptor,
//! until another call came, however much later. A client that nobody has called for a while is put away with all of them; to
//! calls under way it stays what it was.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use awc::http::Version;

use super::connect::Dial;
use super::transport::Line;
use super::worker::Desk;

/// How long an unused connection is kept for the next call.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a connection may be used at all: names move.
const LIFETIME: Duration = Duration::from_secs(600);

/// See the module's text.
pub(super) struct Pool {
    line: Arc<Line>,
    client: RefCell<awc::Client>,
    /// A call was made since it was last tidied.
    called: Cell<bool>,
    /// A call was made since the client is there.
    used: Cell<bool>,
}

impl Pool {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        Self { line: Arc::clone(line), client: RefCell::new(client(line)), called: Cell::default(), used: Cell::default() }
    }

    /// Whether it is for this line.
    pub(super) fn is_of(&self, line: &Arc<Line>) -> bool {
        Arc::ptr_eq(&self.line, line)
    }

    /// The client, for one call.
    pub(super) fn client(&self) -> Ref<'_, awc::Client> {
        self.called.set(true);
        self.client.borrow()
    }

    /// Puts the client away where it was used, but not since the last time that this was done.
    pub(super) fn tidy(&self) {
        if self.called.take() {
            self.used.set(true);
        } else if self.used.take() {
            self.client.replace(client(&self.line));
        }
    }
}

fn client(line: &Line) -> awc::Client {
    let connector = awc::Connector::new()
        .connector(Dial::new(Arc::clone(&line.names)))
        .max_http_version(Version::HTTP_11)
        .rustls_0_23(Arc::clone(&line.tls))
        // Our own connector keeps the connect clock; this one only has to be later.
        .timeout(line.connect + Duration::from_secs(1))
        .handshake_timeout(line.connect)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME)
        .limit(0);
    awc::Client::builder().connector(connector).disable_redirects().disable_timeout().no_default_headers().finish()
}

/// Has this worker's unused connections closed, from now on, until its thread ends.
pub fn tidy(desk: &Rc<Desk>) {
    let desk = Rc::clone(desk);
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(KEEP_ALIVE).await;
            desk.worker().tidy();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn connections_of_a_client_that_nobody_calls_are_closed_and_others_stay() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut calls = 0;
            while let Ok(1..) = stream.read(&mut [0; 1024]) {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
                calls += 1;
            }
            calls
        });
        let pool = Pool::new(&Line::plain());
        for _ in 0..3 {
            let call = pool.client().get(&uri).send();
            assert_eq!(call.await.unwrap().body().await.unwrap(), "hi");
            pool.tidy();
        }
        pool.tidy();
        // awc closes it in a task of its own.
        let calls = actix_rt::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
        assert_eq!(calls, 3, "by one connection, until nobody called");
    }
}
