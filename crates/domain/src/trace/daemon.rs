//! What X-Ray's SDKs send to the daemon (AWS's documentation, "Sending segment documents to the X-Ray daemon"): in each
//! datagram a line that says its format, then a segment document.

use serde::Deserialize;

/// Where the daemon listens, over UDP for documents and over TCP for sampling rules.
pub const PORT: u16 = 2000;

#[derive(Deserialize)]
struct Header {
    format: String,
    version: u32,
}

/// The document in a datagram, not looked at any further; `None` where there is none that the daemon would take.
pub fn document(datagram: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(datagram).ok()?;
    let (header, document) = text.split_once('\n')?;
    let header: Header = serde_json::from_str(header).ok()?;
    let document = document.trim();
    (header.format == "json" && header.version == 1 && !document.is_empty()).then_some(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_follows_the_line() {
        for good in
            ["{\"format\":\"json\",\"version\":1}\n{\"a\": 1}", "{\"format\": \"json\", \"version\": 1}\n{\"a\": 1}\n"]
        {
            assert_eq!(document(good.as_bytes()), Some("{\"a\": 1}"), "{good}");
        }
        for bad in [
            "",
            "{\"a\": 1}",
            "{\"format\":\"json\",\"version\":1}",
            "{\"format\":\"json\",\"version\":1}\n",
            "{\"format\":\"json\",\"version\":2}\n{}",
            "{\"format\":\"text\",\"version\":1}\n{}",
            "{\"format\":\"json\"}\n{}",
            "json 1\n{}",
        ] {
            assert_eq!(document(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(document(b"{\"format\":\"json\",\"version\":1}\n\xff"), None);
    }
}
