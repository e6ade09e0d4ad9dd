//! A binary's life: settings, log, storage, serving, draining.

use std::process::ExitCode;

use crate::app::{self, StartError};
use crate::config::{Config, Role};
use crate::http::{Bound, Shutdown, serve};
use crate::telemetry::Telemetry;

/// The whole of `main`: exit code 0 after a drained end, 1 when it cannot start or a request had
/// to be cut, 2 for wrong settings.
pub fn main(role: Role) -> ExitCode {
    let config = match Config::parse(role, std::env::args_os()) {
        Ok(config) => config,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_max_level(config.log_level).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let result = runtime.map_err(StartError::System).and_then(|runtime| runtime.block_on(run(&config)));
    match result {
        Ok(true) => {
            tracing::info!("ended");
            ExitCode::SUCCESS
        }
        Ok(false) => {
            tracing::error!("ended with requests that took too long to finish");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(service = role.name(), "{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> Result<bool, StartError> {
    let shutdown = Shutdown::new();
    shutdown.on_signals().map_err(StartError::System)?;
    let router = app::open(config).await?;
    let telemetry = Telemetry::start(config.role.name());
    let port = config.address.port();
    let bound = Bound::bind(config.address).await;
    let bound = bound.map_err(|e| StartError::Bind(port, e))?;
    let port = bound.address.port();
    tracing::info!(service = config.role.name(), port, "listening");
    let drained = serve(bound, router, shutdown).await;
    if let Some(telemetry) = telemetry {
        telemetry.end().await;
    }
    Ok(drained)
}
