//! Accepting connections, and ending without cutting a request.
//!
//! On SIGTERM the server takes what waits in the listen queue, stops listening, answers with
//! `Connection: close`, gives idle connections a moment for a request that is on its way already,
//! and ends when every request has its answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http::{HeaderValue, Method, header};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::TRACE_HEADER;
use crate::telemetry::{self, Recorded};

/// A connection may be idle this long: longer than a load balancer keeps it, so that the balancer
/// is the one who closes it. The same time bounds the arrival of a request's head.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// Idle connections stay this long after SIGTERM.
const LINGER: Duration = Duration::from_millis(100);
/// Requests that take longer than this after SIGTERM are cut; ECS sends SIGKILL after 30 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(25);

/// A listening socket and its address.
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// Its address, with the port the system chose for port 0.
    pub address: SocketAddr,
}

/// Tells a server to drain and end.
#[derive(Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Bound {
    /// Binds `0.0.0.0:port`, or an address of a test's choice.
    pub async fn bind(address: SocketAddr) -> io::Result<Bound> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Bound { listener, address })
    }
}

impl Shutdown {
    /// Not yet told.
    pub fn new() -> Shutdown {
        Shutdown(watch::Sender::new(false))
    }

    /// Tells it.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Triggers on SIGTERM and SIGINT. The handlers are in place when this returns, which matters
    /// for process 1: it has no default ones.
    pub fn on_signals(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
                _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
            }
            shutdown.trigger();
        });
        Ok(())
    }

    async fn triggered(&self) {
        let mut told = self.0.subscribe();
        let _ = told.wait_for(|told| *told).await;
    }
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown::new()
    }
}

/// Serves until told to end; true when every request got its answer.
pub async fn serve(bound: Bound, router: Router, shutdown: Shutdown) -> bool {
    let closing = Arc::new(AtomicBool::new(false));
    let router = router.layer(from_fn(telemetry::serve)).layer(from_fn_with_state(closing.clone(), access_log));
    let close_idle = watch::Sender::new(false);
    // Every connection holds a sender; when the last is gone the receiver sees the end.
    let (alive, mut all_gone) = mpsc::channel::<()>(1);
    let listener = bound.listener;
    let start = |stream| {
        let alive = alive.clone();
        let connection = connection(stream, router.clone(), close_idle.subscribe());
        tokio::spawn(async move {
            connection.await;
            drop(alive);
        });
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.triggered() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => start(stream),
                Err(error) => {
                    // Out of descriptors, most likely: those who are connected go on.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
    closing.store(true, Ordering::Relaxed);
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        start(stream);
    }
    drop(listener);
    drop(alive);
    if tokio::time::timeout(LINGER, all_gone.recv()).await.is_ok() {
        return true;
    }
    close_idle.send_replace(true);
    tokio::time::timeout(DRAIN_LIMIT, all_gone.recv()).await.is_ok()
}

async fn connection(stream: TcpStream, router: Router, mut close_idle: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let told = async {
        let _ = close_idle.wait_for(|close| *close).await;
    };
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = told => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}

/// One line of log per request: reads at debug level, writes at info, failures of ours as errors.
pub async fn access_log(State(closing): State<Arc<AtomicBool>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let trace = request.headers().get(TRACE_HEADER).cloned();
    let trace = trace.as_ref().and_then(|v| v.to_str().ok());
    let mut response = next.run(request).await;
    if closing.load(Ordering::Relaxed) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    // The trace by who asked, or the one that was begun here.
    let begun = response.extensions().get::<Recorded>().filter(|_| trace.is_none()).map(Recorded::to_string);
    let trace = trace.or(begun.as_deref());
    let status = response.status().as_u16();
    let micros = started.elapsed().as_micros() as u64;
    if status >= 500 {
        tracing::error!(%method, path, status, micros, trace, "request");
    } else if matches!(method, Method::GET | Method::HEAD) {
        tracing::debug!(%method, path, status, micros, trace, "request");
    } else {
        tracing::info!(%method, path, status, micros, trace, "request");
    }
    response
}
