//! Values at rest: sealed ([`quarry_domain::sealed`]) under a key that is kept beside the store, not in it.
//!
//! The key is `vault.key` in the data directory, 32 random bytes, mode 0600, made at the first start.
//! A copy of `control.db` alone therefore tells no value.

use quarry_domain::door::Door;
pub use quarry_domain::sealed::{Clear, Sealed, Unreadable};
use quarry_domain::sealed::{KEY_LEN, Key};
use ring::hmac;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Seals and opens values with the installation's key.
pub struct Vault {
    key: Key,
    derive: hmac::Key,
    door: Door,
}

const FILE: &str = "vault.key";

impl Vault {
    /// Reads the installation's key, or makes one if there is none.
    pub fn open(data_dir: &Path, door: &Door) -> io::Result<Self> {
        let bytes = match read_key(&data_dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(data_dir, door)?,
            other => other?,
        };
        let derive = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), b"derived secrets");
        let derive = hmac::Key::new(hmac::HMAC_SHA256, derive.as_ref());
        Ok(Self { key: Key::new(&bytes), derive, door: door.clone() })
    }

    pub fn seal(&self, context: &str, value: &[u8]) -> Sealed {
        self.key.seal(&self.door, context, value)
    }

    /// A secret of 64 hexadecimal digits that belongs to the context: always the same, and kept nowhere.
    pub fn derive(&self, context: &str) -> String {
        quarry_domain::hash::hex(hmac::sign(&self.derive, context.as_bytes()).as_ref())
    }

    /// The value that was sealed in the same context.
    pub fn open_sealed(&self, context: &str, sealed: &Sealed) -> Result<Clear, Unreadable> {
        self.key.open(context, sealed)
    }
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} may be read by others (mode {mode:03o}): chmod 600 it", path.display()),
        ));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    bytes.try_into().map_err(|_| {
        let message = format!("{} is damaged: restore it from a copy", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// Writes a new key so that after a crash there is either none or a whole one.
fn make_key(data_dir: &Path, door: &Door) -> io::Result<[u8; KEY_LEN]> {
    let mut bytes = [0u8; KEY_LEN];
    door.entropy.fill(&mut bytes);
    let beside = data_dir.join(format!("{FILE}.new"));
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&beside, data_dir.join(FILE))?;
    File::open(data_dir)?.sync_all()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let door = Door::system();
        let sealed = Vault::open(dir.path(), &door).unwrap().seal("a", b"value");
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Vault::open(dir.path(), &door).unwrap();
        assert_eq!(again.open_sealed("a", &sealed).unwrap().bytes(), b"value");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Vault::open(dir.path(), &door).err().unwrap().kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert_eq!(Vault::open(dir.path(), &door).err().unwrap().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(&path).unwrap();
        let other = Vault::open(dir.path(), &door).unwrap();
        assert!(other.open_sealed("a", &sealed).is_err(), "another key opens nothing");
    }
}
