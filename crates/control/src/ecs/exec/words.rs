//! A command's words, as a POSIX shell divides them, without anything else that a shell does.

/// `None` where a quotation does not end.
pub fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => match rest.next()? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_divided_as_a_shell_does() {
        let words = |line| split(line).unwrap_or_else(|| vec!["?".into()]);
        assert_eq!(words("/bin/sh -c 'echo \"a b\"'"), ["/bin/sh", "-c", "echo \"a b\""]);
        assert_eq!(words(r#"a"b c"d e\ f "x\"y\n" '' "#), ["ab cd", "e f", "x\"y\\n", ""]);
        assert_eq!(words("  "), [""; 0]);
        assert_eq!(words("'it'\\''s'"), ["it's"]);
        for open in ["'a", "\"a", "a\\", "\"a\\"] {
            assert_eq!(split(open), None, "{open}");
        }
    }
}
