//! `quarry env`: what a shell needs so that AWS clients talk to this installation.

use crate::installation::Installation;
use anyhow::Result;
use std::path::Path;

/// The endpoint that `serve` listens on unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:4566";

/// Prints `export` and `unset` lines for a POSIX shell.
pub fn run(data_dir: &Path) -> Result<()> {
    print!("{}", lines(&Installation::open(data_dir)?));
    Ok(())
}

fn lines(installation: &Installation) -> String {
    let endpoint = installation.serving().map_or_else(|_| format!("http://{DEFAULT_LISTEN}"), |s| s.endpoint);
    let secrets = &installation.secrets;
    let exports = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_REGION", &secrets.region),
        ("AWS_DEFAULT_REGION", &secrets.region),
        ("AWS_DISABLE_HOST_PREFIX_INJECTION", "true"),
        ("AWS_ACCESS_KEY_ID", &secrets.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &secrets.secret_access_key),
    ];
    let mut out: String = exports.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value))).collect();
    out.push_str("unset AWS_PROFILE AWS_SESSION_TOKEN\n");
    out
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::door::Door;

    #[test]
    fn a_shell_gets_endpoint_region_and_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let installation = Installation::open_or_create(&dir.path().join("q"), &Door::system()).unwrap();
        let out = lines(&installation);
        for line in [
            "export AWS_ENDPOINT_URL='http://127.0.0.1:4566'",
            "export AWS_DISABLE_HOST_PREFIX_INJECTION='true'",
            "unset AWS_PROFILE AWS_SESSION_TOKEN",
        ] {
            assert!(out.lines().any(|l| l == line), "{out}");
        }
        assert!(out.contains(&installation.secrets.secret_access_key));
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
