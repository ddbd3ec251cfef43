//! Words on the command line that mean times and spans.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A span: `90s`, `10m`, `2h`, `30d`, `500ms`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong(text))?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    let span = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    };
    // A century is nobody's deadline, and no sum of it overflows.
    span.filter(|span| span.as_secs() <= 36_525 * 86_400).ok_or_else(|| wrong(text))
}

fn wrong(text: &str) -> String {
    format!("`{text}` is no span: write a number and ms, s, m, h or d, such as 90s, 10m, 2h, 30d")
}

/// A moment: a span before now, or a time (`2026-11-25T11:03:00Z`).
pub(super) fn since(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(at);
    }
    let span = span(text).map_err(|wrong| format!("{wrong}, or a time such as 2026-11-25T11:03:00Z"))?;
    OffsetDateTime::now_utc()
        .checked_sub(span.try_into().unwrap_or(time::Duration::ZERO))
        .ok_or_else(|| wrong(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_read_and_anything_else_is_told_how() {
        assert_eq!(span("90"), Ok(Duration::from_secs(90)));
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(span("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "m", "-5m", "5y", "99999999999999999999s", "1e3", "9999999d"] {
            assert!(span(wrong).unwrap_err().contains("such as 90s"), "{wrong}");
        }
        assert_eq!(since("2026-11-25T11:03:00Z").unwrap().unix_timestamp(), 1_795_604_580);
        let ago = OffsetDateTime::now_utc() - since("2h").unwrap();
        assert!((7199..=7201).contains(&ago.whole_seconds()), "{ago}");
    }
}
