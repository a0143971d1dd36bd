//! Durations as the API writes them: `30s`, `1h30m`, `720h`.

use std::time::Duration;

use jiff::SignedDuration;

/// Reads a duration; `None` where it is none or below zero.
pub fn parse(text: &str) -> Option<Duration> {
    Duration::try_from(text.trim().parse::<SignedDuration>().ok()?).ok()
}

/// Reads a duration that may be `Never`, which is none at all.
///
/// # Errors
/// The text, where it is neither.
pub fn parse_or_never(text: &str) -> Result<Option<Duration>, String> {
    match text.trim() {
        "Never" => Ok(None),
        text => parse(text).map(Some).ok_or_else(|| format!("{text:?} is no duration such as 30s or 720h, nor Never")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_apis_durations() {
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse("720h"), Some(Duration::from_secs(720 * 3600)));
        assert_eq!(parse("0s"), Some(Duration::ZERO));
        assert_eq!(parse("-1s"), None);
        assert_eq!(parse("soon"), None);
        assert_eq!(parse_or_never("Never"), Ok(None));
        assert_eq!(parse_or_never("5m"), Ok(Some(Duration::from_secs(300))));
        assert!(parse_or_never("never").is_err());
    }
}
