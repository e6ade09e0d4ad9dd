//! `X-Amzn-Trace-Id` (AWS's documentation, "Tracing header") and W3C's `traceparent`.
//!
//! Both name the same trace: X-Ray's `1-<8 digits>-<24 digits>` is W3C's id of 32 digits, the first eight of which X-Ray
//! made of the time.

/// What a request says of the trace that it belongs to. Read without an allocation, as each request is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceHeader {
    /// X-Ray's form of the trace's id, in lower case.
    pub root: [u8; 35],
    /// The id of the segment or span that asks, 16 hexadecimal digits in lower case.
    pub parent: Option<[u8; 16]>,
    /// Whether who asks records this trace; `None`: it did not decide.
    pub sampled: Option<bool>,
}

impl TraceHeader {
    /// Of the value of `X-Amzn-Trace-Id`; `None` without a well-formed Root.
    pub fn parse(value: &str) -> Option<Self> {
        let (mut root, mut parent, mut sampled) = (None, None, None);
        for (name, value) in value.split(';').filter_map(|field| field.trim().split_once('=')) {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            if is("root") && is_trace_id(value) {
                root = lower(value);
            } else if is("parent") && is_span_id(value) {
                parent = lower(value);
            } else if is("sampled") {
                sampled = ["0", "1"].iter().position(|v| *v == value).map(|v| v == 1);
            }
        }
        Some(Self { root: root?, parent, sampled })
    }

    /// The trace's id as text.
    pub fn root(&self) -> &str {
        text(&self.root)
    }

    /// Who asks, as text.
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_ref().map(|id| text(id))
    }

    /// Of the value of `traceparent`; `None` where it is none.
    pub fn from_w3c(value: &str) -> Option<Self> {
        let mut parts = value.trim().splitn(5, '-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        // Of version 00 nothing may follow; a later one may say more.
        let fits =
            version.len() == 2 && version != "ff" && flags.len() == 2 && (version != "00" || parts.next().is_none());
        if !fits || ![version, trace, parent, flags].iter().all(|part| is_hex(part)) {
            return None;
        }
        let root = xray_of(trace)?;
        let parent = Some(parent).filter(|parent| is_span_id(parent)).and_then(lower)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self { root, parent: Some(parent), sampled: Some(flags & 1 == 1) })
    }
}

/// W3C's 32 digits as X-Ray has them; `None` where they are no id.
pub fn to_xray(trace: &str) -> Option<String> {
    xray_of(trace).map(|id| text(&id).to_owned())
}

fn xray_of(trace: &str) -> Option<[u8; 35]> {
    let is_id = trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()) && trace.bytes().any(|b| b != b'0');
    let mut id = *b"1-........-........................";
    is_id.then(|| {
        id[2..10].copy_from_slice(&trace.as_bytes()[..8]);
        id[11..].copy_from_slice(&trace.as_bytes()[8..]);
        id.make_ascii_lowercase();
        id
    })
}

/// Text of this length in lower case.
fn lower<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes: [u8; N] = text.as_bytes().try_into().ok()?;
    bytes.make_ascii_lowercase();
    Some(bytes)
}

/// Digits and hyphens.
fn text(id: &[u8]) -> &str {
    std::str::from_utf8(id).unwrap_or_default()
}

/// X-Ray's id as W3C has it: 32 digits.
pub fn to_w3c(root: &str) -> Option<String> {
    is_trace_id(root).then(|| format!("{}{}", &root[2..10], &root[11..]).to_ascii_lowercase())
}

/// `1-<8 hexadecimal digits>-<24>`.
pub fn is_trace_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 35
        && bytes.starts_with(b"1-")
        && bytes[10] == b'-'
        && bytes[2..10].iter().chain(&bytes[11..]).all(u8::is_ascii_hexdigit)
}

/// 16 hexadecimal digits, not all zero.
pub fn is_span_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()) && text.bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn both_headers_name_the_same_trace() {
        let header = TraceHeader::parse("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
        let w3c = TraceHeader::from_w3c("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01");
        assert_eq!(header, w3c);
        let header = header.unwrap();
        assert_eq!((header.root(), header.parent(), header.sampled), (ROOT, Some("53995c3f42cd8ad8"), Some(true)));
        assert_eq!(to_w3c(ROOT).as_deref(), Some("5759e988bd862e3fe1be46a994272793"));
        assert_eq!(to_xray(&to_w3c(ROOT).unwrap()).as_deref(), Some(ROOT));
    }

    #[test]
    fn what_is_no_header_is_none() {
        for bad in ["", "Root=", "Root=1-x-y", "Parent=53995c3f42cd8ad8", "Root=2-5759e988-bd862e3fe1be46a994272793"] {
            assert_eq!(TraceHeader::parse(bad), None, "{bad}");
        }
        let upper = TraceHeader::parse("ROOT=1-5759E988-BD862E3FE1BE46A994272793;PARENT=53995C3F42CD8AD8").unwrap();
        assert_eq!((upper.root(), upper.parent()), (ROOT, Some("53995c3f42cd8ad8")));
        let open = TraceHeader::parse("Self=1-a-b; root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?").unwrap();
        assert_eq!((open.parent, open.sampled), (None, None));
        for bad in [
            "00-00000000000000000000000000000000-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-0000000000000000-01",
            "00-5759E988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01-more",
            "ff-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01",
            "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8",
        ] {
            assert_eq!(TraceHeader::from_w3c(bad), None, "{bad}");
        }
        assert!(TraceHeader::from_w3c("cc-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00-more").is_some());
    }
}
