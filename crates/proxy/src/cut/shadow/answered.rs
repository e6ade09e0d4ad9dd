//! An answer as it is compared: status, header fields, body.

use std::cell::{Cell, RefCell};

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// Without its framing.
    pub body: Vec<u8>,
}

/// An answer on its way to a client, copied as it passes by.
#[derive(Default)]
pub struct Capture {
    head: RefCell<Vec<u8>>,
    body: RefCell<Vec<u8>>,
    too_large: Cell<bool>,
}

/// Longer bodies are not compared.
pub const MAX_BODY: usize = 1024 * 1024;

impl Capture {
    /// The head, as the target sent it.
    pub fn head(&self, bytes: &[u8]) {
        self.head.replace(bytes.to_vec());
        self.body.borrow_mut().clear();
        self.too_large.set(false);
    }

    /// More of the body.
    pub fn push(&self, data: &[u8]) {
        let mut body = self.body.borrow_mut();
        if body.len() + data.len() > MAX_BODY {
            self.too_large.set(true);
            *body = Vec::new();
        }
        if !self.too_large.get() {
            body.extend_from_slice(data);
        }
    }

    /// `None` where no answer was passed on, or one that is too large.
    pub fn into_answered(self) -> Option<Answered> {
        if self.too_large.get() {
            return None;
        }
        let head = Answered::read(&self.head.into_inner())?;
        Some(Answered { body: self.body.into_inner(), ..head })
    }
}

impl Answered {
    /// From a whole head.
    pub fn read(head: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(head).ok()?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let fields = response.headers.iter().map(|f| (f.name.to_ascii_lowercase(), text(f.value))).collect();
        Some(Self { status: response.code?, fields, body: Vec::new() })
    }

    /// The values of a field, in order.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }
}
