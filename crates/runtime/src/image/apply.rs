//! One layer's entries, applied to one directory.

use super::pax::Extensions;
use super::{Failure, OPAQUE, refuse};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Write};
use tar::EntryType;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";
/// Ids from here on exist in no container; their files belong to `nobody`.
const IDS: u64 = 65_536;
const NOBODY: u32 = 65_534;
const DEPTH_MAX: usize = 255;

/// Directories get their final mode and time when nothing is written to them any more.
struct PendingDirectory {
    parts: Vec<Vec<u8>>,
    mode: u32,
    mtime: u64,
}

struct Layer<'a> {
    root: BorrowedFd<'a>,
    keep_owners: bool,
    directories: Vec<PendingDirectory>,
}

struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
}

/// Unpacks the tar stream below `root`.
pub fn apply(stream: &mut impl Read, root: &File, entries_max: u64, keep_owners: bool) -> Result<(), Failure> {
    let mut layer = Layer { root: root.as_fd(), keep_owners, directories: Vec::new() };
    let mut archive = tar::Archive::new(stream);
    let mut extensions = Extensions::default();
    let mut count = 0;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        count += 1;
        if count > entries_max {
            return Err(refuse(format!("more than {entries_max} entries")));
        }
        let (kind, size) = (entry.header().entry_type(), entry.header().entry_size()?);
        if extensions.take(kind, &mut entry, size)? {
            continue;
        }
        let known = std::mem::take(&mut extensions);
        if known.size.is_some_and(|s| s != size) {
            return Err(refuse("a PAX size that differs from the header's"));
        }
        let header = entry.header();
        let path = known.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = known.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned()));
        let old = header.as_old();
        let id = |known: Option<u64>, field: &[u8], header: io::Result<u64>| -> Result<u32, Failure> {
            let id = known.map_or_else(|| blank_is_zero(field, header), Ok)?;
            Ok(if id < IDS { id as u32 } else { NOBODY })
        };
        let attributes = Attributes {
            mode: blank_is_zero(&old.mode, header.mode())? & 0o7777,
            uid: id(known.uid, &old.uid, header.uid())?,
            gid: id(known.gid, &old.gid, header.gid())?,
            mtime: known.mtime.map_or_else(|| blank_is_zero(&old.mtime, header.mtime()), Ok)?,
        };
        layer.entry(kind, &path, link.as_deref(), &attributes, &mut entry)?;
    }
    layer.finish_directories()
}

impl Layer<'_> {
    fn entry(
        &mut self,
        kind: EntryType,
        path: &[u8],
        link: Option<&[u8]>,
        attributes: &Attributes,
        content: &mut impl Read,
    ) -> Result<(), Failure> {
        let parts = split(path)?;
        let Some((name, above)) = parts.split_last() else {
            if kind == EntryType::Directory {
                self.own(self.root, attributes)?;
                self.directories.push(PendingDirectory { parts, mode: attributes.mode, mtime: attributes.mtime });
                return Ok(());
            }
            return Err(refuse("an entry without a name"));
        };
        let parent = self.open_parent(above)?;
        if name == OPAQUE_WHITEOUT {
            rustix::fs::fsetxattr(&parent, OPAQUE, b"y", XattrFlags::empty())?;
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(&parent, hidden);
        }
        match kind {
            EntryType::Directory => self.directory(&parent, name, &parts, attributes),
            EntryType::Regular | EntryType::Continuous => self.file(&parent, name, attributes, content),
            EntryType::Symlink => {
                let target = link.filter(|l| !l.is_empty()).ok_or_else(|| refuse("a symbolic link to nothing"))?;
                make_room(&parent, name)?;
                rustix::fs::symlinkat(target, &parent, name.as_slice())?;
                self.own_at(&parent, name, attributes)
            }
            EntryType::Link => {
                let target = split(link.unwrap_or_default())?;
                self.hard_link(&parent, name, &target)
            }
            EntryType::Fifo => {
                make_room(&parent, name)?;
                let mode = Mode::from_raw_mode(attributes.mode);
                rustix::fs::mknodat(&parent, name.as_slice(), FileType::Fifo, mode, 0)?;
                self.own_at(&parent, name, attributes)
            }
            // Containers get their devices from the runtime; an image's would be a way to the host's.
            EntryType::Char | EntryType::Block => Ok(()),
            other => Err(refuse(format!("an entry of unknown kind {:?}", other.as_byte() as char))),
        }
    }

    /// The directory that holds an entry. Archives may leave directories out; links on the way
    /// are refused, because they could lead outside.
    fn open_parent(&self, parts: &[Vec<u8>]) -> Result<OwnedFd, Failure> {
        let mut current = self.root.try_clone_to_owned()?;
        for part in parts {
            current = match open_beneath(current.as_fd(), part, OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&current, part.as_slice(), Mode::from_raw_mode(0o755))?;
                    open_beneath(current.as_fd(), part, OFlags::RDONLY | OFlags::DIRECTORY)?
                }
                Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                    return Err(refuse(format!("{:?} leads through something that is no directory", show(part))));
                }
                other => other?,
            };
        }
        Ok(current)
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        parts: &[Vec<u8>],
        attributes: &Attributes,
    ) -> Result<(), Failure> {
        let mut hides = false;
        match kind_of(parent, name)? {
            Some(FileType::Directory) => {}
            Some(other) => {
                hides = other == FileType::CharacterDevice;
                rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
                rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            }
            None => rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?,
        }
        let directory = open_beneath(parent.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        if hides {
            // The layer removed what was here and made it anew.
            rustix::fs::fsetxattr(&directory, OPAQUE, b"y", XattrFlags::empty())?;
        }
        self.own(directory.as_fd(), attributes)?;
        let pending = PendingDirectory { parts: parts.to_vec(), mode: attributes.mode, mtime: attributes.mtime };
        self.directories.push(pending);
        Ok(())
    }

    fn file(
        &self,
        parent: &OwnedFd,
        name: &[u8],
        attributes: &Attributes,
        content: &mut impl Read,
    ) -> Result<(), Failure> {
        make_room(parent, name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let length = content.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            file.write_all(&buffer[..length])?;
        }
        self.own(file.as_fd(), attributes)?;
        // After the change of owner, which clears set-user-ID bits. Containers mount without them.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode))?;
        rustix::fs::futimens(&file, &times(attributes.mtime))?;
        Ok(())
    }

    /// Only to a file of this layer.
    fn hard_link(&self, parent: &OwnedFd, name: &[u8], target: &[Vec<u8>]) -> Result<(), Failure> {
        let (target_name, above) = target.split_last().ok_or_else(|| refuse("a hard link to nothing"))?;
        let mut directory = self.root.try_clone_to_owned()?;
        for part in above {
            directory = open_beneath(directory.as_fd(), part, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(|_| refuse(format!("a hard link to {:?}, which is not in this layer", show(target_name))))?;
        }
        match kind_of(&directory, target_name)? {
            Some(FileType::RegularFile | FileType::Symlink | FileType::Fifo) => {}
            _ => return Err(refuse(format!("a hard link to {:?}, which is no file of this layer", show(target_name)))),
        }
        if kind_of(parent, name)?.is_some() && same_file(&directory, target_name, parent, name)? {
            return Ok(());
        }
        make_room(parent, name)?;
        rustix::fs::linkat(&directory, target_name.as_slice(), parent, name, AtFlags::empty())?;
        Ok(())
    }

    /// Hides `name` of the layers below. What this layer itself has at that name stays.
    fn whiteout(&self, parent: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
        if name.is_empty() || name == b"." || name == b".." || name.starts_with(WHITEOUT) {
            return Err(refuse("a whiteout of a name that cannot be"));
        }
        match kind_of(parent, name)? {
            None => {
                // Overlayfs's own mark; a device with this number needs no privilege and opens nothing.
                rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)?;
            }
            Some(FileType::Directory) => {
                let directory = open_beneath(parent.as_fd(), name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                rustix::fs::fsetxattr(&directory, OPAQUE, b"y", XattrFlags::empty())?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    fn own(&self, file: BorrowedFd, attributes: &Attributes) -> Result<(), Failure> {
        if self.keep_owners {
            let (uid, gid) = (rustix::fs::Uid::from_raw(attributes.uid), rustix::fs::Gid::from_raw(attributes.gid));
            rustix::fs::fchown(file, Some(uid), Some(gid))?;
        }
        Ok(())
    }

    fn own_at(&self, parent: &OwnedFd, name: &[u8], attributes: &Attributes) -> Result<(), Failure> {
        if self.keep_owners {
            let (uid, gid) = (rustix::fs::Uid::from_raw(attributes.uid), rustix::fs::Gid::from_raw(attributes.gid));
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Deepest first is not needed: modes of directories above do not hinder an open by its owner
    /// until they are set, so the last made are done first.
    fn finish_directories(&mut self) -> Result<(), Failure> {
        rustix::fs::fchmod(self.root, Mode::from_raw_mode(0o755))?;
        let mut pending = std::mem::take(&mut self.directories);
        pending.sort_by_key(|d| std::cmp::Reverse(d.parts.len()));
        for directory in pending {
            let mut current = self.root.try_clone_to_owned()?;
            let mut present = true;
            for part in &directory.parts {
                match open_beneath(current.as_fd(), part, OFlags::RDONLY | OFlags::DIRECTORY) {
                    Ok(next) => current = next,
                    // A later entry of the same name took its place.
                    Err(_) => {
                        present = false;
                        break;
                    }
                }
            }
            if present {
                rustix::fs::fchmod(&current, Mode::from_raw_mode(directory.mode))?;
                rustix::fs::futimens(&current, &times(directory.mtime))?;
            }
        }
        Ok(())
    }
}

/// Some writers leave numbers out that are zero.
fn blank_is_zero<T: Default>(field: &[u8], parsed: io::Result<T>) -> io::Result<T> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) { Ok(T::default()) } else { parsed }
}

/// A path's parts. Absolute ones and those with `..` are refused: no honest layer has them.
fn split(path: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    if path.first() == Some(&b'/') {
        return Err(refuse(format!("the absolute path {:?}", show(path))));
    }
    let mut parts = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(refuse(format!("the path {:?}, which leads outside", show(path)))),
            _ if part.len() > 255 || part.contains(&0) => return Err(refuse("a file name that cannot be")),
            _ => parts.push(part.to_vec()),
        }
    }
    if parts.len() > DEPTH_MAX {
        return Err(refuse(format!("a path of more than {DEPTH_MAX} parts")));
    }
    Ok(parts)
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

fn open_beneath(parent: BorrowedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(parent, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn kind_of(parent: &OwnedFd, name: &[u8]) -> Result<Option<FileType>, Failure> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn same_file(a: &OwnedFd, a_name: &[u8], b: &OwnedFd, b_name: &[u8]) -> Result<bool, Failure> {
    let a = rustix::fs::statat(a, a_name, AtFlags::SYMLINK_NOFOLLOW)?;
    let b = rustix::fs::statat(b, b_name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// A later entry replaces an earlier one of the same name, except a directory with content.
fn make_room(parent: &OwnedFd, name: &[u8]) -> Result<(), Failure> {
    let flags = match kind_of(parent, name)? {
        None => return Ok(()),
        Some(FileType::Directory) => AtFlags::REMOVEDIR,
        Some(_) => AtFlags::empty(),
    };
    rustix::fs::unlinkat(parent, name, flags).map_err(|e| match e {
        Errno::NOTEMPTY => refuse(format!("{:?} replaces a directory with content", show(name))),
        other => other.into(),
    })
}

fn times(mtime: u64) -> Timestamps {
    let time = Timespec { tv_sec: i64::try_from(mtime).unwrap_or(0), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
