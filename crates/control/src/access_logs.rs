//! The newest lines of load balancers' access logs, for whoever runs the installation: the buckets that they are in are
//! folders of this machine, and no API of S3 is served.

use crate::cut::api::failure;
use crate::elbv2::records::LoadBalancer;
use crate::platform::Platform;
use bytes::Bytes;
use http::{Response, header};
use quarry_domain::snapshot::LogDestination;
use quarry_wire::ServiceError;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where they are told: `GET <PATH>/<name of the load balancer>?lines=<at most so many>`, signed as the cut's API is.
pub const PATH: &str = "/_quarry/v1/access-logs";

const USUAL_LINES: usize = 200;
const MAX_LINES: usize = 2_000;
/// Bytes read of one file, from its end, and files looked at.
const TAIL: u64 = 2 << 20;
const FILES: usize = 64;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// Lines are written now.
    pub enabled: bool,
    /// As an Application Load Balancer writes them, the newest first.
    pub lines: Vec<String>,
}

/// The name of the load balancer, where the path is of this API.
pub fn balancer(path: &str) -> Option<&str> {
    path.strip_prefix(PATH)?.strip_prefix('/').filter(|name| !name.is_empty())
}

/// Answers a request that is authentic. Blocks.
pub fn answer(platform: &Platform, name: &str, query: &str) -> Response<Bytes> {
    let failed = |status, code: &'static str, message: String| failure(&ServiceError::new(code, message, status));
    let found = platform.store.read(|tx| {
        let all = tx.all::<LoadBalancer>()?;
        Ok::<_, crate::store::StoreError>(all.into_iter().find(|balancer| balancer.name == name))
    });
    let balancer = match found {
        Ok(Some(balancer)) => balancer,
        Ok(None) => return failed(404, "LoadBalancerNotFound", format!("there is no load balancer {name}")),
        Err(error) => return failed(500, "InternalFailure", error.to_string()),
    };
    let wanted = query.split('&').find_map(|pair| pair.strip_prefix("lines="));
    let wanted = match wanted.map(str::parse::<usize>) {
        None => USUAL_LINES,
        Some(Ok(lines @ 1..=MAX_LINES)) => lines,
        Some(_) => return failed(400, "ValidationError", format!("lines is 1 to {MAX_LINES}")),
    };
    let told = balancer.attributes.access_logs.as_ref().map(|to| newest(platform, &balancer.arn, to, wanted));
    let enabled = told.is_some();
    let body = match told.unwrap_or_else(|| Ok(Vec::new())) {
        Ok(lines) => serde_json::to_vec(&Lines { enabled, lines }).unwrap_or_default(),
        Err(error) => return failed(500, "InternalFailure", format!("the access log cannot be read: {error}")),
    };
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn newest(platform: &Platform, arn: &str, to: &LogDestination, wanted: usize) -> io::Result<Vec<String>> {
    let place = platform.place();
    let mut folder = platform.config.data_dir.join("s3").join(&to.bucket);
    if !to.prefix.is_empty() {
        folder.push(&to.prefix);
    }
    folder.extend(["AWSLogs", &place.account, "elasticloadbalancing", &place.region]);
    let id = quarry_domain::arn::resource_part(arn).trim_start_matches("loadbalancer/").replace('/', ".");
    tails(&folder, &format!("{}_elasticloadbalancing_{}_{id}_", place.account, place.region), wanted)
}

/// The newest lines of the files below `yyyy/mm/dd` whose names begin like this.
fn tails(folder: &Path, stem: &str, wanted: usize) -> io::Result<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    let mut files = 0;
    'days: for day in days(folder)? {
        let mut names: Vec<String> = entries(&day)?.into_iter().filter(|name| name.starts_with(stem)).collect();
        names.sort_unstable_by(|a, b| b.cmp(a));
        let interval = |name: &str| name[stem.len()..].split('_').next().unwrap_or_default().to_owned();
        // Two proxies may write in the same five minutes, each its own file.
        for same in names.chunk_by(|a, b| interval(a) == interval(b)) {
            if lines.len() >= wanted || files >= FILES {
                break 'days;
            }
            files += same.len();
            let mut read = Vec::new();
            for name in same {
                read.extend(tail(&day.join(name))?);
            }
            read.sort_unstable_by(|a, b| at(b).cmp(at(a)));
            lines.extend(read);
        }
    }
    lines.truncate(wanted);
    Ok(lines)
}

/// When a line was written: its second field.
fn at(line: &str) -> &str {
    line.split(' ').nth(1).unwrap_or_default()
}

/// The folders `yyyy/mm/dd`, the newest first.
fn days(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut days = vec![folder.to_owned()];
    for _ in ["year", "month", "day"] {
        let mut below = Vec::new();
        for path in days {
            let mut names = entries(&path)?;
            names.retain(|name| name.bytes().all(|b| b.is_ascii_digit()));
            names.sort_unstable_by(|a, b| b.cmp(a));
            below.extend(names.into_iter().map(|name| path.join(name)));
        }
        days = below;
    }
    Ok(days)
}

/// Names of what is in a folder; a folder that is not there is empty.
fn entries(folder: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Ok(read) => read.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The whole lines in the last part of a file.
fn tail(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.split('\n').skip(usize::from(from > 0));
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_lines_come_first_from_all_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |day: &str, name: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(day)).unwrap();
            std::fs::write(root.path().join(day).join(name), text).unwrap();
        };
        write("2026/01/31", "lb_a_20260131T2355Z_127.80.0.1_x.log", "http 2026-01-31T23:54 old\n");
        write(
            "2026/02/01",
            "lb_a_20260201T0005Z_127.80.0.1_y.log",
            "http 2026-02-01T00:01 one\nhttp 2026-02-01T00:03 three\nhttp 2026-02-01T00:04 hal",
        );
        write("2026/02/01", "lb_a_20260201T0005Z_127.80.0.1_b.log", "http 2026-02-01T00:02 two\n");
        write("2026/02/01", "conn_log.lb_a_20260201T0005Z_127.80.0.1_z.log", "another kind\n");
        write("2026/02/01", "lb_b_20260201T0005Z_127.80.0.1_z.log", "another load balancer\n");
        let last = |wanted| -> Vec<String> {
            let lines = tails(root.path(), "lb_a_", wanted).unwrap();
            lines.iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
        };
        assert_eq!(last(10), ["three", "two", "one", "old"]);
        assert_eq!(last(2), ["three", "two"]);
        assert!(tails(&root.path().join("none"), "lb_a_", 5).unwrap().is_empty());
    }

    #[test]
    fn paths_name_a_load_balancer() {
        assert_eq!(balancer("/_quarry/v1/access-logs/demo"), Some("demo"));
        assert_eq!(balancer("/_quarry/v1/access-logs"), None);
        assert_eq!(balancer("/_quarry/v1/access-logsdemo"), None);
    }
}
