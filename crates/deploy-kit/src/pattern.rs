//! Path patterns of COPY and of `.dockerignore`: `*` and `?` within a component, `**` over any number of them.

/// True if the whole path matches the pattern; both are split at `/`.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    // reached[j]: the components of the pattern so far match the first j components of the path.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        for j in 0..=path.len() {
            next[j] = if part == "**" {
                reached[j] || j > 0 && next[j - 1]
            } else {
                j > 0 && reached[j - 1] && component(part, path[j - 1])
            };
        }
        reached = next;
    }
    reached[path.len()]
}

/// True if a name has a character with a meaning in patterns.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn component(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; name.len() + 1];
        for j in 0..=name.len() {
            next[j] = match part {
                '*' => reached[j] || j > 0 && next[j - 1],
                '?' => j > 0 && reached[j - 1],
                letter => j > 0 && reached[j - 1] && letter == name[j - 1],
            };
        }
        reached = next;
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("a*", "abc", true),
            ("*.json", "db.json", true),
            ("*.json", "x/db.json", false),
            ("**/*.json", "x/y/db.json", true),
            ("**/*.json", "db.json", true),
            ("x/**", "x/y/z", true),
            ("x/**/z", "x/z", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("**", "a/b", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
        // Many stars must not take for ever.
        assert!(!matches(&"*a".repeat(200), &"a".repeat(150)));
    }
}
