//! The forms in which Compose writes values.

use crate::manifest::Node;
use crate::manifest::Tag as Kind;

/// Text with Compose's variables as manifests have them: `${NAME}`. What is used instead of an unset variable is written
/// down; the second value says so.
pub fn text(raw: &str) -> (String, Option<String>) {
    let (mut out, mut rest, mut note) = (String::new(), raw, None);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            // `$$` is a dollar; before a brace it must not become a variable again.
            out.push_str(if after.starts_with('{') { "\\$" } else { "$" });
            rest = after;
            continue;
        }
        let inner = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((inner, after)) = inner {
            let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
            let (name, how) = inner.split_at(end);
            if let Some(default) = how.strip_prefix(":-").or_else(|| how.strip_prefix('-')) {
                out.push_str(default);
                note = Some(format!("{name} was written down as {default:?}, what the file has for it"));
            } else if name.is_empty() || how.starts_with(":+") || how.starts_with('+') {
                note = Some(format!("${{{inner}}} was left out: manifests have ${{NAME}} alone"));
            } else {
                out.push_str(&format!("${{{name}}}"));
            }
            rest = after;
            continue;
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        match end {
            0 => out.push('$'),
            _ => out.push_str(&format!("${{{}}}", &rest[..end])),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, note)
}

/// `environment`, `labels`, `args`: a map, or a list of `NAME=value`; without a value that of the shell.
pub fn pairs(node: &Node) -> Option<Vec<(String, String)>> {
    match &node.kind {
        Kind::Null => Some(Vec::new()),
        Kind::Map(entries) => entries
            .iter()
            .map(|(key, value)| match &value.kind {
                Kind::Null => Some((key.name.clone(), format!("${{{}}}", key.name))),
                Kind::Scalar { text, .. } => Some((key.name.clone(), text.clone())),
                _ => None,
            })
            .collect(),
        Kind::List(items) => items
            .iter()
            .map(|item| {
                let text = scalar(item)?;
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (text.clone(), format!("${{{text}}}")),
                };
                Some((name, value))
            })
            .collect(),
        Kind::Scalar { .. } => None,
    }
}

pub fn scalar(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    }
}

/// One text or a list of them.
pub fn texts(node: &Node) -> Option<Vec<String>> {
    match &node.kind {
        Kind::Scalar { text, .. } => Some(vec![text.clone()]),
        Kind::List(items) => items.iter().map(scalar).collect(),
        _ => None,
    }
}

/// The port of a container in `8080:80`, `127.0.0.1:8080:80/tcp`, or the long form; `None` for UDP and for ranges.
pub fn container_port(node: &Node) -> Option<u16> {
    match &node.kind {
        Kind::Scalar { text, .. } => {
            let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let port = text.rsplit(':').next().unwrap_or(text);
            (protocol == "tcp").then(|| port.parse().ok().filter(|port| *port > 0)).flatten()
        }
        Kind::Map(_) => {
            let protocol = node.get("protocol").and_then(scalar).unwrap_or_else(|| "tcp".into());
            let port = node.get("target").and_then(scalar)?;
            (protocol == "tcp").then(|| port.parse().ok().filter(|port| *port > 0)).flatten()
        }
        _ => None,
    }
}

/// `512m`, `1gb`, bytes: in MiB, upwards.
pub fn mebibytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "" | "b" => 1.0,
        "k" | "kb" => 1024.0,
        "m" | "mb" => 1_048_576.0,
        "g" | "gb" => 1_073_741_824.0,
        _ => return None,
    };
    Some((number * unit / 1_048_576.0).ceil() as u64)
}

/// Fargate's smallest size that has this much; the biggest where none has.
pub fn size(cpu: u64, memory: u64) -> (u64, u64) {
    const SIZES: [(u64, u64, u64, u64); 7] = [
        (256, 512, 2048, 512),
        (512, 1024, 4096, 1024),
        (1024, 2048, 8192, 1024),
        (2048, 4096, 16_384, 1024),
        (4096, 8192, 30_720, 1024),
        (8192, 16_384, 61_440, 4096),
        (16_384, 32_768, 122_880, 8192),
    ];
    let (cpu, least, _, step) =
        SIZES.into_iter().find(|(c, _, most, _)| *c >= cpu && *most >= memory).unwrap_or(SIZES[6]);
    let mut fit = least.max(memory.min(122_880).div_ceil(step) * step);
    if cpu == 256 && fit == 1536 {
        fit = 2048;
    }
    (cpu, fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_those_of_manifests() {
        for (from, to) in [
            ("plain", "plain"),
            ("$HOST:${PORT}", "${HOST}:${PORT}"),
            ("${A:-b}c", "bc"),
            ("${A:?needed}", "${A}"),
            ("$$x $${A} 5$", "$x \\${A} 5$"),
            ("${A:+b}x", "x"),
        ] {
            assert_eq!(text(from).0, to, "{from}");
        }
        assert!(text("${A:-b}").1.unwrap().contains("A was written down as \"b\""));
    }

    #[test]
    fn sizes_are_fargates_next_ones() {
        for (wanted, found) in [
            ((100, 100), (256, 512)),
            ((256, 1100), (256, 2048)),
            ((300, 512), (512, 1024)),
            ((0, 5000), (1024, 5120)),
            ((99_999, 999_999), (16_384, 122_880)),
        ] {
            assert_eq!(size(wanted.0, wanted.1), found);
        }
        assert_eq!(
            (mebibytes("512m"), mebibytes("1.5gb"), mebibytes("1"), mebibytes("x")),
            (Some(512), Some(1536), Some(1), None)
        );
    }
}
