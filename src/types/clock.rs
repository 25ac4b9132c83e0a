//! The only source of time, ids and randomness.
//!
//! Servers that share a database must agree on the time, because it determines the order of rows and when a key expires.
//! Therefore a server on PostgreSQL reads the time from the database and counts on from there ([`follow_database`]); its own
//! clock may be wrong. On SQLite there is only one server and one clock, and the time only never falls behind what has been
//! stored ([`not_before`]).

use std::{
    fmt,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Instant, SystemTime},
};

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use uuid::{ContextV7, Uuid};

/// RFC 3339 in UTC with a fixed number of digits, so that it sorts as text.
const RFC3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The first and the last time that RFC 3339 can express, with its years of four digits.
const FIRST: Timestamp = Timestamp(-62_167_219_200_000_000);
const LAST: Timestamp = Timestamp(253_402_300_799_999_999);

/// A point in time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This time plus `seconds`, which may be negative. Saturates instead of overflowing.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Whole seconds since the Unix epoch, the unit of times in a JWT (RFC 7519 §2, `NumericDate`).
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Parses RFC 3339 with any offset and precision. `None` if it is invalid, or if its year in UTC does not have four digits.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let time = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
        let time = Self(i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000)).ok()?);
        (FIRST..=LAST).contains(&time).then_some(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A time that RFC 3339 cannot express is shown as the nearest one that it can: an error here would be a panic elsewhere.
        let micros = (*self).clamp(FIRST, LAST).0;
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(&RFC3339).map_err(|_| fmt::Error)?)
    }
}

/// The latest time that was returned, in microseconds.
static LATEST: AtomicI64 = AtomicI64::new(i64::MIN);

/// Where the time comes from.
#[derive(Clone, Copy)]
enum TimeSource {
    /// From the system clock, plus `ahead` microseconds.
    System { ahead: i64 },
    /// From the database: its time was `time` at the instant `read`.
    Database { read: Instant, time: Timestamp },
}

static SOURCE: RwLock<TimeSource> = RwLock::new(TimeSource::System { ahead: 0 });
/// The counter in ids of the same millisecond, so that later ids are greater.
static IDS: Mutex<ContextV7> = Mutex::new(ContextV7::new());

impl TimeSource {
    fn now(self) -> Timestamp {
        match self {
            Self::System { ahead } => Timestamp(system().0.saturating_add(ahead)),
            Self::Database { read, time } => {
                let since = i64::try_from(read.elapsed().as_micros()).unwrap_or(i64::MAX);
                Timestamp(time.0.saturating_add(since))
            }
        }
    }
}

/// The current time, used for everything that is stored or expires.
#[must_use]
pub fn now() -> Timestamp {
    let now = source().now();
    LATEST.fetch_max(now.0, Ordering::Relaxed);
    now
}

/// The latest time that [`now`] has returned.
#[must_use]
pub fn latest() -> Timestamp {
    Timestamp(LATEST.load(Ordering::Relaxed))
}

/// Whether the time comes from the database.
#[must_use]
pub fn is_of_database() -> bool {
    matches!(source(), TimeSource::Database { .. })
}

/// The current time of the system clock.
#[must_use]
pub fn system() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// From now on, counts on from the time of the database, which was `time` at the instant `read`.
pub fn follow_database(read: Instant, time: Timestamp) {
    set(TimeSource::Database { read, time });
}

/// If the clock is behind `time`, moves it ahead of the system clock from now on.
pub fn not_before(time: Timestamp) {
    let behind = time.0.saturating_sub(now().0);
    if let TimeSource::System { ahead } = source()
        && behind > 0
    {
        set(TimeSource::System {
            ahead: ahead.saturating_add(behind),
        });
    }
}

fn source() -> TimeSource {
    *SOURCE.read().unwrap_or_else(PoisonError::into_inner)
}

fn set(source: TimeSource) {
    /// Ids never decrease. If the time goes back by more than a small correction, the ids generated before must not
    /// determine those that follow.
    const CORRECTION_MICROS: i64 = 1_000_000;
    let mut current = SOURCE.write().unwrap_or_else(PoisonError::into_inner);
    let back = current.now().0.saturating_sub(source.now().0);
    *current = source;
    drop(current);
    if back > CORRECTION_MICROS {
        *IDS.lock().unwrap_or_else(PoisonError::into_inner) = ContextV7::new();
    }
}

/// A new UUIDv7 (RFC 9562 §5.7). Later ids of this process are greater.
#[must_use]
pub fn new_id() -> Uuid {
    let now = now().0.max(0).unsigned_abs();
    let nanos = u32::try_from(now % 1_000_000 * 1_000).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(&IDS, now / 1_000_000, nanos))
}

/// The time at which a UUIDv7 was generated, in milliseconds.
#[must_use]
pub fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Timestamp(micros.saturating_add(i64::from(nanos / 1_000))))
}

/// Random bytes for a secret, from the operating system.
///
/// # Errors
///
/// If the operating system provides no randomness.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
