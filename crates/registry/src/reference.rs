//! Names: of repositories, of tags, and of images as task definitions write them.

use crate::digest::Digest;

/// An image's name, taken apart: `[registry/]repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageReference {
    /// Host and port, when the name starts with one.
    pub registry: Option<String>,
    pub repository: String,
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(&'static str);

/// The pattern that ECR's API reference gives for a repository's name, 2 to 256 characters long.
pub(crate) const REPOSITORY_PATTERN: &str = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*";

const MAX_REPOSITORY: usize = 256;
const MAX_TAG: usize = 128;

/// True for a repository's name as ECR takes it: components of lower-case letters and digits, joined inside by
/// `.`, `_`, `__` or any number of `-`, and by `/` between them.
pub fn valid_repository(name: &str) -> bool {
    (2..=MAX_REPOSITORY).contains(&name.len()) && name.split('/').all(valid_component)
}

/// True for a tag as the distribution specification defines it.
pub fn valid_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= MAX_TAG && bytes.next().is_some_and(word) && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

impl ImageReference {
    /// Takes a name apart. The first component is a registry when it has a `.` or a `:` or is `localhost`, as
    /// container clients read it.
    ///
    /// # Errors
    /// The reason, fit to be shown.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        if text.is_empty() {
            return Err(BadName("it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let digest = Digest::parse(digest)
                    .ok_or(BadName("what follows @ must be sha256: and 64 lower-case hexadecimal digits"))?;
                (rest, Some(digest))
            }
        };
        let (registry, rest) = match rest.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                if !valid_host(host) {
                    return Err(BadName("the registry's host is malformed"));
                }
                (Some(host.to_owned()), rest)
            }
            _ => (None, rest),
        };
        let (repository, tag) = match rest.split_once(':') {
            None => (rest, None),
            Some((repository, tag)) if valid_tag(tag) => (repository, Some(tag.to_owned())),
            Some(_) => {
                return Err(BadName(
                    "a tag is letters, digits, '_', '.' and '-', at most 128, and starts with none of the last two",
                ));
            }
        };
        if repository.len() > MAX_REPOSITORY {
            return Err(BadName("the repository's name is longer than 256 characters"));
        }
        if repository.is_empty() || !repository.split('/').all(valid_component) {
            return Err(BadName(
                "a repository's name is lower-case letters and digits, joined by '.', '_', '-' or '/'",
            ));
        }
        Ok(Self { registry, repository: repository.to_owned(), tag, digest })
    }
}

fn valid_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    // Between two runs of letters and digits stands exactly one separator: ".", "_", "__" or a run of "-".
    bytes
        .split(|&b| alphanumeric(b))
        .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-'))
}

fn valid_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        // An IPv6 address in brackets.
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => {
                if name.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                ("", port.strip_prefix(':').or(if port.is_empty() { None } else { Some("x") }))
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let name_ok = name.is_empty() && host.starts_with('[')
        || name.len() <= 253
            && name.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            });
    name_ok && port.is_none_or(|p| p.bytes().all(|b| b.is_ascii_digit()) && p.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repositories() {
        for good in ["api", "a/b", "break-the-monolith/users", "a--b", "a__b", "a.b_c-d", "9lives", &"a".repeat(256)] {
            assert!(valid_repository(good), "{good}");
        }
        for bad in
            ["", "a", "A", "a/", "/a", "a//b", "-a", "a-", "a..b", "a___b", "a._b", "a b", "ä1", &"a".repeat(257)]
        {
            assert!(!valid_repository(bad), "{bad}");
        }
    }

    #[test]
    fn tags() {
        for good in ["v1", "latest", "_x", "1.0-rc.1", &"a".repeat(128)] {
            assert!(valid_tag(good), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "a:b", &"a".repeat(129)] {
            assert!(!valid_tag(bad), "{bad}");
        }
    }

    #[test]
    fn references() {
        let hex = "0".repeat(64);
        let r = ImageReference::parse(&format!("localhost:4566/team/api:v1@sha256:{hex}")).unwrap();
        assert_eq!(r.registry.as_deref(), Some("localhost:4566"));
        assert_eq!((r.repository.as_str(), r.tag.as_deref()), ("team/api", Some("v1")));
        assert_eq!(r.digest.unwrap().hex(), hex);
        let r = ImageReference::parse("nginx").unwrap();
        assert_eq!((r.registry, r.repository.as_str(), r.tag), (None, "nginx", None));
        let r = ImageReference::parse("library/nginx:1").unwrap();
        assert_eq!((r.registry, r.repository.as_str()), (None, "library/nginx"));
        let r = ImageReference::parse("[::1]:4566/api").unwrap();
        assert_eq!(r.registry.as_deref(), Some("[::1]:4566"));
        for bad in [
            "",
            "a@",
            "a@sha256:12",
            "a:",
            "localhost:4566/",
            "localhost:99999/a",
            "local_host.:1/a",
            "UPPER",
            "[::1/a",
            "[::1]x/a",
            "a.b/c//d",
            "../etc/passwd",
        ] {
            assert!(ImageReference::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,300}") {
            let _ = (ImageReference::parse(&text), valid_repository(&text), valid_tag(&text), Digest::parse(&text));
        }

        #[test]
        fn parsers_never_panic_near_the_grammar(text in "[a-z0-9.:/@_\\[\\]-]{0,90}") {
            if let Ok(reference) = ImageReference::parse(&text) {
                prop_assert!(!reference.repository.contains(".."));
                prop_assert!(!reference.repository.starts_with('/'));
            }
        }

        #[test]
        fn what_is_written_is_read_back(
            host in proptest::option::of("[a-z]{1,8}\\.[a-z]{2,3}(:[1-9][0-9]{0,3})?"),
            repository in "[a-z0-9]{2,8}([._-][a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,6}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,20}"),
        ) {
            let mut text = host.as_ref().map_or(String::new(), |h| format!("{h}/"));
            // Without a registry, a first component with a dot would itself read as one.
            prop_assume!(host.is_some() || !repository.split('/').next().unwrap_or("").contains('.') || !repository.contains('/'));
            text.push_str(&repository);
            if let Some(tag) = &tag {
                text.push(':');
                text.push_str(tag);
            }
            let read = ImageReference::parse(&text).unwrap();
            prop_assert_eq!(read, ImageReference { registry: host, repository, tag, digest: None });
        }
    }
}
