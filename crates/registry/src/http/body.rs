//! Response bodies: JSON, and files streamed in pieces.

use super::ResponseBody;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Frame, SizeHint};
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes read from disk at a time.
const PIECE: u64 = 256 << 10;

/// A part of a file, read piece by piece as the client takes it.
pub(super) struct FileBody {
    file: Arc<File>,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<ResponseBody> {
    let bytes = Bytes::from(value.to_string());
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

pub(super) fn full(bytes: Bytes) -> ResponseBody {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

pub(super) fn empty() -> ResponseBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

impl FileBody {
    /// `length` bytes of the file from `offset` on.
    pub(super) fn new(file: File, offset: u64, length: u64) -> Self {
        Self { file: Arc::new(file), offset, left: length, reading: None }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let (file, offset, length) = (self.file.clone(), self.offset, self.left.min(PIECE));
        let reading = self.reading.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length as usize];
                file.read_exact_at(&mut piece, offset)?;
                Ok(Bytes::from(piece))
            })
        });
        let read = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        let piece = read.map_err(io::Error::other).flatten();
        Poll::Ready(Some(match piece {
            Ok(piece) => {
                self.offset += piece.len() as u64;
                self.left -= piece.len() as u64;
                Ok(Frame::data(piece))
            }
            Err(error) => {
                self.left = 0;
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
