//! Images from Dockerfiles: what is in them, that they are always the same, and what is refused.

use oci_spec::image::{ImageConfiguration, ImageManifest};
use quarry_deploy_kit::{BuildError, BuiltImage, Context, Options, build};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

const DOCKERFILE: &str = r#"
FROM scratch
ENV PORT=3000
COPY --chown=1000:1000 --chmod=0755 bin/api /bin/api
WORKDIR /srv/board
COPY web/ static/
COPY db.json .
USER 1000:1000
EXPOSE 3000
VOLUME /data
LABEL b=2 a=1
STOPSIGNAL SIGTERM
ENTRYPOINT ["/bin/api"]
CMD ["--import", "db.json"]
"#;

fn context(root: &Path, names: &[&str]) -> Context {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("content of {name}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    Context::dir(root).unwrap()
}

fn made(text: &str, context: &Context) -> Result<BuiltImage, BuildError> {
    build("Dockerfile", text, context, &Options { architecture: "arm64".into(), ..Options::default() })
}

/// `path mode uid:gid content-or-target`, in the order of the tar.
fn entries(image: &BuiltImage, layer: usize) -> Vec<String> {
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&image.layers[layer].bytes[..]).read_to_end(&mut tar).unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let read = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 0);
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let head = entry.header().clone();
        let link = entry.link_name().unwrap().map(|l| format!("-> {}", l.display()));
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        let (mode, uid, gid) = (head.mode().unwrap(), head.uid().unwrap(), head.gid().unwrap());
        format!("{path} {mode:o} {uid}:{gid} {}", link.unwrap_or(content)).trim_end().to_owned()
    });
    read.collect()
}

#[test]
fn an_image_as_the_dockerfile_says() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), &["bin/api", "web/b.css", "web/a/index.html", "db.json"]);
    fs::set_permissions(dir.path().join("web/a"), fs::Permissions::from_mode(0o755)).unwrap();
    let image = made(DOCKERFILE, &context).unwrap();

    assert_eq!(entries(&image, 0), ["bin/ 755 0:0", "bin/api 755 1000:1000 content of bin/api"]);
    assert_eq!(entries(&image, 1), ["srv/ 755 0:0", "srv/board/ 755 0:0"]);
    assert_eq!(
        entries(&image, 2),
        [
            "srv/board/static/ 755 0:0",
            "srv/board/static/a/ 755 0:0",
            "srv/board/static/a/index.html 644 0:0 content of web/a/index.html",
            "srv/board/static/b.css 644 0:0 content of web/b.css",
        ]
    );
    assert_eq!(entries(&image, 3), ["srv/board/db.json 644 0:0 content of db.json"]);

    let manifest = ImageManifest::from_reader(&image.manifest[..]).unwrap();
    assert_eq!(manifest.config().digest().to_string(), image.config_digest);
    assert_eq!(manifest.config().size(), image.config.len() as u64);
    let config = ImageConfiguration::from_reader(&image.config[..]).unwrap();
    assert_eq!(config.architecture().to_string(), "arm64");
    for (index, layer) in image.layers.iter().enumerate() {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(&layer.bytes[..]).read_to_end(&mut tar).unwrap();
        let hex = |bytes: &[u8]| {
            let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
            let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
            format!("sha256:{hex}")
        };
        assert_eq!((&layer.digest, &layer.diff_id), (&hex(&layer.bytes), &hex(&tar)));
        assert_eq!(manifest.layers()[index].digest().to_string(), layer.digest);
        assert_eq!(config.rootfs().diff_ids()[index], layer.diff_id);
    }
    let run = config.config().as_ref().unwrap();
    assert_eq!(run.entrypoint().as_ref().unwrap(), &["/bin/api"]);
    assert_eq!(run.cmd().as_ref().unwrap(), &["--import", "db.json"]);
    assert_eq!(run.env().as_ref().unwrap(), &["PORT=3000"]);
    assert_eq!(run.working_dir().as_deref(), Some("/srv/board"));
    assert_eq!(run.user().as_deref(), Some("1000:1000"));
    assert_eq!(run.exposed_ports().as_ref().unwrap(), &["3000/tcp"]);
    assert_eq!(run.volumes().as_ref().unwrap(), &["/data"]);
    assert_eq!(run.stop_signal().as_deref(), Some("SIGTERM"));
    assert_eq!(run.labels().as_ref().unwrap().len(), 2);
    let history = config.history().as_ref().unwrap();
    assert_eq!(history.iter().filter(|h| h.empty_layer() != Some(true)).count(), image.layers.len());
    assert_eq!(history[1].created_by().as_deref(), Some("COPY --chown=1000:1000 --chmod=0755 bin/api /bin/api"));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut names = ["bin/api", "web/b.css", "web/a/index.html", "db.json"];
    let first = made(DOCKERFILE, &context(one.path(), &names)).unwrap();
    // Other directory, other order of creation, other times.
    names.reverse();
    let other = context(two.path(), &names);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(two.path().join("db.json")).unwrap().set_modified(old).unwrap();
    assert_eq!(made(DOCKERFILE, &other).unwrap(), first);
    fs::write(two.path().join("db.json"), "changed").unwrap();
    let changed = made(DOCKERFILE, &other).unwrap();
    assert_ne!(changed.digest, first.digest);
    // What did not change keeps its layer.
    assert_eq!(changed.layers[..3], first.layers[..3]);
}

#[test]
fn targets() {
    let dir = tempfile::tempdir().unwrap();
    let context =
        context(dir.path(), &["a.txt", "b.txt", "d/x", "d/y/z"]).with_file("given/api", "/proc/version", 0o755);
    symlink("x", dir.path().join("d/link")).unwrap();
    symlink("a.txt", dir.path().join("alias")).unwrap();
    let paths = |text: &str| -> Vec<String> {
        let image = made(&format!("FROM scratch\n{text}"), &context).unwrap();
        let last = image.layers.len() - 1;
        entries(&image, last).iter().map(|e| e.split(" content").next().unwrap().to_owned()).collect()
    };
    assert_eq!(paths("COPY a.txt /x"), ["x 644 0:0"]);
    assert_eq!(paths("COPY a.txt /"), ["a.txt 644 0:0"]);
    assert_eq!(paths("COPY a.txt ."), ["a.txt 644 0:0"]);
    assert_eq!(paths("COPY a.txt x/y/"), ["x/ 755 0:0", "x/y/ 755 0:0", "x/y/a.txt 644 0:0"]);
    assert_eq!(paths("WORKDIR /w\nCOPY a.txt /w"), ["w/a.txt 644 0:0"]);
    assert_eq!(paths("WORKDIR /w\nWORKDIR v\nCOPY a.txt ../b"), ["w/b 644 0:0"]);
    assert_eq!(paths("COPY *.txt /t/"), ["t/ 755 0:0", "t/a.txt 644 0:0", "t/b.txt 644 0:0"]);
    // A link named as a source is followed; in a directory it stays a link.
    assert_eq!(paths("COPY alias /x"), ["x 644 0:0"]);
    assert_eq!(
        paths("COPY --chmod=700 d /d"),
        ["d/ 755 0:0", "d/link 777 0:0 -> x", "d/x 700 0:0", "d/y/ 700 0:0", "d/y/z 700 0:0"]
    );
    let given = made("FROM scratch\nCOPY given/api /api", &context).unwrap();
    assert!(entries(&given, 0)[0].starts_with("api 755 0:0 Linux version"), "{:?}", entries(&given, 0));
    // A name longer than a tar header holds.
    let long = format!("/{}/{}", "n".repeat(90), "m".repeat(90));
    assert_eq!(paths(&format!("COPY a.txt {long}"))[1], format!("{} 644 0:0", &long[1..]));
    // ADD of what is no archive is COPY.
    assert_eq!(paths("ADD --chmod=600 a.txt b.txt /t/"), ["t/ 755 0:0", "t/a.txt 600 0:0", "t/b.txt 600 0:0"]);
    assert_eq!(paths("ADD d /e"), paths("COPY d /e"));
    // Nothing added, no layer.
    assert!(made("FROM scratch\nCMD [\"/x\"]", &context).unwrap().layers.is_empty());
}

#[test]
fn bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let context = context(dir.path(), &["a.txt", "b.txt", "d/x"]).with_file("gone", "/nonexistent/file", 0o755);
    fs::write(dir.path().join("packed"), b"\x1f\x8b\x08").unwrap();
    let mut tar = tar::Builder::new(fs::File::create(dir.path().join("streamed")).unwrap());
    tar.append_data(&mut tar::Header::new_ustar(), "x", &b""[..]).unwrap();
    tar.finish().unwrap();
    assert!(made("FROM scratch\nCOPY packed streamed /x/", &context).is_ok());
    for (text, says) in [
        ("FROM scratch\nADD packed /x", "Dockerfile:2: packed is an archive, which ADD unpacks"),
        ("FROM scratch\nADD a.txt streamed /x/", "Dockerfile:2: streamed is an archive, which ADD unpacks"),
        ("FROM scratch\nCOPY none /x", "Dockerfile:2: none is not in the context"),
        ("FROM scratch\n\nCOPY ../x /x", "Dockerfile:3: ../x is outside the context"),
        ("FROM scratch\nCOPY *.md /x/", "Dockerfile:2: nothing in the context matches *.md"),
        ("FROM scratch\nCOPY *.txt /x", "Dockerfile:2: the pattern names 2 files"),
        ("FROM scratch\nCOPY [ab].txt /x", "Dockerfile:2: "),
        ("FROM scratch\nCOPY a.txt ../x", "Dockerfile:2: ../x leads above the image's root"),
        ("FROM scratch\nCOPY a.txt /x\nCOPY b.txt /x/y", "Dockerfile:3: /x is a file"),
        ("FROM scratch\nCOPY a.txt /d/x/y\nCOPY d /d", "Dockerfile:3: /d/x is a directory and would be replaced"),
        ("FROM scratch\nCOPY a.txt /x\nWORKDIR /x", "Dockerfile:3: /x is a file"),
        ("FROM scratch\nCOPY gone /x", "/nonexistent/file: No such file"),
        ("FROM debian", "Dockerfile:1: FROM debian is not supported"),
    ] {
        let error = made(text, &context).expect_err(text).to_string();
        assert!(error.starts_with(says), "{text}: {error}");
    }
}
