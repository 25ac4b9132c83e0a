//! What is in the store before anything is measured, and how its ids are reckoned from numbers, so that nobody has to keep
//! a million of them.

use uuid::Uuid;

/// Identities of each user who has any.
const IDENTITIES_PER_USER: u64 = 10;
/// Users to whom accounts are linked during the measurement, of all tenants together. They have none before, and nobody
/// lists them: what a list costs must not depend on how much was linked.
const LINKED_USERS: u64 = 1000;
/// Numbers of accounts from here on are linked during the measurement.
pub const FIRST_NEW_ACCOUNT: u64 = 1 << 40;
/// The same for those that `pgbench` links: it counts by itself.
pub const FIRST_NEW_ACCOUNT_OF_PGBENCH: u64 = 1 << 41;
/// What every account is called.
pub const USERNAME: &str = "octocat";
/// The address of every account.
pub const EMAIL: &str = "octocat@example.com";
/// When everything was made that was there before, in microseconds since 1970.
pub const MADE_AT: i64 = 1_780_000_000_000_000;

/// A tenant, as the server has made it.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: Uuid,
    pub key: String,
    pub provider: Uuid,
}

/// The data of a measurement.
#[derive(Clone, Debug)]
pub struct Data {
    pub tenants: Vec<Tenant>,
    /// Identities before the measurement.
    pub rows: u64,
}

/// One of the identities that are there before.
pub struct Row {
    pub tenant: usize,
    pub id: Uuid,
    pub user: Uuid,
    pub external_id: u64,
}

impl Data {
    fn count(&self) -> u64 {
        self.tenants.len() as u64
    }

    /// The tenant of a row: they take turns.
    pub fn tenant_of_row(&self, number: u64) -> usize {
        usize::try_from(number % self.count()).unwrap_or_default()
    }

    /// Everything that is there before.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        (0..self.rows).map(|number| {
            let tenant = self.tenant_of_row(number);
            Row {
                tenant,
                id: row_id(number),
                user: user(tenant, number / self.count() / IDENTITIES_PER_USER),
                external_id: external_id(number),
            }
        })
    }

    /// How many users of each tenant have identities.
    pub fn users_with_identities(&self) -> u64 {
        self.rows.div_ceil(self.count()).div_ceil(IDENTITIES_PER_USER)
    }

    /// How many users of each tenant get some.
    pub fn linked_users(&self) -> u64 {
        LINKED_USERS.div_ceil(self.count())
    }

    /// The numbers of the users to whom accounts are linked.
    pub fn linked_user_numbers(&self) -> std::ops::Range<u64> {
        let first = self.users_with_identities();
        first..first + self.linked_users()
    }
}

/// The beginning of the ids that are reckoned; twelve hexadecimal digits follow. Ids that the server makes are later ones.
pub const UUID_PREFIX: &str = "018f0000-0000-7000-8000-";
const UUID_BASE: u128 = 0x018f_0000_0000_7000_8000_0000_0000_0000;

fn uuid(number: u64) -> Uuid {
    Uuid::from_u128(UUID_BASE | u128::from(number))
}

/// A user of a tenant, by number: those with identities first, then those to whom accounts are linked.
pub fn user(tenant: usize, number: u64) -> Uuid {
    uuid(user_number(tenant, number))
}

/// The part of a user's id that is a number.
pub fn user_number(tenant: usize, number: u64) -> u64 {
    ((tenant as u64) << 32) | number
}

fn row_id(number: u64) -> Uuid {
    uuid((1 << 47) | number)
}

/// An account's id at its provider: a number without an order, like those of real providers, so that neighbours in time
/// are none in the index. It is `hash_fnv1a(number, 0)` of `pgbench`, without the sign.
pub fn external_id(number: u64) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = number
        .to_le_bytes()
        .into_iter()
        .fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    hash & WITHOUT_SIGN
}

/// What takes the sign away, for `pgbench` to do the same.
pub const WITHOUT_SIGN: u64 = i64::MAX.cast_unsigned();

/// Numbers without an order (splitmix64), cheaper than any that would be good for secrets.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
