//! Avro's logical types as Rust types: a UUID and a decimal of fixed scale.
//!
//! In Avro a [`Uuid`] is text, a [`Decimal`] bytes. In JSON and on screens both are text.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A UUID (RFC 9562), Avro's logical type `uuid` on a string.
///
/// ```
/// use caracal_kafka_contract::events::Uuid;
///
/// let id: Uuid = "9EC535FF-3e2a-45bd-91d3-0a01321b5a49".parse()?;
/// assert_eq!(id.to_string(), "9ec535ff-3e2a-45bd-91d3-0a01321b5a49");
/// assert!("9ec535ff".parse::<Uuid>().is_err());
/// # Ok::<(), caracal_kafka_contract::events::LogicalError>(())
/// ```
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid([u8; 16]);

impl Uuid {
    /// From its 16 bytes, in the order of the text.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its 16 bytes, in the order of the text.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its text in ASCII, 8-4-4-4-12 digits (RFC 9562, section 4), without an allocation.
    pub fn to_ascii(&self) -> [u8; 36] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for (number, byte) in self.0.into_iter().enumerate() {
            if matches!(number, 4 | 6 | 8 | 10) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        text
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_ascii()).unwrap_or_default())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = LogicalError;

    fn from_str(text: &str) -> Result<Self, LogicalError> {
        /// Where each byte's two digits are.
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let text: &[u8; 36] = text.as_bytes().try_into().map_err(|_| LogicalError::Uuid)?;
        let dashes = [8, 13, 18, 23].into_iter().all(|at| text[at] == b'-');
        let mut wrong = 0;
        let bytes = PLACES.map(|at| {
            let (high, low) = (DIGITS[usize::from(text[at])], DIGITS[usize::from(text[at + 1])]);
            wrong |= high | low;
            high << 4 | low & 15
        });
        // What is no digit has bits that no digit has.
        if dashes && wrong < 16 { Ok(Self(bytes)) } else { Err(LogicalError::Uuid) }
    }
}

/// The value of each letter as a hexadecimal digit; 255 for one that is none.
const DIGITS: [u8; 256] = {
    let mut digits = [255; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digits[b"0123456789ABCDEF"[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits
};

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(std::str::from_utf8(&self.to_ascii()).unwrap_or_default())
    }
}

impl<'d> Deserialize<'d> for Uuid {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Uuid;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UUID as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Uuid, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

/// A number with `SCALE` digits behind the point, Avro's logical type `decimal` on bytes.
///
/// ```
/// use caracal_kafka_contract::events::Decimal;
///
/// let price: Decimal<6> = "-12.5".parse()?;
/// assert_eq!((price.units(), price.to_string().as_str()), (-12_500_000, "-12.500000"));
/// assert!("0.1234567".parse::<Decimal<6>>().is_err());
/// # Ok::<(), caracal_kafka_contract::events::LogicalError>(())
/// ```
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Decimal<const SCALE: u32>(i128);

impl<const SCALE: u32> Decimal<SCALE> {
    /// From a number of its smallest unit: millionths, for a scale of 6.
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// As a number of its smallest unit.
    pub const fn units(self) -> i128 {
        self.0
    }
}

impl<const SCALE: u32> fmt::Display for Decimal<SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = SCALE as usize;
        let digits = format!("{:0>least$}", self.0.unsigned_abs(), least = width + 1);
        let (whole, behind) = digits.split_at(digits.len() - width);
        let sign = if self.0 < 0 { "-" } else { "" };
        if width == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{behind}") }
    }
}

impl<const SCALE: u32> fmt::Debug for Decimal<SCALE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const SCALE: u32> FromStr for Decimal<SCALE> {
    type Err = LogicalError;

    fn from_str(text: &str) -> Result<Self, LogicalError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, behind) = digits.split_once('.').unwrap_or((digits, ""));
        let legal = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let behind_fits = behind.len() <= SCALE as usize && (digits.contains('.') != behind.is_empty());
        if whole.is_empty() || !legal(whole) || !legal(behind) || !behind_fits {
            return Err(LogicalError::Decimal { scale: SCALE });
        }
        let padded =
            format!("{}{whole}{behind:0<width$}", if negative { "-" } else { "" }, width = SCALE as usize);
        padded.parse().map(Self).map_err(|_| LogicalError::Decimal { scale: SCALE })
    }
}

impl<const SCALE: u32> Serialize for Decimal<SCALE> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.collect_str(self);
        }
        // Two's complement, the most significant byte first, as few as say it.
        let bytes = self.0.to_be_bytes();
        let fill = if self.0 < 0 { 0xff } else { 0 };
        let start = (0..15).find(|at| bytes[*at] != fill || (bytes[at + 1] ^ fill) & 0x80 != 0).unwrap_or(15);
        to.serialize_bytes(&bytes[start..])
    }
}

impl<'d, const SCALE: u32> Deserialize<'d> for Decimal<SCALE> {
    fn deserialize<D: Deserializer<'d>>(from: D) -> Result<Self, D::Error> {
        struct Either<const SCALE: u32>;
        impl<const SCALE: u32> Visitor<'_> for Either<SCALE> {
            type Value = Decimal<SCALE>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a decimal of scale {SCALE}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal<SCALE>, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Decimal<SCALE>, E> {
                let fill = bytes.first().map_or(0, |first| if first & 0x80 == 0 { 0 } else { 0xff });
                // Java writes as few as say it; a fixed one may have more.
                let (more, bytes) = bytes.split_at(bytes.len().saturating_sub(16));
                let mut whole = [fill; 16];
                whole[16 - bytes.len()..].copy_from_slice(bytes);
                if more.iter().any(|byte| *byte != fill) || (whole[0] ^ fill) & 0x80 != 0 {
                    return Err(E::custom("the decimal has more than 128 bits"));
                }
                Ok(Decimal(i128::from_be_bytes(whole)))
            }
        }
        if from.is_human_readable() { from.deserialize_str(Either) } else { from.deserialize_bytes(Either) }
    }
}

/// Why a text is not of its logical type. It does not repeat the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LogicalError {
    /// Not a UUID.
    #[error("a UUID has 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12")]
    Uuid,
    /// Not a decimal of the scale.
    #[error("a decimal has digits, and at most {scale} of them behind a point")]
    #[non_exhaustive]
    Decimal {
        /// Digits behind the point.
        scale: u32,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_survive(units: i128, bytes: [u8; 16]) {
            let decimal = Decimal::<6>::from_units(units);
            prop_assert_eq!(decimal.to_string().parse(), Ok(decimal));
            let json = serde_json::to_string(&decimal).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Decimal<6>>(&json).expect("read"), decimal);
            let id = Uuid::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", digits in "[-.0-9a-f]{0,40}") {
            let _ = (text.parse::<Uuid>(), text.parse::<Decimal<2>>());
            let _ = (digits.parse::<Uuid>(), digits.parse::<Decimal<0>>());
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in
            ["", "-", ".5", "5.", "1.234", "1e3", "+1", "--1", "170141183460469231731687303715884105728"]
        {
            assert!(text.parse::<Decimal<2>>().is_err(), "{text}");
        }
        assert_eq!("0.07".parse(), Ok(Decimal::<2>::from_units(7)));
        assert_eq!("-7".parse(), Ok(Decimal::<0>::from_units(-7)));
        assert_eq!(Decimal::<2>::from_units(-5).to_string(), "-0.05");
    }
}
