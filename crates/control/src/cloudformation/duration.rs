//! ISO 8601 durations as CreationPolicy has them: `PT15M`, `PT1H30M`, `PT45S`.

/// Seconds, or `None` if the text is no such duration.
pub fn seconds(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix("PT")?;
    if rest.is_empty() {
        return None;
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b'H' => 3600,
            b'M' => 60,
            b'S' => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn durations() {
        assert_eq!(seconds("PT15M"), Some(900));
        assert_eq!(seconds("PT1H30M5S"), Some(5405));
        for wrong in ["", "PT", "15M", "PT15", "PTM", "PT1D", "PT99999999999999999999S", "PT1é"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
