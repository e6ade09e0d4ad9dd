//! Where things are in the data directory, and which names may become file names.

use quarry_domain::hash::sha256;
use std::io;
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket (`sun_path` without its final zero).
const SOCKET_PATH_MAX: usize = 107;

/// The runtime's part of a data directory.
#[derive(Clone, Debug)]
pub struct Layout {
    data: PathBuf,
}

impl Layout {
    /// `data` must be short enough for the sockets below it.
    pub fn new(data: &Path) -> io::Result<Self> {
        // One directory has one name, or its control groups would be looked for under another.
        let data = std::fs::canonicalize(data).or_else(|_| std::path::absolute(data))?;
        let longest = data.join("tasks").join("0".repeat(32)).join("s");
        let length = longest.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the data directory {} is {} bytes too long for the sockets in it: choose a shorter path",
                    data.display(),
                    length - SOCKET_PATH_MAX
                ),
            ));
        }
        Ok(Self { data })
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    pub fn tasks(&self) -> PathBuf {
        self.data.join("tasks")
    }

    pub fn task(&self, id: &str) -> PathBuf {
        self.tasks().join(id)
    }

    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub fn hub(&self) -> PathBuf {
        self.data.join("hub")
    }

    pub fn hub_socket(&self) -> PathBuf {
        self.hub().join("s")
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.data.join("log").join(name)
    }

    /// A short name of this data directory: eight hexadecimal digits of its path's digest.
    pub fn short_hash(&self) -> String {
        let mut hash = sha256(self.data.as_os_str().as_encoded_bytes());
        hash.truncate(8);
        hash
    }

    /// The data directory's control group, relative to each hierarchy's root.
    pub fn cgroup(&self) -> PathBuf {
        Path::new("quarry").join(self.short_hash())
    }
}

/// Whether `name` may be a file name here: letters, digits, `-`, `_` and `.`, not beginning with
/// a dot, at most 255 bytes.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Makes a directory with mode 0700; one that is there gets that mode.
pub fn private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if std::fs::metadata(path)?.permissions().mode() & 0o777 != 0o700 {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_sockets_is_refused_in_one_sentence() {
        let long = PathBuf::from("/").join("x".repeat(100));
        let error = Layout::new(&long).unwrap_err().to_string();
        assert!(error.contains("choose a shorter path"), "{error}");
        assert!(!error.contains('\n'));
        Layout::new(Path::new("/tmp/q")).unwrap();
    }

    #[test]
    fn names_that_leave_the_directory_are_not_plain() {
        for bad in ["", ".", "..", "a/b", ".hidden", "a\0b", "ä"] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
        for good in ["api", "web-1", "a.b_c"] {
            assert!(is_plain_name(good), "{good:?}");
        }
    }
}
