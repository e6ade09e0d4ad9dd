//! Layers that lie, and layers that do not.

mod support;

use quarry_domain::image::LayerBlob;
use quarry_runtime::{LayerStore, UnpackLimits};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use support::{blob, layer};
use tar::EntryType;

/// One entry of a tar archive, written byte by byte where `tar` itself would refuse.
struct Entry<'a> {
    kind: EntryType,
    path: &'a str,
    link: &'a str,
    mode: u32,
    content: &'a [u8],
}

const FILE: Entry = Entry { kind: EntryType::Regular, path: "f", link: "", mode: 0o644, content: b"x" };
const DIR: Entry = Entry { kind: EntryType::Directory, path: "d", link: "", mode: 0o755, content: b"" };
const SYMLINK: Entry = Entry { kind: EntryType::Symlink, path: "s", link: "", mode: 0o777, content: b"" };
const HARD_LINK: Entry = Entry { kind: EntryType::Link, path: "h", link: "", mode: 0o644, content: b"" };

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        header.as_old_mut().linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

struct Store {
    dir: tempfile::TempDir,
    store: LayerStore,
}

impl Store {
    fn new() -> Self {
        Self::with(UnpackLimits::default())
    }

    fn with(limits: UnpackLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = LayerStore::open(&dir.path().join("layers"), limits, rustix::process::geteuid().is_root()).unwrap();
        Self { dir, store }
    }

    /// Refused, with these words, and nothing is left of it.
    fn refuses(&self, layer: &LayerBlob, words: &str) {
        let error = self.store.unpack(layer).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains(&layer.digest), "{error}");
        assert_eq!(fs::read_dir(self.dir.path().join("layers")).unwrap().count(), 0, "{words}");
    }

    fn refuses_entries(&self, entries: &[Entry], words: &str) {
        self.refuses(&layer(self.dir.path(), "bad", &archive(entries)), words);
    }

    fn takes(&self, entries: &[Entry]) -> std::path::PathBuf {
        let layer = layer(self.dir.path(), "good", &archive(entries));
        self.store.unpack(&layer).unwrap_or_else(|e| panic!("{e}"))
    }
}

#[test]
fn paths_that_lead_outside() {
    let store = Store::new();
    let outside = store.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched").unwrap();
    let target = outside.to_str().unwrap();
    store.refuses_entries(&[Entry { path: "../outside/new", ..FILE }], "leads outside");
    store.refuses_entries(&[Entry { path: "a/../../outside/new", ..FILE }], "leads outside");
    store.refuses_entries(&[Entry { path: "/etc/quarry-test", ..FILE }], "absolute path");
    let link = Entry { path: "out", link: target, ..SYMLINK };
    store.refuses_entries(&[link, Entry { path: "out/new", ..FILE }], "through something that is no directory");
    let link = Entry { path: "out", link: target, ..SYMLINK };
    store.refuses_entries(&[link, Entry { path: "out/sub", ..DIR }], "through something that is no directory");
    let link = Entry { path: "out", link: "../../outside", ..SYMLINK };
    store.refuses_entries(&[link, Entry { path: "out/.wh.victim", ..FILE }], "no directory");
    let link = Entry { path: "out", link: target, ..SYMLINK };
    store.refuses_entries(&[link, Entry { path: "out/.wh..wh..opq", ..FILE }], "no directory");
    // A file where a link was replaces the link, and is not written through it.
    let victim = format!("{target}/victim");
    let root = store.takes(&[Entry { path: "v", link: &victim, ..SYMLINK }, Entry { path: "v", ..FILE }]);
    assert!(fs::symlink_metadata(root.join("v")).unwrap().is_file());
    // A directory entry does not follow a link either, nor does its mode.
    let link = Entry { path: "d", link: target, ..SYMLINK };
    let root = store.takes(&[link, Entry { mode: 0o700, ..DIR }]);
    assert!(fs::symlink_metadata(root.join("d")).unwrap().is_dir());
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert!(!Path::new("/etc/quarry-test").exists());
}

#[test]
fn hard_links_devices_and_whiteouts() {
    let store = Store::new();
    store.refuses_entries(&[Entry { link: "/etc/passwd", ..HARD_LINK }], "absolute path");
    store.refuses_entries(&[Entry { link: "../../../../etc/passwd", ..HARD_LINK }], "leads outside");
    store.refuses_entries(&[Entry { link: "of/a/lower/layer", ..HARD_LINK }], "not in this layer");
    let link = Entry { path: "etc", link: "/etc", ..SYMLINK };
    store.refuses_entries(&[link, Entry { link: "etc/passwd", ..HARD_LINK }], "not in this layer");
    for whiteout in [".wh.", ".wh...", ".wh.."] {
        store.refuses_entries(&[Entry { path: whiteout, ..FILE }], "whiteout");
    }
    let device = Entry { kind: EntryType::Block, path: "disk", ..FILE };
    let null = Entry { kind: EntryType::Char, path: "null", ..FILE };
    let root = store.takes(&[
        Entry { content: b"", ..device },
        Entry { content: b"", ..null },
        Entry { path: "f", mode: 0o4755, ..FILE },
        Entry { path: "h", link: "f", ..HARD_LINK },
        Entry { path: "d/.wh..wh..opq", content: b"", ..FILE },
        Entry { path: "gone/.wh.it", content: b"", ..FILE },
        Entry { path: ".wh.replaced", content: b"", ..FILE },
        Entry { path: "replaced", ..DIR },
        Entry { path: "kept", ..FILE },
        Entry { path: ".wh.kept", content: b"", ..FILE },
    ]);
    assert!(!root.join("disk").exists() && !root.join("null").exists());
    assert_eq!(fs::metadata(root.join("h")).unwrap().ino(), fs::metadata(root.join("f")).unwrap().ino());
    let mark = fs::symlink_metadata(root.join("gone/it")).unwrap();
    assert!(mark.file_type().is_char_device() && mark.rdev() == 0);
    let opaque = |path: &str| {
        let mut value = [0u8; 8];
        rustix::fs::lgetxattr(root.join(path), "user.overlay.opaque", &mut value[..]).unwrap_or(0)
    };
    assert_eq!((opaque("d"), opaque("replaced"), opaque("gone")), (1, 1, 0));
    assert_eq!(fs::read_to_string(root.join("kept")).unwrap(), "x");
    assert_eq!(fs::metadata(root.join("f")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn digests_sizes_and_damage() {
    let limits = UnpackLimits { bytes: 1 << 20, entries: 50, ..UnpackLimits::default() };
    let store = Store::with(limits);
    let tar = archive(&[FILE]);
    let good = layer(store.dir.path(), "good", &tar);
    let wrong = format!("sha256:{}", "0".repeat(64));
    store.refuses(&LayerBlob { diff_id: wrong.clone(), ..good.clone() }, "its diff_id is");
    store.refuses(&LayerBlob { digest: wrong, ..good.clone() }, "its digest is");
    store.refuses(&LayerBlob { diff_id: "sha256:../../x".to_owned(), ..good.clone() }, "not a sha256 digest");

    let stored = fs::read(&good.path).unwrap();
    store.refuses(&blob(store.dir.path(), "cut", &stored[..stored.len() - 10], &tar), "");
    let mut longer = stored.clone();
    longer.extend_from_slice(b"trailing bytes");
    let trailing = LayerBlob { digest: good.digest.clone(), ..blob(store.dir.path(), "longer", &longer, &tar) };
    store.refuses(&trailing, "");
    store.refuses(&layer(store.dir.path(), "noise", &[7u8; 2048]), "");

    let bomb = archive(&[Entry { content: &vec![0u8; 4 << 20], ..FILE }]);
    store.refuses(&layer(store.dir.path(), "bomb", &bomb), "unpacks to more than 1048576 bytes");
    // Zeros after the archive's end are bytes, too.
    let mut tail = tar.clone();
    tail.resize(4 << 20, 0);
    store.refuses(&layer(store.dir.path(), "tail", &tail), "unpacks to more than 1048576 bytes");
    let names: Vec<String> = (0..60).map(|n| format!("f{n}")).collect();
    let many: Vec<Entry> = names.iter().map(|n| Entry { path: n, ..FILE }).collect();
    store.refuses(&layer(store.dir.path(), "many", &archive(&many)), "more than 50 entries");
    let huge_name =
        Entry { kind: EntryType::GNULongName, path: "././@LongLink", content: &vec![b'a'; 2 << 20], ..FILE };
    let roomy = Store::new();
    roomy.refuses_entries(&[huge_name, FILE], "a name or PAX header of 2097152 bytes");

    let ratio = Store::with(UnpackLimits { ratio: 100, ..UnpackLimits::default() });
    let zeros = archive(&[Entry { content: &vec![0u8; 80 << 20], ..FILE }]);
    ratio.refuses(&layer(ratio.dir.path(), "zeros", &zeros), "times its size");
}

#[test]
fn every_compression_and_long_names() {
    let store = Store::new();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(130));
    let mut builder = tar::Builder::new(Vec::new());
    for name in [long.as_str(), "short"] {
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append_data(&mut header, name, &b"hello"[..]).unwrap();
    }
    builder.append_pax_extensions([("path", b"by/pax".as_slice()), ("SCHILY.xattr.user.q", b"1")]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(5);
    header.set_mode(0o600);
    header.set_cksum();
    builder.append_data(&mut header, "x", &b"hello"[..]).unwrap();
    let tar = builder.into_inner().unwrap();

    let mut zstd = ruzstd::encoding::compress_to_vec(&tar[..], ruzstd::encoding::CompressionLevel::Fastest);
    // A skippable frame, as lazy-loading formats append it.
    zstd.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    let mut gzip = Vec::new();
    for part in tar.chunks(700) {
        // Several members are one stream.
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(part).unwrap();
        gzip.extend(encoder.finish().unwrap());
    }
    for (name, stored) in [("plain", &tar), ("gzip", &gzip), ("zstd", &zstd)] {
        let layer = blob(store.dir.path(), name, stored, &tar);
        let root = store.store.unpack(&layer).unwrap_or_else(|e| panic!("{name}: {e}"));
        for file in [long.as_str(), "short", "by/pax"] {
            assert_eq!(fs::read_to_string(root.join(file)).unwrap(), "hello", "{name} {file}");
        }
        let attribute = rustix::fs::lgetxattr(root.join("by/pax"), "user.q", &mut [0u8; 4][..]);
        assert!(attribute.is_err(), "attributes of layers are never applied");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn the_same_layer_from_many_threads() {
    let store = Store::new();
    let layer = layer(store.dir.path(), "one", &archive(&[FILE, DIR]));
    // Two stores stand for two processes, which do not share a lock.
    let other = LayerStore::open(&store.dir.path().join("layers"), UnpackLimits::default(), false).unwrap();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (store, layer) = (if n % 2 == 0 { &store.store } else { &other }, &layer);
            scope.spawn(move || assert!(store.unpack(layer).unwrap().join("f").is_file()));
        }
    });
    assert_eq!(fs::read_dir(store.dir.path().join("layers")).unwrap().count(), 1);
}
