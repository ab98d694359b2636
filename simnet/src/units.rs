//! Lengths of time and sizes as people write them: `"2h"`, `"1.5s"`, `"10GiB"`.
//!
//! Both are exact integers; a decimal is taken where it gives a whole number of the smallest unit.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of virtual time in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// A text that is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// No number at the start.
    #[error("`{0}` does not start with a number; write it like {1}")]
    NoNumber(String, &'static str),
    /// A number alone.
    #[error("`{0}` has no unit; write it like {1}")]
    NoUnit(String, &'static str),
    /// A unit that is none.
    #[error("`{0}` is not a unit; there are {1}")]
    UnknownUnit(String, String),
    /// Finer than the smallest unit.
    #[error("`{0}` is finer than {1}")]
    TooFine(String, &'static str),
    /// Beyond 64 bits.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// Units from the smallest on, each with its count of the smallest.
type Units = &'static [(&'static str, u64)];

const TIME: Units = &[
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("min", 60_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];
const TIME_LIKE: &str = "\"80ms\", \"12s\", \"30m\", \"2h\" or \"14d\"";
const BYTES: Units = &[
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];
const BYTES_LIKE: &str = "\"64KiB\", \"10GiB\" or \"500MB\"";

impl Span {
    /// A span of no time.
    pub const ZERO: Self = Self(0);

    /// Of whole milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self::millis(seconds.saturating_mul(1_000))
    }

    /// Of whole hours.
    pub(crate) const fn hours(hours: u64) -> Self {
        Self::seconds(hours.saturating_mul(3_600))
    }

    /// The span in microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }
}

impl Size {
    /// Of whole KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, TIME, TIME_LIKE, "a microsecond").map(Self)
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text, BYTES, BYTES_LIKE, "a byte").map(Self)
    }
}

fn parse(
    text: &str,
    units: Units,
    like: &'static str,
    smallest: &'static str,
) -> Result<u64, QuantityError> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_'));
    let (number, unit) = trimmed.split_at(end.unwrap_or(trimmed.len()));
    let number = number.replace('_', "");
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || part.contains('.') {
        return Err(QuantityError::NoNumber(text.to_owned(), like));
    }
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(QuantityError::NoUnit(text.to_owned(), like));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let known: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        return Err(QuantityError::UnknownUnit(unit.to_owned(), known.join(", ")));
    };
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let part = part.trim_end_matches('0');
    let digits: u128 = format!("{whole}{part}").parse().map_err(|_| too_large())?;
    let scale = u32::try_from(part.len()).ok().and_then(|places| 10u128.checked_pow(places));
    let scale = scale.ok_or_else(too_large)?;
    let scaled = digits.checked_mul(u128::from(*factor)).ok_or_else(too_large)?;
    if scaled % scale != 0 {
        return Err(QuantityError::TooFine(text.to_owned(), smallest));
    }
    u64::try_from(scaled / scale).map_err(|_| too_large())
}

/// In the largest unit that divides it.
fn write(f: &mut fmt::Formatter<'_>, value: u64, units: Units) -> fmt::Result {
    let divides = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    let (unit, factor) = units.iter().rev().find(divides).unwrap_or(&units[0]);
    f.pad(&format!("{}{unit}", value / factor))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, TIME)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.0, BYTES)
    }
}

/// Text on both ways of serde, and the schema of such a text.
macro_rules! as_text {
    ($quantity:ident, $units:ident, $like:ident, $about:literal, $examples:expr) => {
        impl Serialize for $quantity {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $quantity;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} like {}", $about, $like)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$quantity, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $quantity {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($quantity).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let units: Vec<_> = $units.iter().map(|(name, _)| *name).collect();
                json_schema!({
                    "type": "string",
                    "description": format!("{} like {}", $about, $like),
                    "pattern": format!("^[0-9][0-9_]*(\\.[0-9]+)? ?({})$", units.join("|")),
                    "examples": $examples,
                })
            }
        }
    };
}

as_text!(Span, TIME, TIME_LIKE, "a length of time", ["80ms", "12s", "30m", "2h", "14d"]);
as_text!(Size, BYTES, BYTES_LIKE, "a size", ["64KiB", "10GiB", "500MB"]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_exactly() {
        assert_eq!("2h".parse(), Ok(Span(7_200_000_000)));
        assert_eq!("3.66h".parse(), Ok(Span(13_176_000_000)));
        assert_eq!(" 1_500 ms ".parse(), Ok(Span(1_500_000)));
        assert_eq!("10GiB".parse(), Ok(Size(10 << 30)));
        assert_eq!("0.5kB".parse(), Ok(Size(500)));
    }

    #[test]
    fn what_is_written_reads_back() {
        for micros in
            [0, 1, 999, 1_000, 80_000, 60_000_000, 86_400_000_000, 86_400_000_001, u64::MAX]
        {
            assert_eq!(Span(micros).to_string().parse(), Ok(Span(micros)));
            assert_eq!(Size(micros).to_string().parse(), Ok(Size(micros)));
        }
        assert_eq!(Span::hours(48).to_string(), "2d");
        assert_eq!(Size::kib(64).to_string(), "64KiB");
    }

    #[test]
    fn nonsense_says_what_to_write() {
        let span = |text: &str| text.parse::<Span>().unwrap_err().to_string();
        assert!(span("80").contains("has no unit; write it like \"80ms\""));
        assert!(span("soon").contains("does not start with a number"));
        assert!(span("-1s").contains("does not start with a number"));
        assert!(
            span("2 hours").contains("`hours` is not a unit; there are us, ms, s, min, m, h, d")
        );
        assert!(span("0.5us").contains("finer than a microsecond"));
        assert!(span("1.2.3s").contains("does not start with a number"));
        assert!(span("99999999999999999999d").contains("too large"));
        assert!(span("9999999999d").contains("too large"));
        assert!("1.5B".parse::<Size>().unwrap_err().to_string().contains("finer than a byte"));
    }
}
