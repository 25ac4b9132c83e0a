//! The users of a tenant, as far as decisions look at them.

use std::sync::LazyLock;

use aka_entity::user;
use async_trait::async_trait;
use sea_orm::{ConnectionTrait as _, DatabaseBackend, DbErr, QueryResult, Statement};

use crate::{
    policy::entities::{self, NamedEntity, UserFacts},
    store::{Question, Reader, Store, StoreError, rows},
    types::{
        ids::{IdentityProviderId, TenantId, UserId},
        scopes::Scope,
    },
};

/// One user.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(store: &Store, tenant: TenantId, id: UserId) -> Result<Option<user::Model>, StoreError> {
    store.ask(UserById { tenant, id }).await
}

/// Which user has an id? Many such questions go in one statement.
struct UserById {
    tenant: TenantId,
    id: UserId,
}

/// What a statement reads of each user that it finds, after the place of the question: [`read`] takes it apart.
pub const COLUMNS: &str = "found.tenant_id, found.id, found.email, found.email_key, found.name, found.roles, found.active, \
    found.email_verified, found.created_at, found.updated_at";

/// The limit makes one search of the index of each user, whatever the planner believes of the table.
const BY_ID_POSTGRES: &str = "\
FROM UNNEST($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked (tenant_id, id, place)
CROSS JOIN LATERAL (
    SELECT * FROM users WHERE users.tenant_id = asked.tenant_id AND users.id = asked.id LIMIT 1
) AS found";

const BY_ID_SQLITE: &str = "\
FROM json_each($1) AS asked
CROSS JOIN users AS found
    ON found.tenant_id = unhex(asked.value ->> 0) AND found.id = unhex(asked.value ->> 1)";

static BY_ID_STATEMENT_POSTGRES: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.place, {COLUMNS} {BY_ID_POSTGRES}"));
static BY_ID_STATEMENT_SQLITE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.key + 1 AS place, {COLUMNS} {BY_ID_SQLITE}"));

#[async_trait]
impl Question for UserById {
    type Answer = Option<user::Model>;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn answer_many(questions: &[Self], db: &Reader) -> Result<Vec<Self::Answer>, StoreError> {
        let backend = db.get_database_backend();
        let statement = if backend == DatabaseBackend::Postgres {
            let values = [
                rows::uuids(questions.iter().map(|asked| asked.tenant.0)),
                rows::uuids(questions.iter().map(|asked| asked.id.0)),
            ];
            Statement::from_sql_and_values(backend, BY_ID_STATEMENT_POSTGRES.as_str(), values)
        } else {
            let asked: Vec<_> = questions
                .iter()
                .map(|asked| (asked.tenant.0.simple(), asked.id.0.simple()))
                .collect();
            Statement::from_sql_and_values(backend, BY_ID_STATEMENT_SQLITE.as_str(), [rows::json(&asked)?.into()])
        };
        let found = rows::of_each(questions.len(), db, statement, read).await?;
        Ok(found.into_iter().map(|mut found| found.pop()).collect())
    }
}

/// The user in a row that begins with a place and [`COLUMNS`]. Columns are read by their number: a list of users spends much
/// of its time here, and finding a column by its name takes longer than reading it.
///
/// # Errors
///
/// Where the row has other columns.
pub fn read(row: &QueryResult) -> Result<user::Model, DbErr> {
    Ok(user::Model {
        tenant_id: row.try_get_by_index(1)?,
        id: row.try_get_by_index(2)?,
        email: row.try_get_by_index(3)?,
        email_key: row.try_get_by_index(4)?,
        name: row.try_get_by_index(5)?,
        roles: row.try_get_by_index(6)?,
        active: row.try_get_by_index(7)?,
        email_verified: row.try_get_by_index(8)?,
        created_at: row.try_get_by_index(9)?,
        updated_at: row.try_get_by_index(10)?,
    })
}

/// A user, for policy; where it is they who ask, with what their token allows and the provider that issued it.
#[must_use]
pub fn entity(user: &user::Model, scopes: &[Scope], issued_by: Option<IdentityProviderId>) -> NamedEntity {
    let facts = UserFacts {
        id: UserId(user.id),
        email: &user.email,
        email_verified: user.email_verified,
        name: &user.name,
        active: user.active,
    };
    entities::user(facts, role_names(user), scopes, issued_by)
}

/// The roles of a user.
pub fn role_names(user: &user::Model) -> impl Iterator<Item = &str> {
    let roles = user.roles.as_array().into_iter().flatten();
    roles.filter_map(|role| role.as_str())
}
