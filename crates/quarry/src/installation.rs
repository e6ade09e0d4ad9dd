//! One installation of Quarry: its data directory, its account and region, its secrets.

use anyhow::{Context, Result, bail};
use quarry_domain::arn::Place;
use quarry_domain::door::Door;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest path a Unix socket may have.
const SOCKET_PATH_MAX: usize = 107;
/// The longest socket path under the data directory: `tasks/<32 digits>/s`.
const LONGEST_SOCKET: usize = "/tasks/".len() + 32 + "/s".len();

/// A data directory that exists, belongs to us and is closed to others.
#[derive(Clone, Debug)]
pub struct Installation {
    pub data_dir: PathBuf,
    pub secrets: Secrets,
}

/// Made at the first start, kept in `secrets.json`, readable by the owner only.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    pub account: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// Where a running `serve` listens: `serve.json`, written once it answers.
#[derive(Clone, Serialize, Deserialize)]
pub struct Serving {
    pub pid: u32,
    /// The AWS endpoint, for example `http://127.0.0.1:4566`.
    pub endpoint: String,
    /// The console, for example `http://127.0.0.2:4567`.
    pub console: String,
    /// What one-time links to the console are made with; another at each start.
    pub link_key: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("account", &self.account)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The data directory to use when none is named: `/var/lib/quarry` for root, else
/// `$XDG_DATA_HOME/quarry` or `~/.local/share/quarry`.
pub fn default_data_dir() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/quarry".into());
    }
    if let Some(dir) = std::env::var_os("XDG_DATA_HOME").filter(|v| !v.is_empty()) {
        return Ok(Path::new(&dir).join("quarry"));
    }
    let home = std::env::var_os("HOME")
        .filter(|v| !v.is_empty())
        .context("neither HOME nor XDG_DATA_HOME is set: say where to keep data with --data-dir DIR")?;
    Ok(Path::new(&home).join(".local/share/quarry"))
}

impl Installation {
    /// Opens the installation in `data_dir`, or makes one there.
    pub fn open_or_create(data_dir: &Path, door: &Door) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).with_context(|| {
            format!("cannot make the data directory {}: choose another with --data-dir", data_dir.display())
        })?;
        let data_dir = data_dir.canonicalize()?;
        let length = data_dir.as_os_str().len() + LONGEST_SOCKET;
        if length > SOCKET_PATH_MAX {
            bail!(
                "the path {} is {} bytes too long for the sockets inside it: choose a shorter one with --data-dir",
                data_dir.display(),
                length - SOCKET_PATH_MAX
            );
        }
        own(&data_dir)?;
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700))?;
        for part in ["proxy", "hub", "log"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir.join(part))?;
        }
        let path = data_dir.join("secrets.json");
        if !path.exists() {
            write_private(&path, &serde_json::to_vec_pretty(&new_secrets(door))?)?;
        }
        Self::open(&data_dir)
    }

    /// Opens an installation that exists.
    pub fn open(data_dir: &Path) -> Result<Self> {
        if data_dir.exists() {
            own(data_dir)?;
        }
        let path = data_dir.join("secrets.json");
        let bytes = fs::read(&path).with_context(|| {
            format!("no installation in {}: `quarry serve --data-dir {0}` makes one", data_dir.display())
        })?;
        let secrets = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is damaged: restore it from a copy, or remove the directory", path.display())
        })?;
        Ok(Self { data_dir: data_dir.canonicalize()?, secrets })
    }

    pub fn place(&self) -> Place {
        Place { account: self.secrets.account.clone(), region: self.secrets.region.clone() }
    }

    /// What the last `serve` wrote once it answered.
    pub fn serving(&self) -> Result<Serving> {
        let path = self.data_dir.join("serve.json");
        let bytes = fs::read(&path).with_context(|| {
            format!("Quarry does not run in {0}: start it with `quarry serve --data-dir {0}`", self.data_dir.display())
        })?;
        serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Refuses another user's directory. For root, too: what is in it would say what root runs.
fn own(data_dir: &Path) -> Result<()> {
    if fs::metadata(data_dir)?.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} belongs to another user: choose another with --data-dir", data_dir.display());
    }
    Ok(())
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn new_secrets(door: &Door) -> Secrets {
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .unwrap_or_else(|| "us-east-1".into());
    Secrets {
        account: "000000000000".into(),
        region,
        access_key_id: format!("AKIAQ{}", door.hex(15).to_uppercase()),
        secret_access_key: door.hex(40),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_private_and_keeps_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("q");
        let door = Door::system();
        let first = Installation::open_or_create(&data, &door).unwrap();
        let again = Installation::open_or_create(&data, &door).unwrap();
        assert_eq!(first.secrets.secret_access_key, again.secrets.secret_access_key);
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(data.join("secrets.json")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(&first.secrets.secret_access_key));
    }

    #[test]
    fn another_users_directory_is_refused() {
        if !rustix::process::geteuid().is_root() {
            // Only root can make one.
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("q");
        Installation::open_or_create(&data, &Door::system()).unwrap();
        std::os::unix::fs::chown(&data, Some(4711), Some(4711)).unwrap();
        for refused in [Installation::open_or_create(&data, &Door::system()), Installation::open(&data)] {
            assert!(refused.unwrap_err().to_string().contains("belongs to another user"));
        }
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let error = Installation::open_or_create(&dir.path().join("x".repeat(90)), &Door::system()).unwrap_err();
        assert!(error.to_string().contains("choose a shorter one"), "{error}");
    }
}
