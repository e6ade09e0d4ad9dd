//! The control process: AWS endpoint and registry on one port, reconcilers, state in SQLite.
//!
//! It starts the proxy and the hub's holder as processes of their own and starts the proxy again
//! when it died; both go on when this process is killed, and are found again by the next one.

use crate::installation::{Installation, Serving, write_private};
use crate::lock;
use crate::roles::front::{Front, Key, LARGE_BODIES};
use crate::roles::proxy::ProxyProcess;
use anyhow::{Context, Result, anyhow, bail};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use quarry_client::Credentials;
use quarry_console::{Console, LinkKey, Settings};
use quarry_control::Quotas;
use quarry_control::endpoint::{Auth, Endpoint};
use quarry_control::{Machine, Platform, PlatformConfig};
use quarry_domain::door::Door;
use quarry_domain::outside::AllowOutside;
use quarry_registry::{Registry, RegistryConfig};
use quarry_runtime::{Runtime, RuntimeConfig};
use std::convert::Infallible;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

/// How `quarry serve` was called.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// Where the console listens; by itself it finds a port.
    pub console: Option<SocketAddr>,
    pub auth: Auth,
    /// See `PlatformConfig::scaling_speed`.
    pub scaling_speed: u32,
    /// Folders that tasks may see.
    pub host_folders: Vec<PathBuf>,
    /// See `PlatformConfig::outside`.
    pub outside: Vec<AllowOutside>,
    pub quotas: Quotas,
}

/// Runs until SIGINT (everything ends) or SIGTERM (tasks and load balancers go on).
pub fn run(options: ServeOptions) -> Result<()> {
    let door = Door::system();
    for listen in [Some(options.listen), options.console].into_iter().flatten() {
        if !listen.ip().is_loopback() {
            bail!("{listen} is not a loopback address: Quarry serves this machine only, use 127.0.0.1");
        }
    }
    quarry_domain::outside::check(&options.outside).map_err(|error| anyhow!("--allow-outside: {error}"))?;
    let installation = Installation::open_or_create(&options.data_dir, &door)?;
    let _lock = lock(&installation)?;
    // What a killed one left names an endpoint and a process that are gone.
    match std::fs::remove_file(installation.data_dir.join("serve.json")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    super::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()?;
    runtime.block_on(serve(options, installation, door))
}

async fn serve(options: ServeOptions, installation: Installation, door: Door) -> Result<()> {
    let listener = TcpListener::bind(options.listen).await.with_context(|| {
        format!("cannot listen on {}: another program has it, choose another with --listen", options.listen)
    })?;
    let address = listener.local_addr()?;
    let console_listener = console_listener(options.console, address.port()).await?;
    let console_address = console_listener.local_addr()?;
    let data_dir = installation.data_dir.clone();

    let tasks = Runtime::open(RuntimeConfig::new(data_dir.clone()))
        .context("the task runtime cannot start: `quarry doctor` says what this machine allows")?;
    let hub = tasks.hub().context("the hub network cannot be made")?;
    let place = installation.place();
    let registry = Registry::open(
        &data_dir,
        RegistryConfig::new(&place.account, &place.region, Arc::new(AtomicU16::new(address.port()))),
        door.clone(),
    )
    .context("the registry's storage cannot be opened")?;
    let platform = Platform::new(
        PlatformConfig {
            data_dir: data_dir.clone(),
            place,
            port: address.port(),
            hub,
            machine: Machine::here(),
            scaling_speed: options.scaling_speed,
            host_folders: host_folders(&options.host_folders)?,
            outside: options.outside,
            quotas: options.quotas,
        },
        door,
        tasks.clone(),
        registry.clone(),
        registry.clone(),
    )
    .context("the control store cannot be opened: is the disk full, or the file another user's?")?;
    let control = quarry_control::start(platform.clone()).context("the reconcilers cannot start")?;
    let secrets = &installation.secrets;
    let url = format!("http://{address}");
    let (id, secret) = (&secrets.access_key_id, &secrets.secret_access_key);
    let endpoint = Endpoint::new(platform.clone(), control.operations(), options.auth, (id.clone(), secret.clone()));
    let key = Key { auth: options.auth, pair: format!("{id}:{secret}") };
    let link_key = platform.door.hex(64);
    let console = Console::new(Settings {
        endpoint: url.clone(),
        region: secrets.region.clone(),
        credentials: Credentials::new(id, secret, None),
        open: options.auth == Auth::Off,
        port: console_address.port(),
        link_key: LinkKey::new(&link_key),
    })?;
    let console = Arc::new(console);
    let registry_auth = quarry_control::registry_auth(platform.clone(), options.auth);
    let front = Arc::new(Front {
        platform: platform.clone(),
        endpoint: Arc::new(endpoint),
        registry,
        registry_auth,
        key,
        large_bodies: Semaphore::new(LARGE_BODIES),
    });

    if let Err(error) = super::daemon::start(address, platform.clone()).await {
        tracing::warn!(%address, %error, "X-Ray's daemon does not listen for programs of this machine");
    }
    let proxy = ProxyProcess::keep_running(&data_dir)?;
    crate::logs::keep_bounded(&data_dir)?;
    let serving = Serving {
        pid: std::process::id(),
        endpoint: url,
        console: format!("http://{console_address}"),
        link_key: link_key.clone(),
    };
    write_private(&data_dir.join("serve.json"), &serde_json::to_vec(&serving)?)?;
    tracing::info!(endpoint = %serving.endpoint, isolation = tasks_isolation(&*tasks), "serving");
    say(format_args!("Quarry serves {}  (data in {})", serving.endpoint, data_dir.display()));
    say(format_args!("  look at it:  {}  (`quarry open` signs in)", serving.console));
    say(format_args!("  use it:  eval \"$(quarry env --data-dir {})\"", data_dir.display()));

    let answer = move |request, peer| front.clone().answer(request, peer);
    let connections = tokio::spawn(accept(listener, true, answer));
    let answer = move |request, _| console.clone().answer(request);
    // A page that is left ends what kept it up to date.
    let console_connections = tokio::spawn(accept(console_listener, false, answer));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let end_all = tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => false,
    };
    connections.abort();
    console_connections.abort();
    proxy.release();
    control.stop();
    let _ = std::fs::remove_file(data_dir.join("serve.json"));
    if end_all {
        say(format_args!("stopping tasks and load balancers …"));
        tokio::task::spawn_blocking(move || crate::roles::stop::end_everything(&data_dir, &tasks)).await??;
    } else {
        say(format_args!("tasks and load balancers go on; `quarry stop` ends them"));
    }
    Ok(())
}

/// The console's own address: browsers send cookies to all ports of an address, and on 127.0.0.1 are the load
/// balancers, behind which is anybody's program.
const CONSOLE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Where it is told to listen, or on the port after the endpoint's; any other where another program has that.
async fn console_listener(told: Option<SocketAddr>, endpoint_port: u16) -> Result<TcpListener> {
    if let Some(address) = told {
        return TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}: another program has it, choose another with --console")
        });
    }
    match TcpListener::bind((CONSOLE, endpoint_port.wrapping_add(1))).await {
        Ok(listener) => Ok(listener),
        Err(_) => Ok(TcpListener::bind((CONSOLE, 0)).await.context("the console cannot listen")?),
    }
}

/// Whole paths without links, so that what lies in them can be told by its path.
fn host_folders(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let whole = |folder: &PathBuf| {
        let whole = folder.canonicalize().with_context(|| format!("the host folder {}", folder.display()))?;
        if whole.parent().is_none() {
            bail!("the host folder / would show tasks everything: name a folder in it");
        }
        Ok(whole)
    };
    given.iter().map(whole).collect()
}

/// A line for whoever started this. That it cannot be written, on a full disk, is no reason to end.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn tasks_isolation(runtime: &dyn quarry_domain::task::TaskRuntime) -> &'static str {
    runtime.isolation().isolation.as_str()
}

/// Connections at a time; more wait in the listener's queue. Tasks, too, may connect.
const CONNECTIONS: usize = 512;

/// `half_close`: a client that has said everything may close its side and still gets its answer.
async fn accept<A, F, B>(listener: TcpListener, half_close: bool, answer: A)
where
    A: Fn(Request<Incoming>, IpAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: hyper::body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors: those in use free theirs, then accepting goes on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, peer.ip()));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .half_close(half_close)
                .header_read_timeout(Duration::from_secs(60))
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
}

/// How long a lock is tried: a child that a killed `serve` had just forked holds it for some moments.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// One `serve` per data directory, held for life: immune to reused process ids.
fn lock(installation: &Installation) -> Result<File> {
    let path = installation.data_dir.join("serve.lock");
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        if let Some(file) = lock::take(&path).with_context(|| format!("cannot lock {}", path.display()))? {
            return Ok(file);
        }
        if Instant::now() > deadline {
            bail!("Quarry already runs in {0}: `quarry stop --data-dir {0}` ends it", installation.data_dir.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
