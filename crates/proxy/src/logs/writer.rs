//! The thread that writes log files.
//!
//! A file is one load balancer's lines of five minutes: `s3/<bucket>/<prefix>/AWSLogs/<account>/
//! elasticloadbalancing/<region>/yyyy/mm/dd/<account>_elasticloadbalancing_<region>_app.<name>.<id>_
//! <end of the five minutes>_<address>_<random>.log`, as an Application Load Balancer's in S3, but for `.gz`:
//! they are plain text, to be read while they grow. What cannot be written is dropped and counted, and never
//! half a line stays.

use super::text::civil;
use super::{Batch, Sink};
use quarry_domain::door::Door;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Batches that may wait to be written.
pub const QUEUE: usize = 128;
/// Seconds that one file is of.
const INTERVAL: i64 = 300;
/// Files of times that are over are closed this often.
const TIDY: Duration = Duration::from_secs(60);

/// Writes files below one folder.
pub struct Writer {
    root: PathBuf,
    door: Door,
    open: HashMap<String, Open>,
    failing: bool,
}

struct Open {
    file: File,
    length: u64,
    /// Unix seconds.
    end: i64,
}

impl Writer {
    /// `root` stands for S3.
    pub fn new(root: PathBuf, door: Door) -> Self {
        Self { root, door, open: HashMap::new(), failing: false }
    }

    /// Writes until no sender is left.
    pub fn run(mut self, batches: Receiver<Batch>) {
        loop {
            match batches.recv_timeout(TIDY) {
                Ok(batch) => self.take(&batch),
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.door.now_ms() / 1000;
                    self.open.retain(|_, open| open.end > now);
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn take(&mut self, batch: &Batch) {
        match self.write(batch) {
            Ok(()) => self.failing = false,
            Err(error) => {
                batch.sink.dropped(batch.lines);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(root = %self.root.display(), %error, "log lines cannot be written and are dropped");
                }
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let now = self.door.now_ms() / 1000;
        let key = format!("{}/{}", batch.sink.folder, batch.sink.stem);
        let usable = |open: &Open| open.end > now && open.file.metadata().is_ok_and(|meta| meta.nlink() > 0);
        if !self.open.get(&key).is_some_and(usable) {
            let opened = self.create(&batch.sink, now)?;
            self.open.insert(key.clone(), opened);
        }
        let Some(open) = self.open.get_mut(&key) else { return Ok(()) };
        if let Err(error) = open.file.write_all(&batch.text) {
            let cut = open.file.set_len(open.length);
            if cut.is_err() {
                self.open.remove(&key);
            }
            return Err(error);
        }
        open.length += batch.text.len() as u64;
        Ok(())
    }

    fn create(&self, sink: &Sink, now: i64) -> io::Result<Open> {
        let end = (now.div_euclid(INTERVAL) + 1) * INTERVAL;
        let (year, month, day, ..) = civil(now);
        let folder = self.root.join(&sink.folder).join(format!("{year:04}/{month:02}/{day:02}"));
        fs::create_dir_all(&folder)?;
        let (year, month, day, hour, minute, _) = civil(end);
        let end_time = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}Z");
        let name = format!("{}_{end_time}_{}_{}.log", sink.stem, sink.node, self.door.hex(8));
        let file = OpenOptions::new().create_new(true).append(true).open(folder.join(name))?;
        Ok(Open { file, length: 0, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{Kind, Logger};
    use crate::target::Balancer;
    use quarry_domain::door::TestDoor;
    use quarry_domain::snapshot::{LoadBalancer, LoadBalancerAttributes, LogDestination};
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;

    fn sink() -> (Arc<Sink>, Arc<Balancer>) {
        let balancer = Balancer::new(1);
        let lb = LoadBalancer {
            arn: "arn:aws:elasticloadbalancing:us-east-2:123456789012:loadbalancer/app/my-lb/50dc6c495c0c9188".into(),
            name: "my-lb".into(),
            dns_name: String::new(),
            address: Ipv4Addr::new(127, 80, 0, 1),
            hub_address: None,
            attributes: LoadBalancerAttributes::default(),
            listeners: vec![],
        };
        let to = LogDestination { bucket: "logs".into(), prefix: "my/app".into() };
        (Sink::new(Kind::Access, Some(&to), &lb, &balancer).unwrap(), balancer)
    }

    fn files(dir: &std::path::Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => found.extend(files(&path)),
                path => found.push(path),
            }
        }
        found.sort();
        found
    }

    fn batch(sink: &Arc<Sink>, text: &str) -> Batch {
        Batch { sink: sink.clone(), text: text.into(), lines: text.lines().count() as u64 }
    }

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("qp-log-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_are_named_as_in_s3_and_change_every_five_minutes() {
        let folder = Folder::new("names");
        let door = TestDoor::new(1_530_570_180_186);
        let mut writer = Writer::new(folder.0.clone(), door.door());
        let (sink, _) = sink();
        writer.take(&batch(&sink, "one\n"));
        writer.take(&batch(&sink, "two\n"));
        door.advance(Duration::from_secs(300));
        writer.take(&batch(&sink, "three\n"));
        let found = files(&folder.0);
        let names: Vec<String> =
            found.iter().map(|path| path.strip_prefix(&folder.0).unwrap().display().to_string()).collect();
        let begins = "logs/my/app/AWSLogs/123456789012/elasticloadbalancing/us-east-2/2018/07/02/\
                      123456789012_elasticloadbalancing_us-east-2_app.my-lb.50dc6c495c0c9188_20180702T22";
        assert!(names[0].starts_with(&format!("{begins}25Z_127.80.0.1_")) && names[0].ends_with(".log"), "{names:?}");
        assert!(names[1].starts_with(&format!("{begins}30Z_127.80.0.1_")), "{names:?}");
        assert_eq!(fs::read_to_string(&found[0]).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&found[1]).unwrap(), "three\n");
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_counted_and_writing_goes_on_by_itself() {
        let folder = Folder::new("full");
        let door = TestDoor::new(1_530_570_180_186);
        let mut writer = Writer::new(folder.0.join("s3"), door.door());
        let (sink, balancer) = sink();
        // Where a folder should be is a file.
        fs::write(folder.0.join("s3"), "in the way").unwrap();
        writer.take(&batch(&sink, "one\ntwo\n"));
        assert_eq!(balancer.total().log_lines_dropped, 2);
        fs::remove_file(folder.0.join("s3")).unwrap();
        writer.take(&batch(&sink, "three\n"));
        // A device that is always full stands in for the file.
        let key = writer.open.keys().next().unwrap().clone();
        let before = std::mem::replace(
            &mut writer.open.get_mut(&key).unwrap().file,
            OpenOptions::new().append(true).open("/dev/full").unwrap(),
        );
        writer.take(&batch(&sink, "four\n"));
        assert_eq!(balancer.total().log_lines_dropped, 3);
        drop(before);
        writer.take(&batch(&sink, "five\n"));
        let written: String = files(&folder.0).iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(written.contains("three\n") && written.contains("five\n") && !written.contains("four"), "{written}");
        // A folder that somebody removed is made again.
        fs::remove_dir_all(folder.0.join("s3")).unwrap();
        writer.take(&batch(&sink, "six\n"));
        assert_eq!(fs::read_to_string(&files(&folder.0)[0]).unwrap(), "six\n");
    }

    #[test]
    fn a_full_queue_drops_lines_and_makes_nobody_wait() {
        let (sender, receiver) = sync_channel(1);
        let (sink, balancer) = sink();
        let logger = Logger::new(sender);
        for _ in 0..3 {
            assert!(logger.line(&sink, |out| out.extend_from_slice(b"line\n")));
            logger.flush();
        }
        assert_eq!(balancer.total().log_lines_dropped, 2);
        assert_eq!(receiver.recv().unwrap().lines, 1);
    }
}
