//! Quantities that a bare number could be swapped for.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::config::limits;

/// A number of bytes. Written as an integer or as text with a unit: `1073741824`, `1GiB`, `256 MiB`, `2.5GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl fmt::Display for Bytes {
    /// Three significant digits in the binary unit below the value: `1.05 GiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, size) = UNITS[..4].iter().find(|(_, size)| self.0 >= *size).copied().unwrap_or(("B", 1));
        let value = self.0 as f64 / size as f64;
        let decimals = if size == 1 || value >= 100.0 { 0 } else { 2 - usize::from(value >= 10.0) };
        write!(f, "{value:.decimals$} {unit}")
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
        let unit = text[digits.len()..].trim();
        let scale = match unit {
            "" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, size)| *size)
                .ok_or_else(|| {
                    format!("`{unit}` is not a unit of size; use KiB, MiB, GiB, TiB (or kB, MB, GB, TB)")
                })?,
        };
        let value: f64 =
            digits.trim().parse().map_err(|_| format!("`{text}` is not a size such as 256MiB"))?;
        if !value.is_finite() || value < 0.0 {
            return Err(format!("`{text}` is not a size such as 256MiB"));
        }
        let too_large = || format!("`{text}` is more than {}, the largest size", Self(limits::BYTES));
        if let Ok(count) = digits.trim().parse::<u64>() {
            // Whole numbers are exact; a float is not beyond 2^53.
            return count
                .checked_mul(scale)
                .filter(|bytes| *bytes <= limits::BYTES)
                .map(Self)
                .ok_or_else(too_large);
        }
        let bytes = (value * scale as f64).round();
        if bytes > limits::BYTES as f64 {
            return Err(too_large());
        }
        Ok(Self(whole(bytes)))
    }
}

/// A float that is whole and from 0 to [`limits::BYTES`], as an integer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked where it is called; no other conversion exists"
)]
const fn whole(bytes: f64) -> u64 {
    bytes as u64
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// What sizes in text look like.
pub(crate) const BYTES_PATTERN: &str = "^ *[0-9]+(\\.[0-9]+)? *([kKmMgGtT]?[iI]?[bB])? *$";

impl JsonSchema for Bytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, as an integer or with a unit: 256MiB, 1.5GiB, 2GB.",
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": limits::BYTES,
            "pattern": BYTES_PATTERN,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bytes;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("17", 17),
            ("4KiB", 4096),
            ("256 MiB", 256 << 20),
            ("1.5gib", 3 << 29),
            ("2GB", 2_000_000_000),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "MiB", "12 parsecs", "-1", "1e400", "1e30", "99999999TiB", "1152921504606846977"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (512, "512 B"),
            (4096, "4.00 KiB"),
            (268_435_456, "256 MiB"),
            (1_127_428_915, "1.05 GiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
