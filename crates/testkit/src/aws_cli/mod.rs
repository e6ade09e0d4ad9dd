//! The installed aws CLI, quick enough for hundreds of calls in a test: a process that has loaded it once forks for each.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Ends with the test program, as its standard input does, and removes its directory.
struct Server {
    dir: PathBuf,
    _process: Child,
}

/// `PATH` with an `aws` in front that is the installed one in all it does. `None` where none is installed, or one that
/// is no Python program.
pub fn path() -> Option<String> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| start(&interpreter()?)).as_ref()?;
    Some(format!("{}:{}", server.dir.display(), std::env::var("PATH").ok()?))
}

/// The Python that has the CLI's modules.
fn interpreter() -> Option<PathBuf> {
    let python = ["python3", "python"].into_iter().find_map(|name| {
        let mut probe = Command::new(name);
        probe.args(["-c", "import sys, awscli.clidriver; print(sys.executable)"]).stderr(Stdio::null());
        let output = probe.stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    })?;
    Some(python.into())
}

fn start(python: &Path) -> Option<Server> {
    let dir = tempfile::Builder::new().prefix("qa").tempdir_in("/tmp").ok()?;
    let mut client = std::fs::File::options();
    let mut client = client.write(true).create_new(true).mode(0o755).open(dir.path().join("aws")).ok()?;
    write!(client, "#!{} -SEs\n{}", python.display(), include_str!("client.py")).ok()?;
    let mut command = Command::new(python);
    command.arg("-c").arg(include_str!("server.py")).arg(dir.path().join("socket"));
    // What a person has configured stays out of the way; each call brings its own environment.
    command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command.env_remove("AWS_PROFILE").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().ok()?;
    let mut ready = String::new();
    BufReader::new(process.stdout.take()?).read_line(&mut ready).ok()?;
    (ready == "ready\n").then(|| Server { dir: dir.keep(), _process: process })
}
