//! Identities as they are stored: finding them, and inserting many with one statement.

use std::sync::LazyLock;

use aka_entity::{identity, user};
use async_trait::async_trait;
use sea_orm::{
    ActiveEnum as _, ConnectionTrait as _, DatabaseBackend, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Statement,
};
use uuid::Uuid;

use super::{Account, Link};
use crate::{
    access::{
        self,
        accounts::{COLUMNS, Found, read},
    },
    store::{Question, Reader, Store, StoreError, Tx, rows},
    types::ids::{IdentityId, IdentityProviderId, TenantId, UserId},
};

/// One identity, linked or not.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find_by_id(store: &Store, tenant: TenantId, id: IdentityId) -> Result<Option<Found>, StoreError> {
    let identity = identity::Entity::find_by_id((tenant.0, id.0));
    let Some(identity) = identity.one(&store.reader_of(tenant)).await? else {
        return Ok(None);
    };
    let user_active = match identity.user_id.map(UserId) {
        Some(user) => access::users::find(store, tenant, user).await?,
        None => None,
    }
    .map(|user| user.active);
    Ok(Some(Found { identity, user_active }))
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
        let mut pages = rows::of_each(questions.len(), db, statement, read).await?;
        for (page, asked) in pages.iter_mut().zip(questions) {
            page.truncate(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        }
        Ok(pages)
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

/// The account at a provider, by its id there.
#[must_use]
pub fn account(tenant: TenantId, provider: IdentityProviderId, external_id: &str) -> sea_orm::Select<identity::Entity> {
    identity::Entity::find()
        .filter(identity::COLUMN.tenant_id.eq(tenant.0))
        .filter(identity::COLUMN.identity_provider_id.eq(provider.0))
        .filter(identity::COLUMN.external_id.eq(external_id))
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
///
/// # Errors
///
/// [`StoreError`]
pub async fn insert(links: &[&Link], tx: &Tx<'_>) -> Result<Vec<bool>, StoreError> {
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
