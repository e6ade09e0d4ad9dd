//! A service's life: listen, serve, end on SIGTERM when every request has its answer.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use axum::Router;
use axum::http::HeaderValue;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Listened on where `PORT` does not say otherwise.
const PORT: u16 = 8080;

/// The whole of `main`: serves `router` and `/health`. Exit code 2 for a wrong setting, 1 where it cannot
/// start. Every answer names the task that gave it in `x-served-by`.
pub fn main(service: &'static str, router: fn() -> Result<Router, String>) -> ExitCode {
    let (port, router) = match port().and_then(|port| Ok((port, router()?))) {
        Ok(settings) => settings,
        Err(wrong) => {
            eprintln!("{service}: {wrong}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(serve(service, port, router))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{service}: cannot serve on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn port() -> Result<u16, String> {
    match std::env::var("PORT") {
        Ok(port) => port.parse().map_err(|_| format!("PORT={port:?} is not a port")),
        Err(_) => Ok(PORT),
    }
}

async fn serve(service: &'static str, port: u16, router: Router) -> std::io::Result<()> {
    // Process 1 has no default handlers: without these, SIGTERM would be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await?;
    println!("{service}: listening on {}", listener.local_addr()?);
    let name = host_name();
    let router = router.route("/health", get(|| async { "ok" })).layer(map_response(move |mut response: Response| {
        response.headers_mut().entry("x-served-by").or_insert(name.clone());
        std::future::ready(response)
    }));
    axum::serve(listener, router).with_graceful_shutdown(told).await
}

/// The task's host name; each task has its own.
fn host_name() -> HeaderValue {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    HeaderValue::from_str(name.trim()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
