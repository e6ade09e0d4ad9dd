//! Uploads in pieces, broken off, resumed, wrong, concurrent, and killed.

mod support;

use quarry_registry::Digest;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};
use support::{Auth, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn pieces_must_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let digest = Digest::of(b"helloworld!");
    let begun = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await;
    let at = begun.header("location").to_owned();
    assert_eq!(begun.header("range"), "0-0");

    let early = server.call("PATCH", &at, &[("content-range", "5-9")], "world").await;
    assert_eq!((early.error(), early.header("range")), ((416, "BLOB_UPLOAD_INVALID".into()), "0-0"));
    let first = server.call("PATCH", &at, &[("content-range", "0-4")], "hello").await;
    assert_eq!((first.status.as_u16(), first.header("range")), (202, "0-4"));
    let again = server.call("PATCH", &at, &[("content-range", "0-4")], "hello").await;
    assert_eq!((again.status.as_u16(), again.header("range"), again.header("location")), (416, "0-4", &*at));
    // Fewer bytes than announced: nothing of them is kept.
    let short = server.call("PATCH", &at, &[("content-range", "5-9")], "wor").await;
    assert_eq!(short.error(), (400, "SIZE_INVALID".into()));
    for bad in ["x", "5", "9-5", "5-x", "-5"] {
        let refused = server.call("PATCH", &at, &[("content-range", bad)], "world").await;
        assert_eq!(refused.error(), (400, "BLOB_UPLOAD_INVALID".into()), "{bad}");
    }
    let status = server.get(&at).await;
    assert_eq!((status.status.as_u16(), status.header("range")), (204, "0-4"));
    // Without a Content-Range a piece goes to the end.
    let second = server.call("PATCH", &at, &[], "world").await;
    assert_eq!((second.status.as_u16(), second.header("range")), (202, "0-9"));
    let unnamed = server.call("PUT", &at, &[], "!").await;
    assert_eq!(unnamed.error(), (400, "DIGEST_INVALID".into()));
    let done = server.call("PUT", &format!("{at}?digest={digest}"), &[("content-range", "10-10")], "!").await;
    assert_eq!(done.status, 201);
    assert_eq!(&server.get(&format!("/v2/api/blobs/{digest}")).await.body[..], b"helloworld!");
    assert_eq!(server.get(&at).await.error(), (404, "BLOB_UPLOAD_UNKNOWN".into()));
    assert_eq!(server.files("uploads"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_request_and_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    server.create("other");
    let digest = Digest::of(b"whole");
    let one = server.call("POST", &format!("/v2/api/blobs/uploads/?digest={digest}"), &[], "whole").await;
    assert_eq!((one.status.as_u16(), one.header("location")), (201, &*format!("/v2/api/blobs/{digest}")));
    let begun = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await;
    let at = begun.header("location").to_owned();
    // The upload belongs to its repository.
    assert_eq!(server.get(&at.replace("/api/", "/other/")).await.status, 404);
    assert_eq!(server.files("uploads").len(), 1);
    assert_eq!(server.call("DELETE", &at, &[], "").await.status, 204);
    assert_eq!(server.files("uploads"), [""; 0]);
    assert_eq!(server.call("DELETE", &at, &[], "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_digest_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let promised = Digest::of(b"something else");
    let begun = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await;
    let at = begun.header("location").to_owned();
    let refused = server.call("PUT", &format!("{at}?digest={promised}"), &[], "this").await;
    assert_eq!(refused.error(), (400, "DIGEST_INVALID".into()));
    assert_eq!(server.get(&at).await.status, 404);
    let one = server.call("POST", &format!("/v2/api/blobs/uploads/?digest={promised}"), &[], "this").await;
    assert_eq!(one.error(), (400, "DIGEST_INVALID".into()));
    assert_eq!(server.files("uploads"), [""; 0]);
    assert_eq!(server.files("blobs/sha256"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let limits = |config: &mut quarry_registry::RegistryConfig| {
        config.max_uploads = 2;
        config.max_blob_bytes = 10;
    };
    let server = Server::start_with(dir.path(), Auth(None), limits).await;
    server.create("api");
    let at = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await.header("location").to_owned();
    assert_eq!(server.call("PATCH", &at, &[], "0123456789").await.status, 202);
    let over = server.call("PATCH", &at, &[], "x").await;
    assert_eq!(over.error(), (413, "SIZE_INVALID".into()));
    assert_eq!(server.files("uploads"), [""; 0]);
    for _ in 0..2 {
        assert_eq!(server.call("POST", "/v2/api/blobs/uploads/", &[], "").await.status, 202);
    }
    let third = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await;
    assert_eq!((third.error(), third.header("retry-after")), ((429, "TOOMANYREQUESTS".into()), "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_can_be_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let content = vec![7u8; 300_000];
    let digest = Digest::of(&content);
    let at = server.call("POST", "/v2/api/blobs/uploads/", &[], "").await.header("location").to_owned();
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head = format!("PATCH {at} HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..200_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    drop(stream);
    // What arrived may still be on its way to the disk.
    let deadline = Instant::now() + Duration::from_secs(10);
    let from = loop {
        let status = server.get(&at).await;
        assert_eq!(status.status, 204);
        let last: usize = status.header("range")[2..].parse().unwrap();
        if last == 199_999 {
            break last + 1;
        }
        assert!(Instant::now() < deadline, "only {last} arrived");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let path = format!("{at}?digest={digest}");
    assert_eq!(server.call("PUT", &path, &[], content[from..].to_vec()).await.status, 201);
    assert!(server.get(&format!("/v2/api/blobs/{digest}")).await.body == content);

    // An upload in one request that breaks off is gone: nobody knows its name.
    let lost = Digest::of(b"lost");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let head = format!("POST /v2/api/blobs/uploads/?digest={lost} HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nlos");
    stream.write_all(head.as_bytes()).await.unwrap();
    while server.files("uploads").is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(stream);
    while !server.files("uploads").is_empty() {
        assert!(Instant::now() < deadline, "the upload's data stayed");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(server.get(&format!("/v2/api/blobs/{lost}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_blob_pushed_by_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.create("api");
    let content = vec![9u8; 1 << 20];
    let pushes = (0..8).map(|_| server.push_blob("api", &content));
    let digests = futures(pushes.collect()).await;
    assert!(digests.iter().all(|digest| *digest == Digest::of(&content)));
    assert!(server.get(&format!("/v2/api/blobs/{}", digests[0])).await.body == content);
    assert_eq!(server.files("blobs/sha256"), [digests[0].hex()]);
    assert_eq!(server.files("uploads"), [""; 0]);
}

/// Runs all at the same time.
async fn futures<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut running {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    running.into_iter().filter_map(|(_, output)| output).collect()
}

/// Set for the process of [`child`]: its data directory.
const CHILD: &str = "REGISTRY_TEST_CHILD";

/// The process that [`killed_in_the_middle_of_an_upload`] kills: it prints its port and serves.
#[test]
fn child() {
    let Some(data) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::start(data.as_ref()).await;
        server.create("api");
        println!("\nport {}", server.port);
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

#[test]
fn killed_in_the_middle_of_an_upload() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port: u16 = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("port ")?.parse().ok()).unwrap();
    let send = |text: &str, body: &[u8]| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    };
    // One blob is acknowledged, another is under way at 99 %.
    let (kept, lost) = (Digest::of(b"kept"), Digest::of(&[1u8; 100_000]));
    let head = format!(
        "POST /v2/api/blobs/uploads/?digest={kept} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\n"
    );
    let mut answer = String::new();
    send(&head, b"kept").read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let head =
        format!("POST /v2/api/blobs/uploads/?digest={lost} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
    let open = send(&head, &[1u8; 99_000]);
    let uploads = dir.path().join("registry/uploads");
    let arrived = || std::fs::read_dir(&uploads).unwrap().any(|e| e.unwrap().metadata().unwrap().len() >= 99_000);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !arrived() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(open);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let server = Server::start(dir.path()).await;
        assert_eq!(server.files("uploads"), [""; 0]);
        assert_eq!(&server.get(&format!("/v2/api/blobs/{kept}")).await.body[..], b"kept");
        assert_eq!(server.get(&format!("/v2/api/blobs/{lost}")).await.status, 404);
        assert_eq!(server.files("blobs/sha256"), [kept.hex()]);
    });
}
