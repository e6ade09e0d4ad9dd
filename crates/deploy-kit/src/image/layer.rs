//! Layers: what each adds, as a tar stream that depends on nothing but the content.

use super::sha256;
use crate::context::{Node, SourceError};
use flate2::{Compression, GzBuilder};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Largest sum of files in one layer, in bytes: an image is held in memory while it is built.
const MAX_LAYER: u64 = 1 << 30;

/// What is put at a path.
pub(super) struct Entry {
    owner: (u32, u32),
    mode: u32,
    kind: Kind,
}

enum Kind {
    Dir,
    File(PathBuf),
    Link(PathBuf),
}

/// The image's tree so far, and the layer that is being filled. Paths have no leading slash.
#[derive(Default)]
pub(super) struct Files {
    /// True for directories.
    below: BTreeMap<String, bool>,
    layer: BTreeMap<String, Entry>,
}

impl Entry {
    /// `mode`: in place of the file's own permission bits.
    pub(super) fn new(node: Node, owner: (u32, u32), mode: Option<u32>) -> Self {
        match node {
            Node::Dir { mode: own } => Self { owner, mode: mode.unwrap_or(own), kind: Kind::Dir },
            Node::File { source, mode: own } => Self { owner, mode: mode.unwrap_or(own), kind: Kind::File(source) },
            Node::Link { target } => Self { owner, mode: 0o777, kind: Kind::Link(target) },
        }
    }

    fn plain_dir() -> Self {
        Self { owner: (0, 0), mode: 0o755, kind: Kind::Dir }
    }

    fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }
}

impl Files {
    /// True if the path is a directory of the image; its root always is.
    pub(super) fn is_dir(&self, path: &str) -> bool {
        path.is_empty() || self.at(path) == Some(true)
    }

    /// Makes a directory and those above it, where there are none.
    pub(super) fn add_dir(&mut self, path: &str) -> Result<(), SourceError> {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends.filter(|end| *end > 0) {
            let dir = &path[..end];
            match self.at(dir) {
                Some(true) => {}
                Some(false) => return Err(SourceError::Bad(format!("/{dir} is a file, so it cannot hold others"))),
                None => {
                    self.layer.insert(dir.to_owned(), Entry::plain_dir());
                }
            }
        }
        Ok(())
    }

    /// Puts an entry at a path, with the directories above it.
    pub(super) fn add(&mut self, path: &str, entry: Entry) -> Result<(), SourceError> {
        if let Some((above, _)) = path.rsplit_once('/') {
            self.add_dir(above)?;
        }
        match self.at(path) {
            Some(true) if !entry.is_dir() => {
                return Err(SourceError::Bad(format!("/{path} is a directory and would be replaced by a file")));
            }
            Some(false) if entry.is_dir() => {
                return Err(SourceError::Bad(format!("/{path} is a file and would be replaced by a directory")));
            }
            Some(_) | None => {}
        }
        self.layer.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Ends the layer: digest of its tar stream, and its compressed bytes. None if nothing was added.
    pub(super) fn close_layer(&mut self) -> Result<Option<(String, Vec<u8>)>, SourceError> {
        let layer = std::mem::take(&mut self.layer);
        if layer.is_empty() {
            return Ok(None);
        }
        let mut tar = tar::Builder::new(Vec::new());
        let mut left = MAX_LAYER;
        for (path, entry) in &layer {
            append(&mut tar, path, entry, &mut left)?;
            self.below.insert(path.clone(), entry.is_dir());
        }
        let failed = |error| SourceError::Io { path: PathBuf::from("the layer"), error };
        let tar = tar.into_inner().map_err(failed)?;
        // Pushed over loopback and unpacked at once: speed counts for more than size.
        let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
        let bytes = gzip.write_all(&tar).and_then(|()| gzip.finish()).map_err(failed)?;
        Ok(Some((sha256(&tar), bytes)))
    }

    /// Whether there is a directory (true) or something else (false) at a path.
    fn at(&self, path: &str) -> Option<bool> {
        self.layer.get(path).map(Entry::is_dir).or_else(|| self.below.get(path).copied())
    }
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, entry: &Entry, left: &mut u64) -> Result<(), SourceError> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(entry.owner.0.into());
    header.set_gid(entry.owner.1.into());
    header.set_mode(entry.mode);
    header.set_size(0);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| SourceError::Io { path, error }
    };
    match &entry.kind {
        Kind::Dir => {
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), io::empty()).map_err(at(Path::new(path)))
        }
        Kind::Link(target) => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, path, target).map_err(at(Path::new(path)))
        }
        Kind::File(source) => {
            let size = fs::metadata(source).map_err(at(source))?.len();
            *left = left.checked_sub(size).ok_or_else(|| {
                SourceError::Bad(format!(
                    "one COPY takes at most {} MiB: leave out what the image does not need",
                    MAX_LAYER >> 20
                ))
            })?;
            let bytes = fs::read(source).map_err(at(source))?;
            header.set_entry_type(tar::EntryType::Regular);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice()).map_err(at(source))
        }
    }
}
