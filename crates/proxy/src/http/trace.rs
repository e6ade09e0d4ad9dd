//! X-Amzn-Trace-Id: made where it is missing, extended where it is there.

/// Appends the header's value. `received` is the client's value, `id` a new `1-<time>-<random>`.
///
/// Without a Root field one is made; with one, a Self field is put in front, in place of any Self
/// that came in. All other fields are kept.
pub fn push_trace_id(out: &mut Vec<u8>, received: Option<&[u8]>, id: &[u8]) {
    let fields =
        || received.unwrap_or_default().split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|f| !f.is_empty());
    let named = |field: &[u8], name: &[u8]| {
        field.len() > name.len() && field[..name.len()].eq_ignore_ascii_case(name) && field[name.len()] == b'='
    };
    let name: &[u8] = if fields().any(|f| named(f, b"Root")) { b"Self=" } else { b"Root=" };
    out.extend_from_slice(name);
    out.extend_from_slice(id);
    for field in fields().filter(|f| !named(f, b"Self")) {
        out.push(b';');
        out.extend_from_slice(field);
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

fn put_hex(into: &mut [u8], n: u64) {
    for (digit, byte) in into.iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(n >> (4 * digit) & 15) as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(received: Option<&str>) -> String {
        let id = id(0x6789_1234, (0x1245_6789_abcd_ef01, 0x2345_6789));
        let mut out = Vec::new();
        push_trace_id(&mut out, received.map(str::as_bytes), &id);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_are_made_and_extended() {
        const ID: &str = "1-67891234-12456789abcdef0123456789";
        assert_eq!(made(None), format!("Root={ID}"));
        assert_eq!(made(Some("CalledFrom=app")), format!("Root={ID};CalledFrom=app"));
        assert_eq!(made(Some("Root=1-a-b;CalledFrom=app")), format!("Self={ID};Root=1-a-b;CalledFrom=app"));
        assert_eq!(made(Some("Self=1-x-y; Root=1-a-b")), format!("Self={ID};Root=1-a-b"));
    }
}
