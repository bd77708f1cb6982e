//! A provider's awc clients on one worker, with the connections that they keep for the next call.
//!
//! An awc client takes turns among the connections that it keeps: after a burst each call would go by one that is long cold,
//! in this process and in the upstream's, and none would ever be old enough to be closed. So calls that begin while few are
//! under way have clients of their own, with about as many connections: few calls always go by few, and warm, connections.
//!
//! awc looks at those it keeps only when it wants one: what a burst left behind would stay open, each with its file descriptor,
//! until another call came, however much later. A client that nobody has called for a while is put away with all of them; to
//! calls under way it stays what it was.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use awc::error::FreezeRequestError;
use awc::http::header::HeaderMap;
use awc::http::{Method, Uri, Version};
use awc::{ClientRequest, FrozenClientRequest};

use super::apart::Apart;
use super::connect::Dial;
use super::transport::Line;
use super::worker::Desk;

/// How long an unused connection is kept for the next call.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a connection may be used at all: names move.
const LIFETIME: Duration = Duration::from_secs(600);
/// Clients: for a call beside no other, beside one, beside two or three, beside four to seven, and beside more. Each keeps its own connections, so more clients would
/// mean more connections that wait.
const CLIENTS: usize = 5;

/// See the module's text.
pub(super) struct Pool {
    line: Arc<Line>,
    /// One for all, with its bound on look-ups.
    dial: Dial,
    clients: [Kept; CLIENTS],
    under_way: Rc<Cell<usize>>,
    apart: Apart,
    /// Callers that were told apart.
    callers: Cell<u64>,
}

/// A client, once it was wanted.
#[derive(Default)]
struct Kept {
    client: RefCell<Option<Client>>,
    /// A call was made since it was last tidied.
    called: Cell<bool>,
}

struct Client {
    awc: awc::Client,
    /// Heads that were made ready, each by whose it is.
    ready: Vec<(Whose, FrozenClientRequest)>,
}

/// Whose head it is: the caller by the number that [`Pool::caller`] gave out, and its key's place.
pub(super) type Whose = (u64, Option<usize>);

/// A call under way, until its body is read or nobody wants it any more.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Cell<usize>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Pool {
    pub(super) fn new(line: &Arc<Line>) -> Self {
        let dial = Dial::new(Arc::clone(&line.names));
        Self {
            line: Arc::clone(line),
            dial,
            clients: Default::default(),
            under_way: Rc::default(),
            apart: Apart::default(),
            callers: Cell::default(),
        }
    }

    /// A number for one whose heads differ from all others'.
    pub(super) fn caller(&self) -> u64 {
        self.callers.set(self.callers.get() + 1);
        self.callers.get()
    }

    /// Whether it is for this line.
    pub(super) fn is_of(&self, line: &Arc<Line>) -> bool {
        Arc::ptr_eq(&self.line, line)
    }

    /// A request for one call, and what to hold for as long as that takes.
    pub(super) fn request(&self, method: Method, uri: Uri) -> (ClientRequest, UnderWay) {
        self.call(|client| client.awc.request(method, uri))
    }

    /// The same for what is asked again and again: a POST whose head is made ready once for each client, and goes out with each body.
    /// `head` fills it; `send` is handed it.
    ///
    /// # Errors
    /// Where the address is none that can be called.
    pub(super) fn usual<T>(
        &self,
        whose: Whose,
        uri: &Uri,
        head: impl FnOnce(&mut HeaderMap),
        send: impl FnOnce(&FrozenClientRequest) -> T,
    ) -> Result<(T, UnderWay), FreezeRequestError> {
        let (sent, under_way) = self.call(|Client { awc, ready }| -> Result<T, FreezeRequestError> {
            if let Some((_, request)) = ready.iter().find(|(other, _)| *other == whose) {
                return Ok(send(request));
            }
            let mut request = awc.request(Method::POST, uri.clone());
            head(request.headers_mut());
            let request = request.freeze()?;
            let sent = send(&request);
            // Whoever came before has other keys or headers, and calls no more.
            ready.retain(|((caller, _), _)| *caller == whose.0);
            ready.push((whose, request));
            Ok(sent)
        });
        Ok((sent?, under_way))
    }

    /// By the client that is next, and what to hold for as long as the call takes.
    fn call<T>(&self, by: impl FnOnce(&mut Client) -> T) -> (T, UnderWay) {
        let beside = self.under_way.replace(self.under_way.get() + 1);
        let under_way = UnderWay(Rc::clone(&self.under_way));
        let kept = &self.clients[(usize::BITS - beside.leading_zeros()).min(CLIENTS as u32 - 1) as usize];
        kept.called.set(true);
        let called = by(kept.client.borrow_mut().get_or_insert_with(|| client(&self.line, &self.dial)));
        (called, under_way)
    }

    /// Where awc's own part of its calls runs.
    pub(super) fn apart(&self) -> &Apart {
        &self.apart
    }

    /// Puts those clients away that nobody has called since the last time that this was done.
    pub(super) fn tidy(&self) {
        self.apart.renew();
        for kept in &self.clients {
            if !kept.called.take() {
                kept.client.take();
            }
        }
    }
}

fn client(line: &Line, dial: &Dial) -> Client {
    let connector = awc::Connector::new()
        .connector(dial.clone())
        .max_http_version(Version::HTTP_11)
        .rustls_0_23(Arc::clone(&line.tls))
        // Our own connector keeps the connect clock; this one only has to be later.
        .timeout(line.connect + Duration::from_secs(1))
        .handshake_timeout(line.connect)
        .conn_keep_alive(KEEP_ALIVE)
        .conn_lifetime(LIFETIME)
        .limit(0);
    let awc = awc::Client::builder().connector(connector).disable_redirects().disable_timeout().no_default_headers().finish();
    Client { awc, ready: Vec::new() }
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
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::*;

    /// An upstream that answers everything; how many calls each of its connections carried, in the order they came.
    struct Counting {
        uri: Uri,
        calls: Arc<Mutex<Vec<usize>>>,
    }

    impl Counting {
        fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
            let calls = Arc::<Mutex<Vec<usize>>>::default();
            let shared = Arc::clone(&calls);
            std::thread::spawn(move || {
                for (place, stream) in listener.incoming().enumerate() {
                    let (mut stream, calls) = (stream.unwrap(), Arc::clone(&shared));
                    calls.lock().unwrap().push(0);
                    std::thread::spawn(move || {
                        while let Ok(1..) = stream.read(&mut [0; 1024]) {
                            calls.lock().unwrap()[place] += 1;
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
                        }
                        calls.lock().unwrap()[place] += CLOSED;
                    });
                }
            });
            Self { uri, calls }
        }

        fn calls(&self) -> Vec<usize> {
            self.calls.lock().unwrap().clone()
        }
    }

    /// What is added once a connection is closed.
    const CLOSED: usize = 1000;

    async fn call(pool: &Pool, uri: &Uri) {
        let (request, _under_way) = pool.request(Method::GET, uri.clone());
        assert_eq!(request.send().await.unwrap().body().await.unwrap(), "hi");
    }

    #[actix_rt::test]
    async fn connections_of_a_client_that_nobody_calls_are_closed_and_others_stay() {
        let upstream = Counting::start();
        let pool = Pool::new(&Line::plain());
        for _ in 0..3 {
            call(&pool, &upstream.uri).await;
            pool.tidy();
        }
        assert_eq!(upstream.calls(), [3], "by one connection");
        pool.tidy();
        // awc closes it in a task of its own.
        while upstream.calls() != [3 + CLOSED] {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[actix_rt::test]
    async fn after_a_burst_calls_one_by_one_go_by_one_connection() {
        let upstream = Counting::start();
        let pool = Pool::new(&Line::plain());
        join_all((0..40).map(|_| call(&pool, &upstream.uri))).await;
        assert_eq!(upstream.calls().iter().sum::<usize>(), 40);
        let before = upstream.calls();
        for _ in 0..10 {
            call(&pool, &upstream.uri).await;
        }
        let more: Vec<usize> = upstream.calls().iter().zip(before).map(|(now, before)| now - before).filter(|more| *more > 0).collect();
        assert_eq!(more, [10], "none of the others' turn came");
        assert_eq!(pool.under_way.get(), 0);
    }

    #[actix_rt::test]
    async fn a_usual_calls_head_is_made_once_for_each_client_and_goes_with_it() {
        let (upstream, made) = (Counting::start(), Cell::new(0));
        let pool = Pool::new(&Line::plain());
        let calls_until_now = async |whose: Whose| {
            let head = |_: &mut HeaderMap| made.set(made.get() + 1);
            let (sent, _under_way) = pool.usual(whose, &upstream.uri, head, |request| request.send_body("{}")).unwrap();
            assert_eq!(sent.await.unwrap().body().await.unwrap(), "hi");
            made.get()
        };
        let (first, second) = (pool.caller(), pool.caller());
        assert_eq!([calls_until_now((first, None)).await, calls_until_now((first, None)).await], [1, 1]);
        assert_eq!([calls_until_now((first, Some(0))).await, calls_until_now((first, None)).await], [2, 2], "each key has its own");
        assert_eq!(
            [calls_until_now((second, None)).await, calls_until_now((first, None)).await],
            [3, 4],
            "whoever comes later has other keys"
        );
        pool.tidy();
        pool.tidy();
        assert_eq!(calls_until_now((first, None)).await, 5, "its client was put away");
    }
}
