//! The tour's own Quarry: started as a user starts it, watched, and taken away again.

use crate::env::DEFAULT_LISTEN;
use crate::installation::{Installation, Serving};
use crate::tour::TourArguments;
use crate::tour::report::Report;
use crate::tour::screen::Screen;
use anyhow::{Context, Result, bail, ensure};
use quarry_client::{Client, Credentials};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Quarry {
    pub data_dir: PathBuf,
    pub endpoint: String,
    pub aws: Client,
    pub installation: Installation,
    serve: Child,
    /// The directory was made for the tour and goes with it.
    temporary: bool,
}

impl Quarry {
    /// Starts `quarry serve` and waits for its first answer.
    pub async fn start(arguments: &TourArguments, screen: &Screen, report: &mut Report) -> Result<Self> {
        screen.heading("Start Quarry");
        let step = screen.step("quarry serve");
        let (data_dir, temporary) = match &arguments.data_dir {
            Some(dir) => (dir.clone(), false),
            None => (new_directory()?, true),
        };
        std::fs::create_dir_all(&data_dir)
            .with_context(|| format!("cannot make {}: choose another with --data-dir", data_dir.display()))?;
        let listen = match arguments.listen {
            Some(address) => address,
            None => free_address()?,
        };
        let log_path = data_dir.join("serve.out");
        let log = std::fs::File::create(&log_path)?;
        let start = Instant::now();
        let mut serve = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", &listen.to_string(), "--data-dir"])
            .arg(&data_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start quarry serve")?;
        let (installation, serving) = match wait_for_serve(&data_dir, &mut serve, start) {
            Ok(started) => started,
            Err(error) => {
                let _ = serve.kill();
                let said = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(error.context(format!("quarry serve said: {}", said.trim())));
            }
        };
        let secrets = &installation.secrets;
        let credentials = Credentials::new(&secrets.access_key_id, &secrets.secret_access_key, None);
        let aws = Client::new(&serving.endpoint, &secrets.region, credentials)?;
        let identity = aws.call::<quarry_aws::sts::op::GetCallerIdentity>(Default::default()).await?;
        report.times.first_answer = start.elapsed();
        ensure!(
            identity.account.as_deref() == Some(&secrets.account),
            "another Quarry answers at {}",
            serving.endpoint
        );
        let isolation = isolation_in_force(&data_dir)?;
        step.done(format!("{} answers, isolation: {isolation}", serving.endpoint));
        if isolation != "user-namespaces" {
            screen.fact(format!("isolation is {isolation} here: `quarry doctor` says what is missing and what to do"));
        }
        report.isolation = isolation;
        Ok(Self { data_dir, endpoint: serving.endpoint, aws, installation, serve, temporary })
    }

    /// Where a listener really listens: its own address first, then the shared 127.0.0.1; and a note if
    /// that is another port than asked for.
    pub async fn bound(&self, listener_arn: &str) -> Result<(Vec<SocketAddr>, Option<String>)> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let listeners = quarry_cli::listeners(&self.endpoint).await?;
            if let Some(listener) = listeners.into_iter().find(|l| l.listener_arn == listener_arn) {
                match (listener.bound.is_empty(), listener.error) {
                    (false, note) => return Ok((listener.bound, note)),
                    (true, Some(error)) => bail!("the load balancer cannot listen: {error}"),
                    (true, None) => {}
                }
            }
            ensure!(Instant::now() < deadline, "the proxy did not report where {listener_arn} listens");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The last lines of the logs, for whoever reads a failed tour.
    pub fn show_logs(&self) {
        for name in ["serve.out", "log/proxy.log", "log/holder.log"] {
            let text = std::fs::read_to_string(self.data_dir.join(name)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            for line in &lines[lines.len().saturating_sub(15)..] {
                eprintln!("    {name}: {line}");
            }
        }
    }

    pub fn leave_running(mut self, screen: &Screen) {
        self.temporary = false;
        screen
            .line(&format!("\nLeft running. Use it:   eval \"$(quarry env --data-dir {})\"", self.data_dir.display()));
        screen.line(&format!("End it:                 quarry stop --data-dir {}", self.data_dir.display()));
        // The handle is given up, not the process.
        std::mem::forget(self);
    }

    /// Ends serve, tasks, proxy and hub, and checks that nothing is left.
    pub fn destroy(mut self) -> Result<Vec<String>> {
        self.end()?;
        let leftovers = quarry_runtime::leftovers(&self.data_dir);
        if self.temporary {
            std::fs::remove_dir_all(&self.data_dir)
                .with_context(|| format!("cannot remove {}", self.data_dir.display()))?;
        }
        Ok(leftovers)
    }

    fn end(&mut self) -> Result<()> {
        crate::roles::stop::run(&self.data_dir)?;
        self.serve.wait()?;
        Ok(())
    }
}

impl Drop for Quarry {
    fn drop(&mut self) {
        if matches!(self.serve.try_wait(), Ok(None)) {
            let _ = self.end();
            if self.temporary {
                let _ = std::fs::remove_dir_all(&self.data_dir);
            }
        }
    }
}

fn wait_for_serve(data_dir: &Path, serve: &mut Child, start: Instant) -> Result<(Installation, Serving)> {
    loop {
        if let Ok(installation) = Installation::open(data_dir)
            && let Ok(serving) = installation.serving()
            && serving.pid == serve.id()
        {
            return Ok((installation, serving));
        }
        if let Some(status) = serve.try_wait()? {
            bail!("quarry serve ended at once ({status})");
        }
        ensure!(start.elapsed() < Duration::from_secs(30), "quarry serve did not answer within 30 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A short path: sockets live under it.
fn new_directory() -> Result<PathBuf> {
    let door = quarry_domain::door::Door::system();
    let base = std::env::temp_dir();
    Ok(base.join(format!("quarry-{}", door.hex(8))))
}

/// The usual endpoint if it is free, else any free port.
fn free_address() -> Result<SocketAddr> {
    let usual: SocketAddr = DEFAULT_LISTEN.parse()?;
    if TcpListener::bind(usual).is_ok() {
        return Ok(usual);
    }
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn isolation_in_force(data_dir: &Path) -> Result<String> {
    let report = quarry_runtime::probe(data_dir, Path::new("/proc/self/exe"), quarry_runtime::forced()?)?;
    Ok(report.isolation.as_str().to_owned())
}
