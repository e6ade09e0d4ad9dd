//! Values at rest: sealed with AES-256-GCM under a key that is kept beside the store, not in it.
//!
//! The key is `vault.key` in the data directory, 32 random bytes, mode 0600, made at the first start.
//! A copy of `control.db` alone therefore tells no value. Each value is bound to what it belongs to
//! (its *context*, the additional data of the cipher), so that one sealed value put in the place of
//! another is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use quarry_domain::door::Door;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Seals and opens values.
pub struct Vault {
    key: LessSafeKey,
    door: Door,
}

/// A sealed value: nonce, ciphertext and tag in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

/// A value in clear. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Clear(Vec<u8>);

/// Why a sealed value could not be opened: the key is another one, or the value was changed or moved.
#[derive(Debug, thiserror::Error)]
#[error("a stored value cannot be decrypted with the key of this installation")]
pub struct Unreadable;

const FILE: &str = "vault.key";
const KEY_LEN: usize = 32;

impl Vault {
    /// Reads the installation's key, or makes one if there is none.
    pub fn open(data_dir: &Path, door: &Door) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        let bytes = match read_key(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(data_dir, door)?,
            other => other?,
        };
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{} does not hold a key", path.display()))
        })?;
        Ok(Self { key: LessSafeKey::new(key), door: door.clone() })
    }

    pub fn seal(&self, context: &str, value: &[u8]) -> Sealed {
        let mut nonce = [0u8; NONCE_LEN];
        self.door.entropy.fill(&mut nonce);
        let mut out = nonce.to_vec();
        let mut text = value.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut text)
            .expect("a value is far below the cipher's 64 GiB");
        out.extend_from_slice(&text);
        Sealed(STANDARD_NO_PAD.encode(out))
    }

    /// The value that was sealed in the same context.
    pub fn open_sealed(&self, context: &str, sealed: &Sealed) -> Result<Clear, Unreadable> {
        let bytes = STANDARD_NO_PAD.decode(&sealed.0).map_err(|_| Unreadable)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or(Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unreadable)?;
        let mut text = text.to_vec();
        let length =
            self.key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text).map_err(|_| Unreadable)?.len();
        text.truncate(length);
        Ok(Clear(text))
    }
}

impl Clear {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The value as text; what is no UTF-8 was not sealed as text.
    pub fn into_text(self) -> Result<String, Unreadable> {
        String::from_utf8(self.0).map_err(|_| Unreadable)
    }
}

impl std::fmt::Debug for Clear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clear(hidden)")
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
    use proptest::prelude::*;

    #[test]
    fn the_key_is_private_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let door = Door::system();
        let sealed = Vault::open(dir.path(), &door).unwrap().seal("a", b"value");
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Vault::open(dir.path(), &door).unwrap();
        assert_eq!(again.open_sealed("a", &sealed).unwrap().bytes(), b"value");
        assert!(again.open_sealed("b", &sealed).is_err(), "a value belongs to its context");
        assert_ne!(again.seal("a", b"value"), again.seal("a", b"value"), "equal values do not show as equal");
        assert!(!format!("{:?}", again.open_sealed("a", &sealed).unwrap()).contains("value"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Vault::open(dir.path(), &door).err().unwrap().kind(), io::ErrorKind::PermissionDenied);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert_eq!(Vault::open(dir.path(), &door).err().unwrap().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(&path).unwrap();
        let other = Vault::open(dir.path(), &door).unwrap();
        assert!(other.open_sealed("a", &sealed).is_err(), "another key opens nothing");
    }

    proptest! {
        #[test]
        fn a_changed_value_is_refused(value in proptest::collection::vec(any::<u8>(), 0..64), at in any::<usize>(), bit in 0u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let vault = Vault::open(dir.path(), &Door::system()).unwrap();
            let sealed = vault.seal("x", &value);
            prop_assert_eq!(vault.open_sealed("x", &sealed).unwrap().into_bytes(), value);
            let mut bytes = STANDARD_NO_PAD.decode(&sealed.0).unwrap();
            let index = at % bytes.len();
            bytes[index] ^= 1 << bit;
            prop_assert!(vault.open_sealed("x", &Sealed(STANDARD_NO_PAD.encode(bytes))).is_err());
        }
    }
}
