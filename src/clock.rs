//! The one door through which time, ids and randomness come in.

use std::{fmt, time::SystemTime};

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use uuid::Uuid;

/// RFC 3339 in UTC with a fixed number of digits, so that it sorts as text.
const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The first and the last time that RFC 3339 can write, with its years of four digits.
const FIRST: Timestamp = Timestamp(-62_167_219_200_000_000);
const LAST: Timestamp = Timestamp(253_402_300_799_999_999);

/// A point in time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time and `seconds` more (or less, when negative). Stays at the end of time instead of passing it.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Whole seconds since the Unix epoch: the unit of the times in a JWT (RFC 7519 §2, `NumericDate`).
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Reads RFC 3339 with any offset and precision. None also where the time, in UTC, has no year of four digits.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        let time = Self(i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000)).ok()?);
        (FIRST..=LAST).contains(&time).then_some(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A time that cannot be written is shown as the nearest that can: an error here would be a panic elsewhere.
        let micros = (*self).clamp(FIRST, LAST).0;
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(&RFC3339).map_err(|_| fmt::Error)?)
    }
}

/// Now, by the system's clock.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// A new UUIDv7 (RFC 9562 §5.7): later ids of this process are greater.
#[must_use]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// Bytes for a secret, from the operating system.
///
/// # Errors
///
/// Where the operating system has no randomness to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
