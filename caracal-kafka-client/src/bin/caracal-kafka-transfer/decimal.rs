//! Decimals as a person writes them, and as Avro keeps them: an unscaled two's-complement number, big end first.

/// A decimal as text, with all places of its scale; none for more than 38 digits.
pub(crate) fn text(bytes: &[u8], scale: usize) -> Option<String> {
    let fill = if bytes.first().is_some_and(|first| first & 0x80 != 0) { 0xff } else { 0 };
    let mut wide = [fill; 16];
    let at = wide.len().checked_sub(bytes.len())?;
    wide[at..].copy_from_slice(bytes);
    let number = i128::from_be_bytes(wide);
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let sign = if number < 0 { "-" } else { "" };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") })
}

/// The bytes of a decimal; none for what is no decimal, has more places than the scale, or more than 38 digits.
pub(crate) fn bytes(text: &str, scale: usize) -> Option<Vec<u8>> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > scale {
        return None;
    }
    let number: i128 = format!("{whole}{part:0<scale$}").parse().ok()?;
    let wide = if negative { -number } else { number }.to_be_bytes();
    // The shortest form: leading bytes that only repeat the sign are left out.
    let spare = |pair: &[u8]| matches!((pair[0], pair[1] & 0x80), (0, 0) | (0xff, 0x80));
    let at = wide.windows(2).take_while(|pair| spare(pair)).count();
    Some(wide[at..].to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_ones_are_as_avro_has_them() {
        for (written, scale, kept) in [
            ("0", 0, &[0][..]),
            ("1.27", 2, &[0x7f]),
            ("1.28", 2, &[0, 0x80]),
            ("-1.28", 2, &[0x80]),
            ("-0.01", 2, &[0xff]),
        ] {
            assert_eq!(bytes(written, scale).as_deref(), Some(kept), "{written}");
            assert_eq!(text(kept, scale).as_deref(), Some(written));
        }
        for wrong in ["", "-", ".5", "1e3", "1.234", "+1", "1.2.3", "9".repeat(40).as_str()] {
            assert_eq!(bytes(wrong, 2), None, "{wrong}");
        }
        assert_eq!(text(&[1; 17], 2), None);
        assert_eq!(text(&[], 2).as_deref(), Some("0.00"), "no bytes are zero");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(number: i64, scale in 0_usize..19) {
            let kept = text(&number.to_be_bytes(), scale).unwrap();
            let again = bytes(&kept, scale).unwrap();
            prop_assert_eq!(text(&again, scale).unwrap(), kept);
        }
    }
}
