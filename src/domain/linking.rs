//! Linking: which account belongs to which user.
//!
//! One account (tenant, identity provider, external id) belongs to at most one user, whatever happens at the same
//! time. It is the unique index `identities_account` that says so: a link is an insert that gives way where the
//! account is known already, and only then is the known row looked at. There is no check before a write that another
//! write could overtake.

use std::sync::LazyLock;

use aka_entity::{
    barred_account::Reason,
    former_link,
    identity::{self, LinkedBy},
    user,
};
use async_trait::async_trait;
use sea_orm::{
    ActiveEnum as _, ActiveModelTrait as _, ConnectionTrait, DatabaseBackend, EntityTrait as _, FromQueryResult as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, Set, Statement,
    sea_query::{Expr, OnConflict},
};
use serde::Serialize;
use uuid::Uuid;

use super::{
    barred_accounts,
    caller::Permit,
    identity_providers,
    ids::{IdentityId, IdentityProviderId, TenantId, UserId},
    text::{Email, ExternalId, ExternalName},
};
use crate::store::{Applied, Change, Question, Reader, Record, Store, StoreError, Tx, change::Outcome, rows};

/// An identity, and whether the user to whom it is linked is active.
#[derive(Clone, Debug)]
pub struct Found {
    /// The identity.
    pub identity: identity::Model,
    /// Absent: it is linked to nobody.
    pub user_active: Option<bool>,
}

/// One identity of a user.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(store: &Store, tenant: TenantId, user: UserId, id: IdentityId) -> Result<Option<Found>, StoreError> {
    let owner = user::Entity::find_by_id((tenant.0, user.0))
        .one(&store.reader_of(tenant))
        .await?;
    let identity = identity::Entity::find_by_id((tenant.0, id.0))
        .filter(identity::COLUMN.user_id.eq(user.0))
        .one(&store.reader_of(tenant))
        .await?;
    Ok(identity.zip(owner).map(|(identity, owner)| Found {
        identity,
        user_active: Some(owner.active),
    }))
}

/// Whose is an account? The look-up of its identity, of which many go in one statement.
pub struct Lookup {
    /// The tenant.
    pub tenant: TenantId,
    /// Where the account is.
    pub identity_provider_id: IdentityProviderId,
    /// Its id there.
    pub external_id: ExternalId,
}

const COLUMNS: &str = "found.tenant_id, found.id, found.user_id, found.identity_provider_id, found.external_id, \
    found.external_username, found.external_email, found.external_display_name, found.linked_by, found.linked_at, \
    found.last_synced_at, found.created_at, found.updated_at, \
    (SELECT active FROM users WHERE users.tenant_id = found.tenant_id AND users.id = found.user_id) AS user_active";

/// The limit makes one search of the index of each account, whatever the planner believes of the table.
const LOOKUP_POSTGRES: &str = "\
FROM UNNEST($1::uuid[], $2::uuid[], $3::text[]) WITH ORDINALITY AS asked (tenant_id, provider, external_id, place)
CROSS JOIN LATERAL (
    SELECT * FROM identities
    WHERE identities.tenant_id = asked.tenant_id AND identities.identity_provider_id = asked.provider
        AND identities.external_id = asked.external_id
    LIMIT 1
) AS found";

const LOOKUP_SQLITE: &str = "\
FROM json_each($1) AS asked
CROSS JOIN identities AS found
    ON found.tenant_id = unhex(asked.value ->> 0) AND found.identity_provider_id = unhex(asked.value ->> 1)
    AND found.external_id = asked.value ->> 2";

static LOOKUP_STATEMENT_POSTGRES: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.place, {COLUMNS} {LOOKUP_POSTGRES}"));
static LOOKUP_STATEMENT_SQLITE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.key + 1 AS place, {COLUMNS} {LOOKUP_SQLITE}"));

#[async_trait]
impl Question for Lookup {
    type Answer = Option<Found>;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn answer_many(questions: &[Self], db: &Reader) -> Result<Vec<Self::Answer>, StoreError> {
        look_up(questions, db).await
    }
}

/// Answers look-ups with one statement, each in its place.
async fn look_up(questions: &[Lookup], db: &impl ConnectionTrait) -> Result<Vec<Option<Found>>, StoreError> {
    let backend = db.get_database_backend();
    let statement = if backend == DatabaseBackend::Postgres {
        let values = [
            rows::uuids(questions.iter().map(|asked| asked.tenant.0)),
            rows::uuids(questions.iter().map(|asked| asked.identity_provider_id.0)),
            rows::texts(questions.iter().map(|asked| asked.external_id.to_string())),
        ];
        Statement::from_sql_and_values(backend, LOOKUP_STATEMENT_POSTGRES.as_str(), values)
    } else {
        let asked: Vec<_> = questions
            .iter()
            .map(|asked| {
                (
                    asked.tenant.0.simple(),
                    asked.identity_provider_id.0.simple(),
                    &asked.external_id,
                )
            })
            .collect();
        Statement::from_sql_and_values(backend, LOOKUP_STATEMENT_SQLITE.as_str(), [rows::json(&asked)?.into()])
    };
    let mut answers = vec![None; questions.len()];
    for (place, found) in placed(db, statement).await? {
        if let Some(answer) = answers.get_mut(place) {
            *answer = Some(found);
        }
    }
    Ok(answers)
}

/// The identities that a statement finds, each with the place of the question that it answers.
async fn placed(db: &impl ConnectionTrait, statement: Statement) -> Result<Vec<(usize, Found)>, StoreError> {
    let mut all = Vec::new();
    for row in db.query_all_raw(statement).await? {
        let place: i64 = row.try_get_by_index(0)?;
        let place = usize::try_from(place - 1).map_err(|error| StoreError::Fault(error.to_string()))?;
        let found = Found {
            identity: identity::Model::from_query_result(&row, "")?,
            user_active: row.try_get("", "user_active")?,
        };
        all.push((place, found));
    }
    Ok(all)
}

/// Which accounts has a user? A page of their identities, oldest first, of which many go in one statement.
pub struct OfUser {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: UserId,
    /// The id after which the page begins.
    pub after: Option<Uuid>,
    /// How many rows at most.
    pub limit: u64,
}

const OF_USER_POSTGRES: &str = "\
FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS asked (tenant_id, user_id, after, place)
CROSS JOIN LATERAL (
    SELECT * FROM identities
    WHERE identities.tenant_id = asked.tenant_id AND identities.user_id = asked.user_id AND identities.id > asked.after
    ORDER BY identities.id
    LIMIT $4
) AS found
ORDER BY asked.place, found.id";

/// SQLite has no lateral joins: the last row of a page is looked for first.
const OF_USER_SQLITE: &str = "\
FROM (
    SELECT key, unhex(value ->> 0) AS tenant_id, unhex(value ->> 1) AS user_id, unhex(value ->> 2) AS after
    FROM json_each($1)
) AS asked
CROSS JOIN identities AS found
    ON found.tenant_id = asked.tenant_id AND found.user_id = asked.user_id AND found.id > asked.after
    AND found.id <= COALESCE((
        SELECT last.id FROM identities AS last
        WHERE last.tenant_id = asked.tenant_id AND last.user_id = asked.user_id AND last.id > asked.after
        ORDER BY last.user_id, last.id
        LIMIT 1 OFFSET $2 - 1
    ), x'ffffffffffffffffffffffffffffffff')
ORDER BY asked.key, found.id";

static OF_USER_STATEMENT_POSTGRES: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.place, {COLUMNS} {OF_USER_POSTGRES}"));
static OF_USER_STATEMENT_SQLITE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.key + 1 AS place, {COLUMNS} {OF_USER_SQLITE}"));

#[async_trait]
impl Question for OfUser {
    type Answer = Vec<Found>;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn answer_many(questions: &[Self], db: &Reader) -> Result<Vec<Self::Answer>, StoreError> {
        // The statement has one limit, the greatest: what is too much for a page is left away below.
        let limit = questions.iter().map(|asked| asked.limit).max().unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = |asked: &Self| asked.after.unwrap_or(Uuid::nil());
        let backend = db.get_database_backend();
        let statement = if backend == DatabaseBackend::Postgres {
            let values = [
                rows::uuids(questions.iter().map(|asked| asked.tenant.0)),
                rows::uuids(questions.iter().map(|asked| asked.user.0)),
                rows::uuids(questions.iter().map(after)),
                limit.into(),
            ];
            Statement::from_sql_and_values(backend, OF_USER_STATEMENT_POSTGRES.as_str(), values)
        } else {
            let asked: Vec<_> = questions
                .iter()
                .map(|asked| (asked.tenant.0.simple(), asked.user.0.simple(), after(asked).simple()))
                .collect();
            let values = [rows::json(&asked)?.into(), limit.into()];
            Statement::from_sql_and_values(backend, OF_USER_STATEMENT_SQLITE.as_str(), values)
        };
        let mut answers: Vec<Self::Answer> = questions.iter().map(|_| Vec::new()).collect();
        for (place, found) in placed(db, statement).await? {
            if let (Some(answer), Some(asked)) = (answers.get_mut(place), questions.get(place))
                && (answer.len() as u64) < asked.limit
            {
                answer.push(found);
            }
        }
        Ok(answers)
    }
}

/// The accounts that a user has at a provider: a page of their identities, oldest first, after a position.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list_at(
    store: &Store,
    tenant: TenantId,
    user: UserId,
    provider: IdentityProviderId,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Found>, StoreError> {
    let Some(owner) = user::Entity::find_by_id((tenant.0, user.0))
        .one(&store.reader_of(tenant))
        .await?
    else {
        return Ok(Vec::new());
    };
    let mut query = identity::Entity::find()
        .filter(identity::COLUMN.tenant_id.eq(tenant.0))
        .filter(identity::COLUMN.user_id.eq(user.0))
        .filter(identity::COLUMN.identity_provider_id.eq(provider.0));
    if let Some(after) = after {
        query = query.filter(identity::COLUMN.id.gt(after));
    }
    let identities = query
        .order_by_asc(identity::Column::Id)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?;
    let found = |identity| Found {
        identity,
        user_active: Some(owner.active),
    };
    Ok(identities.into_iter().map(found).collect())
}

fn account(tenant: TenantId, provider: IdentityProviderId, external_id: &str) -> sea_orm::Select<identity::Entity> {
    identity::Entity::find()
        .filter(identity::COLUMN.tenant_id.eq(tenant.0))
        .filter(identity::COLUMN.identity_provider_id.eq(provider.0))
        .filter(identity::COLUMN.external_id.eq(external_id))
}

/// An account at a provider, as its provider describes it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where it is.
    pub identity_provider_id: IdentityProviderId,
    /// Its id there.
    pub external_id: ExternalId,
    /// Its name there.
    pub username: Option<ExternalName>,
    /// Its address there.
    pub email: Option<Email>,
    /// How it is shown there.
    pub display_name: Option<ExternalName>,
}

/// Links an account to a user.
pub struct Link {
    permit: Permit,
    id: IdentityId,
    user: UserId,
    account: Account,
    linked_by: LinkedBy,
}

impl Link {
    /// A link that somebody asked for.
    #[must_use]
    pub const fn manual(permit: Permit, id: IdentityId, user: UserId, account: Account) -> Self {
        Self {
            permit,
            id,
            user,
            account,
            linked_by: LinkedBy::Manual,
        }
    }
}

/// What became of a link.
#[derive(Debug)]
pub enum Linked {
    /// Nobody knew the account, or it was linked to nobody.
    Now(Found),
    /// It was linked to this very user before. What the caller said of the account counts now.
    Already(Found),
}

/// Why an account is not linked.
#[derive(Debug)]
pub enum LinkRefusal {
    /// The tenant has no such user.
    NoUser(UserId),
    /// The tenant has no such provider.
    NoIdentityProvider(IdentityProviderId),
    /// The user is suspended.
    UserSuspended(UserId),
    /// The provider is disabled.
    IdentityProviderDisabled(IdentityProviderId),
    /// The account is linked to another user: this is the identity as it is.
    LinkedToAnother(Box<identity::Model>),
    /// The store could not do it.
    Store(StoreError),
}

impl From<StoreError> for LinkRefusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sea_orm::DbErr> for LinkRefusal {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

#[async_trait]
impl Change for Link {
    type Done = Linked;
    type Refusal = LinkRefusal;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<Linked>, LinkRefusal> {
        match insert(&[self], tx).await?.first() {
            Some(true) => Ok(self.inserted(tx)),
            _ => self.adopt(tx).await,
        }
    }

    /// Accounts that nobody knows are inserted by one statement, and another finds those that are linked as they are to be.
    /// The others, which are rare, are looked at one by one.
    async fn apply_many(changes: &[&Self], tx: &Tx<'_>) -> Result<Vec<Option<Outcome<Self>>>, StoreError> {
        let inserted = insert(changes, tx).await?;
        let others = changes.iter().zip(&inserted).filter(|(_, inserted)| !**inserted);
        let others: Vec<Lookup> = others.map(|(link, _)| link.lookup()).collect();
        let known = if others.is_empty() {
            Vec::new()
        } else {
            look_up(&others, tx.db).await?
        };
        let mut known = known.into_iter();
        let outcomes = changes.iter().zip(inserted).map(|(link, inserted)| {
            if inserted {
                return Some(Ok(link.inserted(tx)));
            }
            let known = known.next().flatten();
            let known = known.filter(|found| link.is_as_said_in(&found.identity));
            known.map(|found| Ok(Applied::unchanged(Linked::Already(found))))
        });
        Ok(outcomes.collect())
    }

    fn about(&self) -> Option<UserId> {
        Some(self.user)
    }
}

impl Link {
    /// The look-up of its account.
    fn lookup(&self) -> Lookup {
        Lookup {
            tenant: self.permit.tenant(),
            identity_provider_id: self.account.identity_provider_id,
            external_id: self.account.external_id.clone(),
        }
    }

    /// Whether this identity is what the link would make of it, so that nothing is to be done.
    fn is_as_said_in(&self, known: &identity::Model) -> bool {
        let says_nothing_new = |said: Option<&str>, known: Option<&str>| said.is_none() || said == known;
        let Account {
            username,
            email,
            display_name,
            ..
        } = &self.account;
        known.user_id == Some(self.user.0)
            && says_nothing_new(
                username.as_ref().map(ExternalName::as_str),
                known.external_username.as_deref(),
            )
            && says_nothing_new(email.as_ref().map(Email::as_str), known.external_email.as_deref())
            && says_nothing_new(
                display_name.as_ref().map(ExternalName::as_str),
                known.external_display_name.as_deref(),
            )
    }

    /// The row as the insert made it.
    fn row(&self, tx: &Tx<'_>) -> identity::Model {
        identity::Model {
            tenant_id: self.permit.tenant().0,
            id: self.id.0,
            user_id: Some(self.user.0),
            identity_provider_id: self.account.identity_provider_id.0,
            external_id: self.account.external_id.to_string(),
            external_username: self.account.username.as_ref().map(ToString::to_string),
            external_email: self.account.email.as_ref().map(ToString::to_string),
            external_display_name: self.account.display_name.as_ref().map(ToString::to_string),
            linked_by: self.linked_by,
            linked_at: Some(tx.now.0),
            last_synced_at: None,
            created_at: tx.now.0,
            updated_at: tx.now.0,
        }
    }

    fn inserted(&self, tx: &Tx<'_>) -> Applied<Linked> {
        let identity = self.row(tx);
        let record = record(&self.permit, &identity, self.user, "identity.linked");
        // The insert takes active users only.
        let user_active = Some(true);
        Applied::recorded(Linked::Now(Found { identity, user_active }), record)
    }

    /// The insert gave way: because user or provider do not allow it, or because the account is known.
    async fn adopt(&self, tx: &Tx<'_>) -> Result<Applied<Linked>, LinkRefusal> {
        let tenant = self.permit.tenant();
        let user = user::Entity::find_by_id((tenant.0, self.user.0)).one(tx.db).await?;
        let user = user.ok_or(LinkRefusal::NoUser(self.user))?;
        let provider = identity_providers::hold(tx, tenant, self.account.identity_provider_id).await?;
        let no_provider = LinkRefusal::NoIdentityProvider(self.account.identity_provider_id);
        let provider = provider.ok_or(no_provider)?;
        let mut query = account(
            tenant,
            self.account.identity_provider_id,
            self.account.external_id.as_str(),
        );
        if tx.db.get_database_backend() == DatabaseBackend::Postgres {
            query = query.lock_exclusive();
        }
        let known = query.one(tx.db).await?;
        match known {
            // Repeating a link is safe, whatever has become of user and provider since.
            Some(known) if known.user_id == Some(self.user.0) => self.link_again(known, user.active, tx).await,
            _ if !user.active => Err(LinkRefusal::UserSuspended(self.user)),
            _ if !provider.enabled => Err(LinkRefusal::IdentityProviderDisabled(self.account.identity_provider_id)),
            Some(known) if known.user_id.is_some() => Err(LinkRefusal::LinkedToAnother(Box::new(known))),
            Some(known) => {
                let mut linked = self.described(&known, tx);
                linked.user_id = Set(Some(self.user.0));
                linked.linked_by = Set(self.linked_by);
                linked.linked_at = Set(Some(tx.now.0));
                let identity = linked.update(tx.db).await?;
                let record = record(&self.permit, &identity, self.user, "identity.linked");
                let user_active = Some(user.active);
                Ok(Applied::recorded(Linked::Now(Found { identity, user_active }), record))
            }
            // Between the insert and this look another node took the row away. The caller may send it again.
            None => Err(StoreError::Unavailable("the account was being changed at the same time".into()).into()),
        }
    }

    /// Links an account again to the user who has it. Nothing is written unless the account is described in another way
    /// than before.
    async fn link_again(
        &self,
        known: identity::Model,
        user_active: bool,
        tx: &Tx<'_>,
    ) -> Result<Applied<Linked>, LinkRefusal> {
        let account = |identity| {
            Linked::Already(Found {
                identity,
                user_active: Some(user_active),
            })
        };
        let described = self.described(&known, tx);
        let same = [
            (&described.external_username, &known.external_username),
            (&described.external_email, &known.external_email),
            (&described.external_display_name, &known.external_display_name),
        ];
        if same.into_iter().all(|(new, old)| new.try_as_ref() == Some(old)) {
            return Ok(Applied::unchanged(account(known)));
        }
        let identity = described.update(tx.db).await?;
        let record = record(&self.permit, &identity, self.user, "identity.updated");
        Ok(Applied::recorded(account(identity), record))
    }

    /// A known identity, which keeps its id, as the caller describes the account; what they did not say stays.
    fn described(&self, known: &identity::Model, tx: &Tx<'_>) -> identity::ActiveModel {
        let said = self.row(tx);
        let mut identity = known.clone().into_active_model();
        identity.external_username = Set(said.external_username.or_else(|| known.external_username.clone()));
        identity.external_email = Set(said.external_email.or_else(|| known.external_email.clone()));
        identity.external_display_name = Set(said
            .external_display_name
            .or_else(|| known.external_display_name.clone()));
        identity.updated_at = Set(tx.now.0);
        identity
    }
}

/// The provider is locked as the foreign key locks it in any case, but before it is looked at: a provider that another node
/// is deleting is then seen as it is afterwards.
const INSERT_POSTGRES: &str = "\
WITH input AS (
    SELECT * FROM UNNEST(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
    AS link (tenant_id, id, user_id, identity_provider_id, external_id,
        external_username, external_email, external_display_name, linked_by)
)
INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id,
    external_username, external_email, external_display_name, linked_by, linked_at, created_at, updated_at)
SELECT input.tenant_id, input.id, input.user_id, input.identity_provider_id, input.external_id,
    NULLIF(external_username, ''), NULLIF(external_email, ''), NULLIF(external_display_name, ''), linked_by, $10, $10, $10
FROM input
JOIN users ON users.tenant_id = input.tenant_id AND users.id = input.user_id AND users.active
JOIN identity_providers AS provider
    ON provider.tenant_id = input.tenant_id AND provider.id = input.identity_provider_id AND provider.enabled
FOR KEY SHARE OF provider
ON CONFLICT (tenant_id, identity_provider_id, external_id) DO NOTHING
RETURNING id";

const INSERT_SQLITE: &str = "\
WITH input AS MATERIALIZED (
    SELECT unhex(value ->> 0) AS tenant_id, unhex(value ->> 1) AS id, unhex(value ->> 2) AS user_id,
        unhex(value ->> 3) AS identity_provider_id, value ->> 4 AS external_id, value ->> 5 AS external_username,
        value ->> 6 AS external_email, value ->> 7 AS external_display_name, value ->> 8 AS linked_by
    FROM json_each($1)
)
INSERT INTO identities (tenant_id, id, user_id, identity_provider_id, external_id,
    external_username, external_email, external_display_name, linked_by, linked_at, created_at, updated_at)
SELECT input.tenant_id, input.id, input.user_id, input.identity_provider_id, input.external_id,
    external_username, external_email, external_display_name, linked_by, $2, $2, $2
FROM input
CROSS JOIN users ON users.tenant_id = input.tenant_id AND users.id = input.user_id AND users.active
CROSS JOIN identity_providers AS provider
    ON provider.tenant_id = input.tenant_id AND provider.id = input.identity_provider_id AND provider.enabled
WHERE true
ON CONFLICT (tenant_id, identity_provider_id, external_id) DO NOTHING
RETURNING id";

/// Inserts the accounts that nobody knows, of users and providers that allow it; tells for each whether it did.
async fn insert(links: &[&Link], tx: &Tx<'_>) -> Result<Vec<bool>, StoreError> {
    let backend = tx.db.get_database_backend();
    let statement = if backend == DatabaseBackend::Postgres {
        let text =
            |of: fn(&Account) -> Option<String>| rows::optional_texts(links.iter().map(move |link| of(&link.account)));
        let values = [
            rows::uuids(links.iter().map(|l| l.permit.tenant().0)),
            rows::uuids(links.iter().map(|l| l.id.0)),
            rows::uuids(links.iter().map(|l| l.user.0)),
            rows::uuids(links.iter().map(|l| l.account.identity_provider_id.0)),
            rows::texts(links.iter().map(|l| l.account.external_id.to_string())),
            text(|account| account.username.as_ref().map(ToString::to_string)),
            text(|account| account.email.as_ref().map(ToString::to_string)),
            text(|account| account.display_name.as_ref().map(ToString::to_string)),
            rows::texts(links.iter().map(|l| l.linked_by.to_value())),
            tx.now.0.into(),
        ];
        Statement::from_sql_and_values(backend, INSERT_POSTGRES, values)
    } else {
        let input: Vec<_> = links
            .iter()
            .map(|l| {
                (
                    l.permit.tenant().0.simple(),
                    l.id.0.simple(),
                    l.user.0.simple(),
                    l.account.identity_provider_id.0.simple(),
                    &l.account.external_id,
                    &l.account.username,
                    &l.account.email,
                    &l.account.display_name,
                    l.linked_by.to_value(),
                )
            })
            .collect();
        Statement::from_sql_and_values(backend, INSERT_SQLITE, [rows::json(&input)?.into(), tx.now.0.into()])
    };
    let mut inserted = std::collections::HashSet::with_capacity(links.len());
    for row in tx.db.query_all_raw(statement).await? {
        inserted.insert(row.try_get_by_index::<Uuid>(0)?);
    }
    Ok(links.iter().map(|link| inserted.contains(&link.id.0)).collect())
}

/// Takes an account away from a user. The account stays known, linked to nobody: if it is linked again it is the same
/// identity, with the same history.
pub struct Unlink {
    permit: Permit,
    user: UserId,
    id: IdentityId,
}

impl Unlink {
    /// Takes this identity away from this user.
    #[must_use]
    pub const fn new(permit: Permit, user: UserId, id: IdentityId) -> Self {
        Self { permit, user, id }
    }
}

impl Unlink {
    /// Keeps the tokens of a suspended user's account refused, although it is no longer the user's.
    async fn bar_if_suspended(&self, identity: &identity::Model, tx: &Tx<'_>) -> Result<(), StoreError> {
        let tenant = self.permit.tenant();
        let user = user::Entity::find_by_id((tenant.0, self.user.0)).one(tx.db).await?;
        match user {
            Some(user) if !user.active => {
                barred_accounts::bar(tx, tenant, std::slice::from_ref(identity), Reason::Suspended).await
            }
            _ => barred_accounts::lift(tx, tenant, identity).await,
        }
    }

    /// Takes down whose the account was: it is erased with them.
    async fn remember(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let former = former_link::ActiveModel {
            tenant_id: Set(self.permit.tenant().0),
            user_id: Set(self.user.0),
            identity_id: Set(self.id.0),
        };
        former_link::Entity::insert(former)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(tx.db)
            .await?;
        Ok(())
    }
}

#[async_trait]
impl Change for Unlink {
    /// Whether the user had the identity.
    type Done = bool;
    type Refusal = StoreError;

    fn tenant(&self) -> Option<TenantId> {
        Some(self.permit.tenant())
    }

    async fn apply(&self, tx: &Tx<'_>) -> Result<Applied<bool>, StoreError> {
        let mut unlinked = identity::Entity::update_many()
            .col_expr(identity::Column::UserId, Expr::value(None::<Uuid>))
            .col_expr(identity::Column::LinkedAt, Expr::value(None::<i64>))
            .col_expr(identity::Column::UpdatedAt, Expr::value(tx.now.0))
            .filter(identity::COLUMN.tenant_id.eq(self.permit.tenant().0))
            .filter(identity::COLUMN.id.eq(self.id.0))
            .filter(identity::COLUMN.user_id.eq(self.user.0))
            .exec_with_returning(tx.db)
            .await?;
        let Some(identity) = unlinked.pop() else {
            return Ok(Applied::unchanged(false));
        };
        self.bar_if_suspended(&identity, tx).await?;
        self.remember(tx).await?;
        let record = record(&self.permit, &identity, self.user, "identity.unlinked");
        Ok(Applied::recorded(true, record))
    }
}

/// What the audit log and the outbox tell of a link, a change of its account, or its end: ids of ours, because both outlive
/// the erasure of a user.
fn record(permit: &Permit, identity: &identity::Model, user: UserId, event_type: &'static str) -> Record {
    #[derive(Serialize)]
    struct Entry {
        user_id: UserId,
        identity_provider_id: Uuid,
    }
    #[derive(Serialize)]
    struct Event {
        identity_id: Uuid,
        user_id: UserId,
        identity_provider_id: Uuid,
        linked_by: String,
    }
    let identity_provider_id = identity.identity_provider_id;
    permit.record(
        "identity",
        identity.id,
        &Entry {
            user_id: user,
            identity_provider_id,
        },
        event_type,
        &Event {
            identity_id: identity.id,
            user_id: user,
            identity_provider_id,
            linked_by: identity.linked_by.to_value(),
        },
    )
}
