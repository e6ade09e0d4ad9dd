//! Pages of listings. Limits, and the error for a token that is not known, are each service's own.

/// A page, and the token of the next one if there is more.
pub type Page<T> = (Vec<T>, Option<String>);

/// At most `size` items after the one that `token` names by its key. `None`: no item has it.
pub fn after<T>(items: Vec<T>, key: impl Fn(&T) -> String, token: Option<&str>, size: usize) -> Option<Page<T>> {
    let start = match token {
        Some(token) => items.iter().position(|item| key(item) == token)? + 1,
        None => 0,
    };
    let more = items.len() - start > size;
    let page: Vec<T> = items.into_iter().skip(start).take(size).collect();
    let next = page.last().filter(|_| more).map(key);
    Some((page, next))
}

/// At most `size` items; `token` says how many of the list lie before them. `None`: it is no number.
pub fn from<T>(items: Vec<T>, token: Option<&str>, size: usize) -> Option<Page<T>> {
    let start: usize = match token {
        Some(token) => token.parse().ok()?,
        None => 0,
    };
    let end = start.saturating_add(size);
    let next = (items.len() > end).then(|| end.to_string());
    Some((items.into_iter().skip(start).take(size).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: usize = usize::MAX;

    fn items() -> Vec<String> {
        (0..5).map(|n| format!("k{n}")).collect()
    }

    /// Goes through a listing, page by page, and counts the pages.
    fn through(turn: impl Fn(Option<&str>) -> Option<Page<String>>) -> (Vec<String>, usize) {
        let (mut seen, mut token, mut pages) = (Vec::new(), None, 0);
        loop {
            let (page, next) = turn(token.as_deref()).unwrap();
            seen.extend(page);
            pages += 1;
            if next.is_none() {
                return (seen, pages);
            }
            token = next;
        }
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        assert_eq!(through(|token| after(items(), String::clone, token, 2)), (items(), 3));
        assert_eq!(through(|token| from(items(), token, 2)), (items(), 3));
        assert_eq!(through(|token| from(items(), token, LAST)), (items(), 1));
    }

    #[test]
    fn tokens_from_elsewhere() {
        assert_eq!(after(items(), String::clone, Some("gone"), 2), None);
        assert_eq!(from(items(), Some("gone"), 2), None);
        assert_eq!(after(items(), String::clone, Some("k4"), 2), Some((vec![], None)));
        assert_eq!(from(items(), Some(&LAST.to_string()), 2), Some((vec![], None)), "beyond the end is nothing");
    }
}
