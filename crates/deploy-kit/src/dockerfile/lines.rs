//! From text to instructions: comments, continued lines.

/// An instruction's name in capitals, the rest of it, and its first line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) line: usize,
    pub(super) keyword: String,
    pub(super) rest: String,
}

pub(super) fn instructions(text: &str) -> Result<Vec<Raw>, (usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            let comment: String = comment.chars().filter(|c| !c.is_whitespace()).collect();
            if found.is_empty()
                && open.is_none()
                && comment.to_ascii_lowercase().starts_with("escape=")
                && comment != r"escape=\"
            {
                return Err((number, r"the escape character is always \: remove the directive".to_owned()));
            }
            continue;
        }
        if trimmed.is_empty() {
            continue;
        }
        let (first, mut text) = open.take().unwrap_or((number, String::new()));
        match line.trim_end().strip_suffix('\\') {
            Some(part) => {
                text.push_str(if text.is_empty() { part.trim_start() } else { part });
                open = Some((first, text));
            }
            None => {
                text.push_str(if text.is_empty() { trimmed } else { line });
                found.push(split(first, &text));
            }
        }
    }
    if let Some((first, text)) = open {
        found.push(split(first, &text));
    }
    Ok(found)
}

fn split(line: usize, text: &str) -> Raw {
    let (keyword, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
    Raw { line, keyword: keyword.to_ascii_uppercase(), rest: rest.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines_and_comments() {
        let text = "# syntax=docker/dockerfile:1\n\nfrom scratch\nENV A=1 \\\n  # in between\n\n  B=2\nCMD [\"/x\"] \\";
        let raw = |line, keyword: &str, rest: &str| Raw { line, keyword: keyword.into(), rest: rest.into() };
        assert_eq!(
            instructions(text).unwrap(),
            [raw(3, "FROM", "scratch"), raw(4, "ENV", "A=1   B=2"), raw(8, "CMD", "[\"/x\"]")]
        );
        assert_eq!(instructions("# escape=`\nFROM scratch").unwrap_err().0, 1);
    }
}
