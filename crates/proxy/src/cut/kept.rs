//! The body of a write in flight, kept as it goes out, so that it can be sent again.

use super::scope::Scope;
use crate::http::body::Body;
use crate::io::{self, Buf, Meter, RelayError, chunk_size, write_all};
use crate::stream::Stream;
use std::cell::Cell;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What has been taken of a write's body, in the form in which it goes to a target.
pub struct Kept {
    scope: Arc<Scope>,
    body: Vec<u8>,
    /// Bytes that the scope counts for this.
    counted: usize,
    whole: Rc<Cell<bool>>,
}

/// A body on its way that may turn out too long to be kept: until then it counts as one that cannot be sent again.
struct Doubt(Arc<Scope>);

/// Room for a body that is read before its write begins, until it is dropped.
pub struct Room {
    scope: Arc<Scope>,
    bytes: usize,
}

/// Longer bodies are not kept.
pub const MAX_KEPT: usize = 256 * 1024;
/// Bytes kept for all writes of a scope together.
const MAX_KEPT_TOGETHER: usize = 64 * 1024 * 1024;

impl Kept {
    pub fn new(scope: Arc<Scope>) -> Box<Self> {
        Box::new(Self { scope, body: Vec::new(), counted: 0, whole: Rc::new(Cell::new(true)) })
    }

    /// Nothing is missing of what was taken: the write can be sent again.
    pub fn is_whole(&self) -> bool {
        self.whole.get()
    }

    /// The same, while the body is being relayed.
    pub fn whole(&self) -> Rc<Cell<bool>> {
        self.whole.clone()
    }

    fn push(&mut self, data: &[u8], chunk: bool) {
        if chunk {
            self.body.extend_from_slice(chunk_size(&mut [0; 18], data.len()));
        }
        self.body.extend_from_slice(data);
        if chunk {
            self.body.extend_from_slice(b"\r\n");
        }
        let more = self.body.len() - self.counted;
        self.counted = self.body.len();
        let together = self.scope.counts.kept_bytes.fetch_add(more, Ordering::Relaxed) + more;
        if self.body.len() > MAX_KEPT || together > MAX_KEPT_TOGETHER {
            self.whole.set(false);
            self.scope.counts.unrepeatable.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn forget(&mut self) {
        self.body = Vec::new();
        self.scope.counts.kept_bytes.fetch_sub(std::mem::take(&mut self.counted), Ordering::Relaxed);
    }
}

impl Doubt {
    fn about(kept: &Kept, body: &Body) -> Option<Self> {
        let doubtful = match body {
            Body::Length(bytes) => *bytes > MAX_KEPT as u64,
            Body::Chunked(_) => true,
            Body::None | Body::UntilClose => false,
        };
        (doubtful && kept.is_whole()).then(|| {
            kept.scope.counts.unrepeatable.fetch_add(1, Ordering::Relaxed);
            Self(kept.scope.clone())
        })
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        self.0.counts.unrepeatable.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Room {
    /// `None`: the body is too long, or too much is kept already.
    pub fn take(scope: &Arc<Scope>, bytes: u64) -> Option<Self> {
        let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_KEPT)?;
        let room = Self { scope: scope.clone(), bytes };
        let together = scope.counts.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (together <= MAX_KEPT_TOGETHER).then_some(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.scope.counts.kept_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget();
        if !self.whole.get() {
            self.scope.counts.unrepeatable.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// As [`io::relay`], of a request: what was kept goes out first, and what is taken is kept. When this ends, or is
/// dropped, `body` and `buffer` say what comes after that.
pub async fn relay(
    head: &[u8],
    from: &Stream,
    buffer: &mut Buf,
    body: &mut Body,
    to: &Stream,
    meter: &Meter<'_>,
    kept: &mut Kept,
) -> Result<(), RelayError> {
    let chunk = matches!(body, Body::Chunked(_));
    let doubt = Doubt::about(kept, body);
    let (mut head, mut sent) = (head, 0);
    loop {
        let step = body.step(buffer.bytes_mut()).map_err(|_| RelayError::Malformed)?;
        if step.data > 0 {
            kept.push(&buffer.bytes()[..step.data], chunk);
        }
        buffer.consume(step.consumed);
        let end: &[u8] = if chunk && step.done { b"0\r\n\r\n" } else { b"" };
        let mut slices = [IoSlice::new(head), IoSlice::new(&kept.body[sent..]), IoSlice::new(end)];
        write_all(to, &mut slices, meter).await.map_err(|_| RelayError::Sink)?;
        (head, sent) = (&[], kept.body.len());
        if step.done {
            return Ok(());
        }
        if !kept.is_whole() {
            kept.forget();
            drop(doubt);
            return io::relay(&[], from, buffer, body, to, chunk, meter).await;
        }
        if step.consumed > 0 && !buffer.is_empty() {
            continue;
        }
        meter.watch.wait_for(meter.phases.0);
        match buffer.fill(from).await {
            Ok(0) | Err(_) => return Err(RelayError::SourceEnded),
            Ok(_) => {
                meter.watch.touch();
            }
        }
    }
}
