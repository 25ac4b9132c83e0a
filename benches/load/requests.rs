//! The requests that are sent, as bytes.

use std::{
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use uuid::{Uuid, fmt::Hyphenated};

use super::{
    data::{self, Data, EMAIL, Random, USERNAME, external_id},
    options::Path,
};

/// Accounts that are looked up again and again.
const HOT: u64 = 100;
/// Users on a page of a list.
const USERS_ON_A_PAGE: u16 = 10;

/// The body of a link, without the values.
const LINK_FRAME: &str = r#"{"identity_provider_id":"","external_id":"","external_username":"","external_email":""}"#;

/// Makes the requests of one kind.
pub struct Requests {
    kind: Kind,
    data: Data,
    /// For each tenant the fields that all its requests have.
    fields: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Aka(Path),
    Echo,
}

/// The next account that nobody knows, whatever is measured.
static NEW_ACCOUNT: AtomicU64 = AtomicU64::new(data::FIRST_NEW_ACCOUNT);

/// A number of an account that nobody has had.
pub fn new_account() -> u64 {
    NEW_ACCOUNT.fetch_add(1, Ordering::Relaxed)
}

impl Requests {
    /// Requests to aka.
    pub fn to_aka(path: Path, data: &Data) -> Self {
        Self::new(Kind::Aka(path), data)
    }

    /// Requests to the echo: those of a link.
    pub fn to_echo(data: &Data) -> Self {
        Self::new(Kind::Echo, data)
    }

    fn new(kind: Kind, data: &Data) -> Self {
        let fields = data.tenants.iter().map(|tenant| {
            format!(
                " HTTP/1.1\r\nHost: aka\r\nX-API-Key: {}\r\nX-Tenant-ID: {}\r\n",
                tenant.key, tenant.id
            )
        });
        Self {
            kind,
            data: data.clone(),
            fields: fields.collect(),
        }
    }

    /// The status of every answer.
    pub fn expected(&self) -> u16 {
        match self.kind {
            Kind::Aka(Path::Link | Path::KeyedLink) => 201,
            Kind::Aka(_) | Kind::Echo => 200,
        }
    }

    /// Writes the next request into an empty buffer.
    pub fn next(&self, random: &mut Random, into: &mut Vec<u8>) {
        let data = &self.data;
        let written = match self.kind {
            Kind::Aka(path @ (Path::Link | Path::KeyedLink)) => self.link(random, path == Path::KeyedLink, into),
            Kind::Echo => self.link(random, false, into),
            Kind::Aka(Path::GetUser) => {
                let (tenant, user) = self.user(random);
                write!(into, "GET /v1/users/{user}{}\r\n", self.fields[tenant])
            }
            Kind::Aka(Path::List) => {
                let (tenant, user) = self.user(random);
                write!(into, "GET /v1/users/{user}/identities{}\r\n", self.fields[tenant])
            }
            Kind::Aka(Path::ListUsers) => {
                let tenant = self.tenant(random);
                write!(into, "GET /v1/users?limit={USERS_ON_A_PAGE}{}\r\n", self.fields[tenant])
            }
            Kind::Aka(Path::Lookup) => self.lookup(random.below(data.rows), into),
            Kind::Aka(Path::LookupHot) => self.lookup(random.below(HOT), into),
        };
        written.expect("a buffer takes everything");
    }

    fn tenant(&self, random: &mut Random) -> usize {
        index(random.below(self.data.tenants.len() as u64))
    }

    /// A tenant, and a user of it who has identities.
    fn user(&self, random: &mut Random) -> (usize, Uuid) {
        let tenant = self.tenant(random);
        (
            tenant,
            data::user(tenant, random.below(self.data.users_with_identities())),
        )
    }

    fn link(&self, random: &mut Random, keyed: bool, into: &mut Vec<u8>) -> std::io::Result<()> {
        let tenant = self.tenant(random);
        let user = self.data.linked_user_numbers().start + random.below(self.data.linked_users());
        let user = data::user(tenant, user);
        let provider = self.data.tenants[tenant].provider;
        let account = new_account();
        let external_id = external_id(account);
        let length = LINK_FRAME.len() + Hyphenated::LENGTH + digits(external_id) + USERNAME.len() + EMAIL.len();
        write!(
            into,
            "POST /v1/users/{user}/identities{}Content-Type: application/json\r\nContent-Length: {length}\r\n",
            self.fields[tenant]
        )?;
        if keyed {
            write!(into, "Idempotency-Key: link-{account}\r\n")?;
        }
        into.extend_from_slice(b"\r\n");
        let head = into.len();
        write!(
            into,
            r#"{{"identity_provider_id":"{provider}","external_id":"{external_id}","external_username":"{USERNAME}","external_email":"{EMAIL}"}}"#
        )?;
        debug_assert_eq!(into.len() - head, length);
        Ok(())
    }

    fn lookup(&self, row: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
        let tenant = self.data.tenant_of_row(row);
        write!(
            into,
            "GET /v1/identities/lookup?identity_provider_id={}&external_id={}{}\r\n",
            self.data.tenants[tenant].provider,
            external_id(row),
            self.fields[tenant]
        )
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}
