//! Push and pull against a registry kept in memory.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Received, serve};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use quarry_client::oci::{self, Auth, OciError, OciImage, OciLayer, Registry, digest_of};

#[derive(Default)]
struct Store {
    blobs: BTreeMap<String, Bytes>,
    manifests: BTreeMap<String, Bytes>,
    upload: Vec<u8>,
    patches: usize,
    /// Where uploads are sent to instead of here.
    elsewhere: bool,
}

fn respond(status: StatusCode, headers: &[(&str, String)], body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Full::new(body.into())).expect("a response")
}

fn answer(store: &mut Store, received: Received) -> Response<Full<Bytes>> {
    let unknown = || respond(StatusCode::NOT_FOUND, &[], r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}"#);
    if received.headers.get("authorization").is_none_or(|v| v != "Basic QVdTOnBhc3M=") {
        return respond(StatusCode::UNAUTHORIZED, &[], r#"{"errors":[{"code":"UNAUTHORIZED","message":"who"}]}"#);
    }
    let path = received.uri.path();
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    let location = if store.elsewhere { "http://127.0.0.1:1/v2/x" } else { "/v2/team/web/blobs/uploads/7?state=a" };
    let accepted = || respond(StatusCode::ACCEPTED, &[("location", location.to_owned())], "");
    match (received.method.clone(), path) {
        (Method::HEAD | Method::GET, p) if p.contains("/blobs/") => match store.blobs.get(&last) {
            Some(blob) => respond(StatusCode::OK, &[], blob.clone()),
            None => unknown(),
        },
        (Method::POST, "/v2/team/web/blobs/uploads/") => accepted(),
        (Method::PATCH, _) => {
            let range = received.headers["content-range"].to_str().expect("text").to_owned();
            let (start, end) = range.split_once('-').expect("a range");
            assert_eq!(start.parse(), Ok(store.upload.len()));
            store.upload.extend_from_slice(&received.body);
            assert_eq!(end.parse(), Ok(store.upload.len() - 1));
            store.patches += 1;
            accepted()
        }
        (Method::PUT, p) if p.contains("/uploads/") => {
            let blob = Bytes::from(std::mem::take(&mut store.upload));
            let digest = digest_of(&blob);
            assert_eq!(received.uri.query(), Some(format!("state=a&digest={digest}").as_str()));
            store.blobs.insert(digest, blob);
            respond(StatusCode::CREATED, &[], "")
        }
        (Method::PUT, _) => {
            store.manifests.insert(digest_of(&received.body), received.body.clone());
            store.manifests.insert(last, received.body);
            respond(StatusCode::CREATED, &[], "")
        }
        (Method::GET, "/v2/team/web/tags/list") if received.uri.query().is_none() => {
            let next = "</v2/team/web/tags/list?last=a>; rel=\"next\"".to_owned();
            respond(StatusCode::OK, &[("link", next)], r#"{"name":"team/web","tags":["a"]}"#)
        }
        (Method::GET, "/v2/team/web/tags/list") => respond(StatusCode::OK, &[], r#"{"name":"team/web","tags":["b"]}"#),
        (Method::GET, _) => match store.manifests.get(&last) {
            Some(manifest) => respond(
                StatusCode::OK,
                &[("content-type", oci::MANIFEST.to_owned()), ("docker-content-digest", digest_of(manifest))],
                manifest.clone(),
            ),
            None => unknown(),
        },
        _ => unknown(),
    }
}

async fn registry() -> (Registry, Arc<Mutex<Store>>) {
    let store = Arc::new(Mutex::new(Store::default()));
    let shared = Arc::clone(&store);
    let address = serve(move |received| answer(&mut shared.lock().expect("the store"), received)).await;
    let auth = Auth::Basic { user: "AWS".to_owned(), password: "pass".to_owned() };
    (Registry::new(&address.to_string(), auth).expect("a registry"), store)
}

fn image() -> OciImage {
    let large: Vec<u8> = (0..9 << 20).map(|i: u32| (i % 251) as u8).collect();
    OciImage {
        config: Bytes::from_static(br#"{"architecture":"amd64","os":"linux"}"#),
        layers: vec![OciLayer::new(oci::LAYER_GZIP, large), OciLayer::new(oci::LAYER_GZIP, "small")],
    }
}

#[tokio::test]
async fn what_was_pushed_can_be_pulled_and_is_not_pushed_again() {
    let (registry, store) = registry().await;
    let image = image();
    let digest = registry.push_image("team/web", "v1", &image).await.expect("pushed");
    let patches = store.lock().expect("the store").patches;
    assert_eq!(patches, 4, "9 MiB in two chunks, the small layer, the configuration");

    let manifest = registry.get_manifest("team/web", "v1").await.expect("a manifest");
    assert_eq!((manifest.digest.as_str(), manifest.media_type.as_str()), (digest.as_str(), oci::MANIFEST));
    assert_eq!(manifest.bytes, image.manifest());
    let layer = &image.layers[0];
    assert_eq!(registry.get_blob("team/web", &layer.digest).await.expect("a blob"), layer.bytes);
    assert_eq!(registry.list_tags("team/web").await.expect("tags"), ["a", "b"]);

    registry.push_image("team/web", "v2", &image).await.expect("pushed");
    assert_eq!(store.lock().expect("the store").patches, patches);
}

#[tokio::test]
async fn content_that_is_not_what_it_says_is_refused() {
    let (registry, store) = registry().await;
    let mut image = image();
    image.layers[1].bytes = Bytes::from_static(b"other");
    let error = registry.push_image("team/web", "v1", &image).await.expect_err("a wrong digest");
    assert!(matches!(error, OciError::Digest { .. }), "{error}");

    let digest = digest_of(b"right");
    store.lock().expect("the store").blobs.insert(digest.clone(), Bytes::from_static(b"wrong"));
    let error = registry.get_blob("team/web", &digest).await.expect_err("altered");
    assert!(matches!(error, OciError::Digest { .. }), "{error}");
}

#[tokio::test]
async fn refusals_carry_the_registrys_code_and_uploads_stay_at_the_registry() {
    let (registry, store) = registry().await;
    let error = registry.get_manifest("team/web", "nothing").await.expect_err("unknown");
    let OciError::Refused { status, code, .. } = error else { panic!("{error}") };
    assert_eq!((status, code.as_str()), (404, "NAME_UNKNOWN"));

    store.lock().expect("the store").elsewhere = true;
    let error = registry.push_image("team/web", "v1", &image()).await.expect_err("elsewhere");
    assert!(matches!(error, OciError::Protocol(_)), "{error}");
}
