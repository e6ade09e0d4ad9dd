//! X-Amzn-Trace-Id: made where it is missing, extended where it is there; and whether the request is recorded.

/// What is said of recording a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Nothing: what the client said stays.
    Off,
    No,
    Yes(Marks),
}

/// The ids of a request that is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The trace's, `1-<8 digits>-<24 digits>`.
    pub root: [u8; 35],
    /// The balancer's own segment's.
    pub id: [u8; 16],
}

/// Appends the header's value. `received` is the client's value, `id` a new `1-<time>-<random>`.
///
/// Without a Root field one is made; with one, a Self field is put in front, in place of any Self
/// that came in. All other fields are kept, but for Parent and Sampled where `sampling` says them.
pub fn push_trace_id(out: &mut Vec<u8>, received: Option<&[u8]>, id: &[u8], sampling: Sampling) {
    let fields =
        || received.unwrap_or_default().split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|f| !f.is_empty());
    let named = |field: &[u8], name: &[u8]| {
        field.len() > name.len() && field[..name.len()].eq_ignore_ascii_case(name) && field[name.len()] == b'='
    };
    let has_root = fields().any(|f| named(f, b"Root"));
    out.extend_from_slice(if has_root { b"Self=" } else { b"Root=" });
    out.extend_from_slice(match &sampling {
        Sampling::Yes(marks) if !has_root => &marks.root,
        _ => id,
    });
    let replaced = |field: &[u8]| sampling != Sampling::Off && (named(field, b"Parent") || named(field, b"Sampled"));
    for field in fields().filter(|f| !named(f, b"Self") && !replaced(f)) {
        out.push(b';');
        out.extend_from_slice(field);
    }
    match &sampling {
        Sampling::Off => {}
        Sampling::No => out.extend_from_slice(b";Sampled=0"),
        Sampling::Yes(marks) => {
            out.extend_from_slice(b";Parent=");
            out.extend_from_slice(&marks.id);
            out.extend_from_slice(b";Sampled=1");
        }
    }
}

/// Appends the value of W3C's `traceparent` that says the same.
pub fn push_traceparent(out: &mut Vec<u8>, marks: &Marks) {
    for part in [b"00-", &marks.root[2..10], &marks.root[11..], b"-", &marks.id, b"-01"] {
        out.extend_from_slice(part);
    }
}

/// `1-<8 hexadecimal digits of the time>-<24 random ones>`.
pub fn id(unix_seconds: u32, random: (u64, u32)) -> [u8; 35] {
    let mut id = *b"1-tttttttt-rrrrrrrrrrrrrrrrrrrrrrrr";
    put_hex(&mut id[2..10], u64::from(unix_seconds));
    put_hex(&mut id[11..27], random.0);
    put_hex(&mut id[27..], u64::from(random.1));
    id
}

/// A segment's id; it is not all zero.
pub fn span_id(random: u64) -> [u8; 16] {
    let mut id = [0; 16];
    put_hex(&mut id, random.max(1));
    id
}

fn put_hex(into: &mut [u8], n: u64) {
    for (digit, byte) in into.iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(n >> (4 * digit) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(received: Option<&str>, sampling: Sampling) -> String {
        let id = id(0x6789_1234, (0x1245_6789_abcd_ef01, 0x2345_6789));
        let mut out = Vec::new();
        push_trace_id(&mut out, received.map(str::as_bytes), &id, sampling);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_are_made_and_extended() {
        const ID: &str = "1-67891234-12456789abcdef0123456789";
        let made = |received| said(received, Sampling::Off);
        assert_eq!(made(None), format!("Root={ID}"));
        assert_eq!(made(Some("CalledFrom=app")), format!("Root={ID};CalledFrom=app"));
        assert_eq!(made(Some("Root=1-a-b;CalledFrom=app")), format!("Self={ID};Root=1-a-b;CalledFrom=app"));
        assert_eq!(made(Some("Self=1-x-y; Root=1-a-b")), format!("Self={ID};Root=1-a-b"));
        assert_eq!(made(Some("Root=1-a-b;Parent=c;Sampled=1")), format!("Self={ID};Root=1-a-b;Parent=c;Sampled=1"));
    }

    #[test]
    fn who_is_recorded_is_told() {
        const ID: &str = "1-67891234-12456789abcdef0123456789";
        let marks = Marks { root: id(1, (2, 3)), id: span_id(0xabc) };
        let root = "1-00000001-000000000000000200000003";
        assert_eq!(said(None, Sampling::No), format!("Root={ID};Sampled=0"));
        assert_eq!(said(None, Sampling::Yes(marks)), format!("Root={root};Parent=0000000000000abc;Sampled=1"));
        assert_eq!(
            said(Some("Root=1-a-b;Parent=c;Sampled=?;X=y"), Sampling::Yes(marks)),
            format!("Self={ID};Root=1-a-b;X=y;Parent=0000000000000abc;Sampled=1")
        );
        let mut w3c = Vec::new();
        push_traceparent(&mut w3c, &marks);
        assert_eq!(w3c, b"00-00000001000000000000000200000003-0000000000000abc-01");
        assert_eq!(span_id(0), *b"0000000000000001");
    }
}
