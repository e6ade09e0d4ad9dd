//! Sealed values: AES-256-GCM under a key of 32 bytes, each bound to what it belongs to (its
//! *context*, the additional data of the cipher), so that one sealed value put in the place of
//! another is refused. Where the key is kept is its owner's business (`vault.key` in the data
//! directory).

use crate::door::Door;
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

/// Length of a key in bytes.
pub const KEY_LEN: usize = 32;

/// Seals and opens values.
pub struct Key(LessSafeKey);

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

impl Key {
    pub fn new(bytes: &[u8; KEY_LEN]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 has keys of 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Seals with a random nonce: two seals of one value differ.
    pub fn seal(&self, door: &Door, context: &str, value: &[u8]) -> Sealed {
        let mut nonce = [0u8; NONCE_LEN];
        door.entropy.fill(&mut nonce);
        let mut out = nonce.to_vec();
        let mut text = value.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut text)
            .expect("a value is far below the cipher's 64 GiB");
        out.extend_from_slice(&text);
        Sealed(STANDARD_NO_PAD.encode(out))
    }

    /// The value that was sealed in the same context.
    pub fn open(&self, context: &str, sealed: &Sealed) -> Result<Clear, Unreadable> {
        let bytes = STANDARD_NO_PAD.decode(&sealed.0).map_err(|_| Unreadable)?;
        let (nonce, text) = bytes.split_at_checked(NONCE_LEN).ok_or(Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unreadable)?;
        let mut text = text.to_vec();
        let length =
            self.0.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text).map_err(|_| Unreadable)?.len();
        text.truncate(length);
        Ok(Clear(text))
    }
}

/// The ciphertext, which tells nothing without the key.
impl std::fmt::Display for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_belongs_to_its_key_and_its_context() {
        let door = Door::system();
        let key = Key::new(&[1; KEY_LEN]);
        let sealed = key.seal(&door, "a", b"value");
        assert_eq!(key.open("a", &sealed).unwrap().bytes(), b"value");
        assert!(key.open("b", &sealed).is_err());
        assert!(Key::new(&[2; KEY_LEN]).open("a", &sealed).is_err());
        assert_ne!(key.seal(&door, "a", b"value"), sealed, "equal values do not show as equal");
        assert!(!format!("{:?}", key.open("a", &sealed).unwrap()).contains("value"));
    }

    proptest! {
        #[test]
        fn a_changed_value_is_refused(value in proptest::collection::vec(any::<u8>(), 0..64), at in any::<usize>(), bit in 0u8..8) {
            let key = Key::new(&[1; KEY_LEN]);
            let sealed = key.seal(&Door::system(), "x", &value);
            prop_assert_eq!(key.open("x", &sealed).unwrap().into_bytes(), value);
            let mut bytes = STANDARD_NO_PAD.decode(&sealed.0).unwrap();
            let index = at % bytes.len();
            bytes[index] ^= 1 << bit;
            prop_assert!(key.open("x", &Sealed(STANDARD_NO_PAD.encode(bytes))).is_err());
        }
    }
}
