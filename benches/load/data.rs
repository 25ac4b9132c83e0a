//! What is in the store before the measurement. Its ids are computed from numbers, so that a million of them need not be kept
//! in memory.

use uuid::Uuid;

/// Identities of each user who has any.
const IDENTITIES_PER_USER: u64 = 10;
/// The number of users, of all tenants together, to whom accounts are linked during the measurement. They have none before, and
/// are never listed: the cost of a list must not depend on the number of links.
const LINKED_USERS: u64 = 1000;
/// Accounts with this number or a higher one are linked during the measurement.
pub const FIRST_NEW_ACCOUNT: u64 = 1 << 40;
/// The same for accounts that `pgbench` links, which has its own counter.
pub const FIRST_NEW_ACCOUNT_OF_PGBENCH: u64 = 1 << 41;
/// The name of every account.
pub const USERNAME: &str = "octocat";
/// The address of every account.
pub const EMAIL: &str = "octocat@example.com";
/// When the existing data was created, in microseconds since 1970.
pub const MADE_AT: i64 = 1_780_000_000_000_000;

/// A tenant, as the server created it.
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

/// One of the existing identities.
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

    /// The tenant of a row. Rows are assigned to tenants in turn.
    pub fn tenant_of_row(&self, number: u64) -> usize {
        usize::try_from(number % self.count()).unwrap_or_default()
    }

    /// All existing identities.
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

    /// How many users of each tenant get accounts during the measurement.
    pub fn linked_users(&self) -> u64 {
        LINKED_USERS.div_ceil(self.count())
    }

    /// The numbers of the users to whom accounts are linked.
    pub fn linked_user_numbers(&self) -> std::ops::Range<u64> {
        let first = self.users_with_identities();
        first..first + self.linked_users()
    }
}

/// The beginning of the computed ids; twelve hexadecimal digits follow. Ids that the server generates are greater.
pub const UUID_PREFIX: &str = "018f0000-0000-7000-8000-";
const UUID_BASE: u128 = 0x018f_0000_0000_7000_8000_0000_0000_0000;

fn uuid(number: u64) -> Uuid {
    Uuid::from_u128(UUID_BASE | u128::from(number))
}

/// A user of a tenant, by number: those with identities first, then those to whom accounts are linked.
pub fn user(tenant: usize, number: u64) -> Uuid {
    uuid(user_number(tenant, number))
}

/// The number in a user's id.
pub fn user_number(tenant: usize, number: u64) -> u64 {
    ((tenant as u64) << 32) | number
}

fn row_id(number: u64) -> Uuid {
    uuid((1 << 47) | number)
}

/// An account's id at its provider: a scrambled number, as with real providers, so that accounts created one after the other are
/// not neighbours in the index. It is `hash_fnv1a(number, 0)` of `pgbench`, without the sign.
pub fn external_id(number: u64) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = number
        .to_le_bytes()
        .into_iter()
        .fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    hash & WITHOUT_SIGN
}

/// The mask that removes the sign, so that `pgbench` can do the same.
pub const WITHOUT_SIGN: u64 = i64::MAX.cast_unsigned();

/// Pseudorandom numbers (splitmix64): fast, and not suitable for secrets.
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
