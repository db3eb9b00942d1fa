//! The HTTP/1.1 server of `kittiwake serve`.
//!
//! Invariant: what was being answered when somebody asked to stop is finished first, unless that
//! takes longer than `GRACE` or somebody asks again.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use kittiwake::Runtime;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use url::Url;

use super::exchange::answer;

/// How long answers under way may take once somebody asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Connections at once; more wait in the system's queue.
const CONNECTIONS: usize = 1024;

/// How long a client may take to send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// Answers requests until `asked_to_stop` resolves, then ends in order.
pub async fn run<F: Future<Output = ()>>(
    listener: TcpListener,
    runtime: &Runtime,
    origin: Url,
    asked_to_stop: impl Fn() -> F,
) {
    let connections = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    tokio::select! {
        () = accept(&listener, runtime, Arc::new(origin), &connections, &mut tasks) => {}
        () = asked_to_stop() => {}
    }
    drop(listener);
    let under_way = connections.count();
    if under_way > 0 {
        eprintln!("stopping; {under_way} connections are open");
    }
    let mut again = pin!(asked_to_stop());
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(GRACE) => eprintln!("broke off what took longer than 10 s"),
        () = &mut again => {}
    }
    // The runtime ends with its last handle, and each task has one.
    tasks.shutdown().await;
}

async fn accept(
    listener: &TcpListener,
    runtime: &Runtime,
    origin: Arc<Url>,
    connections: &GracefulShutdown,
    tasks: &mut JoinSet<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        while tasks.try_join_next().is_some() {}
        let place = places.clone().acquire_owned().await.expect("nobody closes it");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The client gave up, or the process has too many files open: some may close.
                eprintln!("a connection was not accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Answers are small and wait for nothing; without it they wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let (runtime, origin) = (runtime.clone(), origin.clone());
        let service = service_fn(move |request| {
            let (runtime, origin) = (runtime.clone(), origin.clone());
            async move { Ok::<_, Infallible>(answer(&runtime, &origin, request).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tasks.spawn(async move {
            // A client that goes away, or speaks no HTTP, concerns nobody else.
            let _ = connection.await;
            drop(place);
        });
    }
}
