//! Which status codes a passing health check may have.

/// `Matcher.HttpCode`: `200`, `200,202` or `200-299`, in any mixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeMatcher(Vec<(u16, u16)>);

impl CodeMatcher {
    /// `None` if the text is no list of codes and ranges.
    pub fn parse(text: &str) -> Option<Self> {
        let code = |t: &str| {
            let t = t.trim();
            (t.len() == 3 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse::<u16>().ok()).flatten()
        };
        text.split(',')
            .map(|part| match part.split_once('-') {
                Some((low, high)) => {
                    let (low, high) = (code(low)?, code(high)?);
                    (low <= high).then_some((low, high))
                }
                None => code(part).map(|c| (c, c)),
            })
            .collect::<Option<Vec<_>>>()
            .map(Self)
    }

    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|(low, high)| (*low..=*high).contains(&status))
    }
}

impl Default for CodeMatcher {
    fn default() -> Self {
        Self(vec![(200, 200)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lists_and_ranges() {
        let matcher = CodeMatcher::parse("200, 202,301-303").unwrap();
        for (status, accepted) in [(200, true), (201, false), (202, true), (301, true), (303, true), (304, false)] {
            assert_eq!(matcher.accepts(status), accepted, "{status}");
        }
        for bad in ["", "20", "200-", "299-200", "2xx", "200,,201", "+20"] {
            assert_eq!(CodeMatcher::parse(bad), None, "{bad}");
        }
    }
}
