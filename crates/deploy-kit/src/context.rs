//! The build context: a directory, less what `.dockerignore` leaves out, plus files given from elsewhere.

use crate::pattern::{is_pattern, matches};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Files for COPY. Paths in it are relative, with `/`.
#[derive(Clone, Debug, Default)]
pub struct Context {
    root: Option<PathBuf>,
    ignore: Vec<Ignore>,
    given: BTreeMap<String, Given>,
}

#[derive(Clone, Debug)]
struct Given {
    source: PathBuf,
    mode: u32,
}

/// A line of `.dockerignore`.
#[derive(Clone, Debug)]
struct Ignore {
    pattern: String,
    /// `!`: what matches is taken after all.
    keep: bool,
    line: usize,
}

/// Something in the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Dir { mode: u32 },
    File { source: PathBuf, mode: u32 },
    Link { target: PathBuf },
}

/// Why a source of COPY cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("{0}")]
    Bad(String),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// How files begin that ADD unpacks: gzip, bzip2, xz, zstd. A tar stream says so at [`TAR`].
const PACKED: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
const TAR: (usize, &[u8]) = (257, b"ustar");

impl Node {
    /// Whether it is a file that ADD would unpack, by what is in it (Docker's Dockerfile reference, "ADD").
    pub(crate) fn is_archive(&self) -> Result<bool, SourceError> {
        let Self::File { source, .. } = self else { return Ok(false) };
        let failed = |error| SourceError::Io { path: source.clone(), error };
        let mut head = Vec::new();
        let mut begin = fs::File::open(source).map_err(failed)?.take((TAR.0 + TAR.1.len()) as u64);
        begin.read_to_end(&mut head).map_err(failed)?;
        Ok(PACKED.iter().any(|magic| head.starts_with(magic)) || head.get(TAR.0..) == Some(TAR.1))
    }
}

impl Context {
    /// The files under a directory. Reads its `.dockerignore`, if there is one.
    ///
    /// # Errors
    /// The directory or the `.dockerignore` cannot be read.
    pub fn dir(root: &Path) -> io::Result<Self> {
        // Symbolic links are judged against the real directory.
        let root = fs::canonicalize(root)?;
        let ignore = match fs::read_to_string(root.join(".dockerignore")) {
            Ok(text) => ignores(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { root: Some(root), ignore, given: BTreeMap::new() })
    }

    /// Adds a file that is elsewhere on disk, for example a compiled binary, under a name in the context. `mode`: its
    /// permission bits in the image. It hides a file of the directory with the same name.
    pub fn with_file(mut self, name: &str, source: impl Into<PathBuf>, mode: u32) -> Self {
        self.given.insert(name.to_owned(), Given { source: source.into(), mode });
        self
    }

    /// What a source of COPY names: pairs of path in the context and node. A pattern may name several.
    pub(crate) fn find(&self, source: &str) -> Result<Vec<(String, Node)>, SourceError> {
        let path = clean(source).ok_or_else(|| {
            SourceError::Bad(format!("{source} is outside the context: COPY takes files from it only"))
        })?;
        if source.contains('[') {
            return Err(SourceError::Bad(format!("{source}: of patterns only * and ? are supported")));
        }
        if !is_pattern(&path) {
            return match self.node(&path)? {
                Some(node) => Ok(vec![(path, node)]),
                None => Err(SourceError::Bad(match self.ignored(&path) {
                    Some(line) => format!("{source} is left out by .dockerignore, line {line}"),
                    None => format!("{source} is not in the context"),
                })),
            };
        }
        let mut found = Vec::new();
        for (name, node) in self.below("")? {
            if matches(&path, &name) {
                found.push((name, node));
            }
        }
        if found.is_empty() {
            return Err(SourceError::Bad(format!("nothing in the context matches {source}")));
        }
        Ok(found)
    }

    /// Everything below a directory of the context, sorted, with paths from the context's root.
    pub(crate) fn below(&self, dir: &str) -> Result<Vec<(String, Node)>, SourceError> {
        let mut found = BTreeMap::new();
        if let Some(root) = &self.root {
            self.walk(root, dir, &mut found)?;
        }
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        for name in self.given.keys().filter(|name| name.starts_with(&prefix)) {
            for (at, _) in name.match_indices('/').filter(|(at, _)| *at >= prefix.len()) {
                found.entry(name[..at].to_owned()).or_insert(Node::Dir { mode: 0o755 });
            }
            if let Some(node) = self.node(name)? {
                found.insert(name.clone(), node);
            }
        }
        Ok(found.into_iter().collect())
    }

    fn walk(&self, root: &Path, dir: &str, found: &mut BTreeMap<String, Node>) -> Result<(), SourceError> {
        let path = root.join(dir);
        let failed = |error| SourceError::Io { path: path.clone(), error };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let Ok(file_name) = entry.file_name().into_string() else {
                return Err(SourceError::Bad(format!("{} has a name that is not UTF-8", entry.path().display())));
            };
            let name = if dir.is_empty() { file_name } else { format!("{dir}/{file_name}") };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                // An exception below an ignored directory is possible, so it is walked all the same.
                self.walk(root, &name, found)?;
            }
            if self.ignored(&name).is_some() && !(kind.is_dir() && found.keys().any(|k| is_below(k, &name))) {
                continue;
            }
            let node = inside(&entry.path())?;
            found.insert(name, node);
        }
        Ok(())
    }

    /// A source itself; a symbolic link is followed, as long as it stays in the context.
    fn node(&self, path: &str) -> Result<Option<Node>, SourceError> {
        if let Some(given) = self.given.get(path) {
            return Ok(Some(Node::File { source: given.source.clone(), mode: given.mode }));
        }
        let prefix = format!("{path}/");
        let given_dir = path.is_empty() || self.given.keys().any(|name| name.starts_with(&prefix));
        let on_disk = match &self.root {
            Some(root) => self.on_disk(root, path)?,
            None => None,
        };
        Ok(on_disk.or(given_dir.then_some(Node::Dir { mode: 0o755 })))
    }

    fn on_disk(&self, root: &Path, path: &str) -> Result<Option<Node>, SourceError> {
        let full = root.join(path);
        let real = match fs::canonicalize(&full) {
            Ok(real) => real,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(SourceError::Io { path: full, error }),
        };
        if !real.starts_with(root) {
            return Err(SourceError::Bad(format!("{path} leads out of the context by a symbolic link")));
        }
        let node = inside(&real)?;
        // Of an ignored directory the exceptions may still be wanted.
        let hidden = self.ignored(path).is_some()
            && !(matches!(node, Node::Dir { .. }) && self.ignore.iter().any(|line| line.keep));
        Ok((!hidden).then_some(node))
    }

    /// The line of `.dockerignore` that leaves this path out, if one does: the last that matches it, or a directory
    /// above it, decides.
    fn ignored(&self, path: &str) -> Option<usize> {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        let names: Vec<&str> = above.chain([path]).collect();
        let decides = |line: &&Ignore| names.iter().any(|name| matches(&line.pattern, name));
        self.ignore.iter().rev().find(decides).filter(|line| !line.keep).map(|line| line.line)
    }
}

/// A file, directory or link as it is, not followed.
fn inside(path: &Path) -> Result<Node, SourceError> {
    let failed = |error| SourceError::Io { path: path.to_owned(), error };
    let meta = fs::symlink_metadata(path).map_err(failed)?;
    let mode = meta.permissions().mode() & 0o7777;
    if meta.is_dir() {
        Ok(Node::Dir { mode })
    } else if meta.is_file() {
        Ok(Node::File { source: path.to_owned(), mode })
    } else if meta.is_symlink() {
        Ok(Node::Link { target: fs::read_link(path).map_err(failed)? })
    } else {
        Err(SourceError::Bad(format!("{} is neither a file nor a directory", path.display())))
    }
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

/// A path without `.`, `..` and surplus slashes, relative; None if it leads out.
pub(crate) fn clean(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn ignores(text: &str) -> Vec<Ignore> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (keep, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
        if let Some(pattern) = clean(pattern).filter(|pattern| !pattern.is_empty()) {
            lines.push(Ignore { pattern, keep, line: index + 1 });
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(found: Vec<(String, Node)>) -> Vec<String> {
        found.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn dockerignore_and_given_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("target/release")).unwrap();
        fs::create_dir_all(root.join("web")).unwrap();
        for name in ["target/release/api", "target/junk", "web/a.html", "web/b.tmp", "db.json"] {
            fs::write(root.join(name), name).unwrap();
        }
        fs::write(root.join(".dockerignore"), "# build output\n/target/\n!target/release/api\n**/*.tmp\n").unwrap();
        let context = Context::dir(root).unwrap().with_file("bin/users", "/elsewhere/users", 0o755);
        assert_eq!(
            names(context.below("").unwrap()),
            [
                ".dockerignore",
                "bin",
                "bin/users",
                "db.json",
                "target",
                "target/release",
                "target/release/api",
                "web",
                "web/a.html"
            ]
        );
        assert_eq!(names(context.find("*.json").unwrap()), ["db.json"]);
        assert_eq!(names(context.find("./web/../target/release/api").unwrap()), ["target/release/api"]);
        let reason = |source: &str| context.find(source).unwrap_err().to_string();
        assert!(reason("target/junk").contains(".dockerignore, line 2"), "{}", reason("target/junk"));
        assert!(reason("../x").contains("outside the context"));
        assert!(reason("none").contains("not in the context"));
        assert!(reason("*.none").contains("nothing in the context matches"));
        std::os::unix::fs::symlink("/etc/passwd", root.join("out")).unwrap();
        assert!(reason("out").contains("leads out of the context"));
        // As part of a directory a link is copied as a link.
        assert!(context.below("").unwrap().contains(&("out".into(), Node::Link { target: "/etc/passwd".into() })));
    }
}
