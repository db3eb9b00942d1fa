//! The HTTP/1.1 server of the daemon, and its orderly end.
//!
//! Invariant: what is under way when somebody asks to stop is finished first, unless that takes
//! longer than it may or somebody asks again; a client that takes nothing is not waited for.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use super::listen::Socket;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 512;

/// How long a client may take to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long a client may take nothing of what is sent to it.
const STALL_LIMIT: Duration = Duration::from_secs(15);

/// A server that takes connections, until [`Server::stop`].
pub struct Server {
    connections: GracefulShutdown,
    tasks: JoinSet<()>,
}

impl Server {
    /// Answers requests until `stopped` resolves. The socket is closed then.
    pub async fn run(socket: Socket, router: Router, stopped: impl Future<Output = ()>) -> Server {
        let mut server = Server { connections: GracefulShutdown::new(), tasks: JoinSet::new() };
        tokio::select! {
            () = server.accept(&socket, router) => {}
            () = stopped => {}
        }
        server
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.connections.count()
    }

    /// Resolves when what is being answered has been. If this is dropped first, it is broken off.
    pub async fn stop(mut self) {
        self.connections.shutdown().await;
        // A task ends a moment after its connection.
        while self.tasks.join_next().await.is_some() {}
    }

    async fn accept(&mut self, socket: &Socket, router: Router) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            while self.tasks.try_join_next().is_some() {}
            let place = places.clone().acquire_owned().await.expect("nobody closes it");
            let stream = match socket.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    // The client gave up, or the process has too many files open: some may close.
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            let stream = TokioIo::new(Impatient { stream, stalled: None });
            let service = TowerToHyperService::new(router.clone());
            let connection = self.connections.watch(http.serve_connection(stream, service));
            self.tasks.spawn(async move {
                // A client that goes away, or speaks no HTTP, concerns nobody else.
                let _ = connection.await;
                drop(place);
            });
        }
    }
}

/// A connection that breaks when its client takes nothing for [`STALL_LIMIT`].
struct Impatient<S> {
    stream: S,
    /// Runs while something waits to be taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn watched<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL_LIMIT)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = pin!(&mut self.stream).poll_write(context, bytes);
        self.watched(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = pin!(&mut self.stream).poll_flush(context);
        self.watched(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_left() {
        let (ours, mut theirs) = duplex(4);
        let mut stream = Impatient { stream: ours, stalled: None };
        // Each time that something is taken, patience begins anew.
        let writing = tokio::spawn(async move { stream.write_all(&[7; 20]).await });
        for _ in 0..3 {
            sleep(STALL_LIMIT - Duration::from_secs(1)).await;
            theirs.read_exact(&mut [0; 4]).await.expect("it is there");
        }
        let began = Instant::now();
        let error = writing.await.expect("no panic").expect_err("nobody takes the rest");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), STALL_LIMIT);
    }
}
