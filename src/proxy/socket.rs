//! A connection to an upstream that tells when its other side has ended. awc takes that for the end of a body, whole or not; where
//! the bytes alone don't show which it was (sound, plain text), this does: a body that had its end mark is never read beyond it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_rt::net::{ActixStream, Ready};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::client::Incoming;
use crate::health::Failure;

thread_local! {
    /// A connection of this thread's was read to its end since this was last asked.
    static ENDED: Cell<bool> = const { Cell::new(false) };
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Socket(pub(super) TcpStream);

/// A body that fails where its connection ends before it does.
pub(super) fn unless_cut(mut body: Incoming) -> Incoming {
    let mut over = false;
    Box::pin(futures_util::stream::poll_fn(move |cx| {
        if over {
            return Poll::Ready(None);
        }
        // Whatever is read for it is read within this poll, by this thread.
        ENDED.set(false);
        let polled = body.poll_next_unpin(cx);
        match polled {
            Poll::Ready(None) if ENDED.get() => {
                over = true;
                Poll::Ready(Some(Err(Failure::Truncated)))
            }
            polled => polled,
        }
    }))
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, room) = (buf.filled().len(), buf.remaining());
        let polled = Pin::new(&mut self.0).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(()))) && room > 0 && buf.filled().len() == before {
            ENDED.set(true);
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

impl ActixStream for Socket {
    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.0, cx)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.0, cx)
    }
}
