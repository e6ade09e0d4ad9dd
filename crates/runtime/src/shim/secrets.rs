//! How secret values reach a shim: in a file that has no name and is only in memory. Nothing of them is on disk; once the
//! containers were started nobody needs them any more, also not after an adoption.

use quarry_domain::task::{SecretEnv, TaskSpec};
use rustix::fd::OwnedFd;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};

/// Makes the file for the shim: per container, in order, its variables.
pub fn hand_over(spec: &TaskSpec) -> io::Result<File> {
    let all: Vec<&[String]> = spec.containers.iter().map(|container| container.secrets.0.as_slice()).collect();
    let mut file = File::from(memfd_create("secrets", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(&all)?)?;
    file.rewind()?;
    Ok(file)
}

/// In the shim: reads what was handed over, and lets go of it.
pub fn take(file: OwnedFd) -> io::Result<Vec<SecretEnv>> {
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes)?;
    let all: Vec<Vec<String>> = serde_json::from_slice(&bytes)?;
    Ok(all.into_iter().map(SecretEnv).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_domain::task::Limits;

    #[test]
    fn what_is_handed_over_has_no_name_and_is_read_from_its_beginning() {
        let spec = TaskSpec {
            id: "1".into(),
            hostname: String::new(),
            containers: Vec::new(),
            address: None,
            private_address: None,
            dns: None,
            limits: Limits::default(),
        };
        let mut file = hand_over(&spec).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "[]");
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&file.metadata().unwrap()), 0);
    }
}
