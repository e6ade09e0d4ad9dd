//! What is known of the targets' health, beside the snapshot: a proxy that was killed goes on from there at once, instead
//! of waiting for health checks before it accepts the first connection.

use quarry_domain::door::Door;
use quarry_domain::health::Known;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, SystemTime};

/// By target group and registration.
pub type Health = Vec<(String, u64, Known)>;

/// Writes the file for as long as this value lives. A disk may take its time: nobody waits for it.
pub struct HealthFile(Sender<Health>);

/// Older than this the file tells of another time, and is not believed.
const FRESH: Duration = Duration::from_secs(10);
/// So often the file is marked as still true.
const TOUCH: Duration = Duration::from_secs(1);

impl HealthFile {
    /// In the proxy's own directory.
    pub fn start(directory: &Path, door: Door) -> io::Result<Self> {
        let (sender, health) = channel();
        let path = path(directory);
        std::thread::Builder::new()
            .name("health-file".into())
            .stack_size(128 << 10)
            .spawn(move || keep(&path, &door, &health))?;
        Ok(Self(sender))
    }

    /// This is known now.
    pub fn write(&self, health: Health) {
        // Its thread ends only with this value.
        let _ = self.0.send(health);
    }
}

/// What a proxy that ended just now knew.
pub fn load(directory: &Path, door: &Door) -> Health {
    let path = path(directory);
    let read = || -> io::Result<Health> {
        let written = fs::metadata(&path)?.modified()?;
        match now(door).duration_since(written) {
            Ok(age) if age > FRESH => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(_) => Ok(serde_json::from_slice(&fs::read(&path)?)?),
        }
    };
    read().unwrap_or_default()
}

fn path(directory: &Path) -> PathBuf {
    directory.join("health.json")
}

fn now(door: &Door) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(door.now_ms()).unwrap_or_default())
}

fn keep(path: &Path, door: &Door, health: &Receiver<Health>) {
    loop {
        let done = match health.recv_timeout(TOUCH) {
            Ok(known) => write(path, door, &health.try_iter().last().unwrap_or(known)),
            Err(RecvTimeoutError::Timeout) => mark(path, door),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if let Err(error) = done {
            tracing::debug!(%error, "what is known of health cannot be written down");
        }
    }
}

/// Not synced: after a loss of power it is too old anyway.
fn write(path: &Path, door: &Door, known: &Health) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec(known)?)?;
    mark(&beside, door)?;
    fs::rename(&beside, path)
}

fn mark(path: &Path, door: &Door) -> io::Result<()> {
    File::options().write(true).open(path)?.set_modified(now(door))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::health::Verdict;
    use quarry_domain::link::TargetState;

    #[test]
    fn what_was_known_comes_back_while_it_is_fresh() {
        let directory = std::env::temp_dir().join(format!("qh-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let door = Door::system();
        let known = Known { verdict: Verdict::new(TargetState::Healthy, None), passes: 3, failures: 0 };
        let health = vec![("g".to_owned(), 7, known)];
        assert_eq!(load(&directory, &door), vec![]);
        write(&path(&directory), &door, &health).unwrap();
        assert_eq!(load(&directory, &door), health);
        let old = now(&door) - FRESH - TOUCH;
        File::options().write(true).open(path(&directory)).unwrap().set_modified(old).unwrap();
        assert_eq!(load(&directory, &door), vec![]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
