//! Authorization tokens of the registry: `AWS:<secret>` in Basic authentication, where the secret
//! is an expiry and who asked for it, signed with a key of the store; what that principal's policies allow is
//! evaluated at each use. A token is good for twelve hours and needs no
//! record, so it is good after a restart too. The same key signs grants: what lets the bearer of a
//! download's URL read one blob for an hour.

use crate::authorization::{self, Acting};
use crate::platform::Platform;
use crate::store::{Item, StoreError, Tx};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use quarry_domain::door::Door;
use quarry_domain::image::{RegistryAccess, RegistryAuth, RegistryUse};
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// How long a token is good, as AWS has it.
pub const LIFETIME_MS: i64 = 12 * 60 * 60 * 1000;

/// How long a download's URL is good, as S3's pre-signed ones of ECR are.
pub const DOWNLOAD_LIFETIME_MS: i64 = 60 * 60 * 1000;

/// Lets into the registry who has a token: the check of every request under `/v2/`.
pub struct TokenAuth {
    platform: Arc<Platform>,
    tokens: OnceLock<Tokens>,
}

/// Signs and checks tokens.
pub struct Tokens {
    key: hmac::Key,
    door: Door,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    /// 32 random bytes in base64.
    secret: String,
}

impl Item for StoredKey {
    const KIND: &'static str = "ecr.token-key";
    fn key(&self) -> String {
        "own".into()
    }
}

impl Tokens {
    /// With the store's key, which is made at the first call.
    pub fn open(platform: &Platform) -> Result<Self, StoreError> {
        let stored = platform.store.write(|tx| {
            if let Some(stored) = tx.get::<StoredKey>("own")? {
                return Ok(stored);
            }
            let mut secret = [0u8; 32];
            platform.door.entropy.fill(&mut secret);
            let stored = StoredKey { secret: STANDARD.encode(secret) };
            tx.put(&stored)?;
            Ok::<_, StoreError>(stored)
        })?;
        Self::with(&stored, platform)
    }

    /// With the store's key inside a transaction; `None` before the first [`open`](Self::open).
    pub fn load(platform: &Platform, tx: &Tx<'_>) -> Result<Option<Self>, StoreError> {
        tx.get::<StoredKey>("own")?.map(|stored| Self::with(&stored, platform)).transpose()
    }

    /// A damaged key is an error: with an empty one in its place anybody could sign.
    fn with(stored: &StoredKey, platform: &Platform) -> Result<Self, StoreError> {
        let secret = STANDARD
            .decode(&stored.secret)
            .map_err(|error| StoreError::Damaged { kind: StoredKey::KIND, source: serde::de::Error::custom(error) })?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret), door: platform.door.clone() })
    }

    /// A new token, `base64("AWS:" + secret)`, and when it expires. `acting`: whose rights it has, none for all.
    pub fn issue(&self, acting: Option<&Acting>) -> (String, i64) {
        let expires_at_ms = self.door.now_ms() + LIFETIME_MS;
        let mut signed = expires_at_ms.to_be_bytes().to_vec();
        let mut nonce = [0u8; 8];
        self.door.entropy.fill(&mut nonce);
        signed.extend(nonce);
        if let Some(acting) = acting {
            // What cannot be written is no principal, and so lets nobody in.
            signed.extend(serde_json::to_vec(acting).unwrap_or_else(|_| b"?".to_vec()));
        }
        let signature = hmac::sign(&self.key, &token(&signed));
        signed.extend(signature.as_ref());
        (STANDARD.encode(format!("AWS:{}", URL_SAFE_NO_PAD.encode(signed))), expires_at_ms)
    }

    /// A new grant to read this blob.
    pub fn grant(&self, repository: &str, digest: &str) -> String {
        let expires_at_ms = self.door.now_ms() + DOWNLOAD_LIFETIME_MS;
        let signature = hmac::sign(&self.key, &granted(repository, digest, expires_at_ms));
        let mut grant = expires_at_ms.to_be_bytes().to_vec();
        grant.extend(signature.as_ref());
        URL_SAFE_NO_PAD.encode(grant)
    }

    /// Whether the grant is of this blob and still good.
    fn grants(&self, repository: &str, digest: &str, grant: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(grant) else { return false };
        let Some((expiry, signature)) = bytes.split_first_chunk::<8>() else { return false };
        let expires_at_ms = i64::from_be_bytes(*expiry);
        // Compares in constant time.
        hmac::verify(&self.key, &granted(repository, digest, expires_at_ms), signature).is_ok()
            && self.door.now_ms() < expires_at_ms
    }

    /// Whose a secret is that was issued here and is still good.
    fn holder(&self, secret: &str) -> Option<Holder> {
        let bytes = URL_SAFE_NO_PAD.decode(secret).ok()?;
        let (signed, signature) = bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE)?)?;
        // Compares in constant time.
        hmac::verify(&self.key, &token(signed), signature).ok()?;
        let (expiry, rest) = signed.split_first_chunk::<8>()?;
        let (_nonce, principal) = rest.split_first_chunk::<8>()?;
        if self.door.now_ms() >= i64::from_be_bytes(*expiry) {
            return None;
        }
        match principal {
            b"" => Some(Holder::Root),
            principal => serde_json::from_slice(principal).ok().map(|acting| Holder::Session(Box::new(acting))),
        }
    }
}

impl TokenAuth {
    pub fn new(platform: Arc<Platform>) -> Self {
        Self { platform, tokens: OnceLock::new() }
    }

    /// The key, read once; `None` when the store fails.
    fn tokens(&self) -> Option<&Tokens> {
        if let Some(tokens) = self.tokens.get() {
            return Some(tokens);
        }
        match Tokens::open(&self.platform) {
            Ok(tokens) => Some(self.tokens.get_or_init(|| tokens)),
            Err(error) => {
                tracing::error!("the registry's tokens cannot be checked: {error}");
                None
            }
        }
    }
}

impl RegistryAuth for TokenAuth {
    fn allows(&self, authorization: Option<&str>, wanted: Option<RegistryUse<'_>>) -> RegistryAccess {
        let holder = self.tokens().and_then(|tokens| tokens.holder_of(authorization));
        match (holder, wanted) {
            (None, _) => RegistryAccess::Unknown,
            (Some(Holder::Root), _) | (_, None) => RegistryAccess::Allowed,
            (Some(Holder::Session(acting)), Some(wanted)) => {
                let repository = wanted.repository.unwrap_or("*");
                let arn = self.platform.place().arn("ecr", format_args!("repository/{repository}"));
                let may = |tx: &Tx<'_>| authorization::may(&self.platform, tx, &acting, wanted.action, &arn);
                match self.platform.store.read(may) {
                    Ok(()) => RegistryAccess::Allowed,
                    Err(error) => RegistryAccess::Denied(error.message),
                }
            }
        }
    }

    fn allows_download(&self, repository: &str, digest: &str, grant: &str) -> bool {
        self.tokens().is_some_and(|tokens| tokens.grants(repository, digest, grant))
    }
}

/// Whose rights a token has.
enum Holder {
    /// The account's root user: all.
    Root,
    Session(Box<Acting>),
}

/// Bytes of a signature.
const SIGNATURE: usize = 32;

/// What is signed for a token. It begins with another word than a download's, so neither passes for the other.
fn token(signed: &[u8]) -> Vec<u8> {
    [b"token\n", signed].concat()
}

/// What is signed for a download.
fn granted(repository: &str, digest: &str, expires_at_ms: i64) -> Vec<u8> {
    format!("download\n{repository}\n{digest}\n{expires_at_ms}").into_bytes()
}

impl Tokens {
    /// Whose token the header's value is: `Basic` with one that is still good.
    fn holder_of(&self, authorization: Option<&str>) -> Option<Holder> {
        let (scheme, credentials) = authorization?.trim().split_once(' ')?;
        let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
        match text.split_once(':') {
            Some(("AWS", secret)) if scheme.eq_ignore_ascii_case("basic") => self.holder(secret),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use std::time::Duration;

    fn lets_in(auth: &TokenAuth, authorization: Option<&str>) -> bool {
        auth.allows(authorization, None) == RegistryAccess::Allowed
    }

    #[test]
    fn a_token_is_good_for_twelve_hours_and_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let header = {
            let world = World::open(dir.path(), |_| {});
            let tokens = Tokens::open(&world.platform).unwrap();
            let (token, expires_at_ms) = tokens.issue(None);
            assert_eq!(expires_at_ms, world.platform.now_ms() + LIFETIME_MS);
            format!("Basic {token}")
        };
        let world = World::open(dir.path(), |_| {});
        let auth = TokenAuth::new(world.platform.clone());
        assert!(lets_in(&auth, Some(&header)));
        world.door.advance(Duration::from_millis(LIFETIME_MS as u64 - 1));
        assert!(lets_in(&auth, Some(&header)));
        world.door.advance(Duration::from_millis(1));
        assert!(!lets_in(&auth, Some(&header)));
    }

    #[test]
    fn a_grant_reads_one_blob_for_an_hour() {
        let world = World::new(|_| {});
        let tokens = Tokens::open(&world.platform).unwrap();
        let auth = TokenAuth::new(world.platform.clone());
        let grant = tokens.grant("api", "sha256:aa");
        assert!(auth.allows_download("api", "sha256:aa", &grant));
        assert!(!auth.allows_download("api", "sha256:ab", &grant));
        assert!(!auth.allows_download("other", "sha256:aa", &grant));
        let mut later = URL_SAFE_NO_PAD.decode(&grant).unwrap();
        later[7] ^= 1;
        for bad in ["", "AAAA", &format!("{grant}A"), &URL_SAFE_NO_PAD.encode(later)] {
            assert!(!auth.allows_download("api", "sha256:aa", bad), "{bad}");
        }
        assert!(!lets_in(&auth, Some(&format!("Basic {}", STANDARD.encode(format!("AWS:{grant}"))))), "it is no token");
        world.door.advance(Duration::from_millis(DOWNLOAD_LIFETIME_MS as u64));
        assert!(!auth.allows_download("api", "sha256:aa", &grant));
    }

    #[test]
    fn nothing_else_is_good() {
        let world = World::new(|_| {});
        let tokens = Tokens::open(&world.platform).unwrap();
        let auth = TokenAuth::new(world.platform.clone());
        let (token, _) = tokens.issue(None);
        let text = String::from_utf8(STANDARD.decode(&token).unwrap()).unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("AWS:").unwrap()).unwrap();
        // A later expiry under the old signature.
        bytes[0] ^= 1;
        let forged = STANDARD.encode(format!("AWS:{}", URL_SAFE_NO_PAD.encode(&bytes)));
        let other_user = STANDARD.encode(text.replacen("AWS", "root", 1));
        let short = STANDARD.encode("AWS:AAAA");
        for header in [
            format!("Basic {forged}"),
            format!("Basic {other_user}"),
            format!("Basic {short}"),
            format!("Bearer {token}"),
            format!("Basic {token}="),
            "Basic".to_owned(),
            String::new(),
        ] {
            assert!(!lets_in(&auth, Some(&header)), "{header}");
        }
        assert!(!lets_in(&auth, None));
        assert!(lets_in(&auth, Some(&format!("basic {token}"))));
        let elsewhere = World::new(|_| {});
        elsewhere.platform.door.hex(8);
        let others = TokenAuth::new(elsewhere.platform.clone());
        assert!(!lets_in(&others, Some(&format!("Basic {token}"))), "another installation has another key");
    }
}
