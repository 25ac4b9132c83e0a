//! Whose is an account? The look-up by its provider and its id there. Callers ask it of any account, the server of the
//! subject of a token.

use std::sync::LazyLock;

use aka_entity::identity;
use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, QueryResult, Statement};

use crate::{
    store::{Question, Reader, StoreError, rows},
    types::{
        ids::{IdentityProviderId, TenantId},
        text::ExternalId,
    },
};

/// An identity, and whether the user to whom it is linked is active.
#[derive(Clone, Debug)]
pub struct Found {
    /// The identity.
    pub identity: identity::Model,
    /// Absent: it is linked to nobody.
    pub user_active: Option<bool>,
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

/// What a statement reads of each identity that it finds, after the place of the question: [`read`] takes it apart.
pub const COLUMNS: &str = "found.tenant_id, found.id, found.user_id, found.identity_provider_id, found.external_id, \
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
///
/// # Errors
///
/// [`StoreError`]
pub async fn look_up(questions: &[Lookup], db: &impl ConnectionTrait) -> Result<Vec<Option<Found>>, StoreError> {
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
    let found = rows::of_each(questions.len(), db, statement, read).await?;
    Ok(found.into_iter().map(|mut found| found.pop()).collect())
}

/// The identity in a row that begins with a place and [`COLUMNS`].
///
/// # Errors
///
/// Where the row has other columns.
pub fn read(row: &QueryResult) -> Result<Found, DbErr> {
    Ok(Found {
        identity: identity::Model {
            tenant_id: row.try_get_by_index(1)?,
            id: row.try_get_by_index(2)?,
            user_id: row.try_get_by_index(3)?,
            identity_provider_id: row.try_get_by_index(4)?,
            external_id: row.try_get_by_index(5)?,
            external_username: row.try_get_by_index(6)?,
            external_email: row.try_get_by_index(7)?,
            external_display_name: row.try_get_by_index(8)?,
            linked_by: row.try_get_by_index(9)?,
            linked_at: row.try_get_by_index(10)?,
            last_synced_at: row.try_get_by_index(11)?,
            created_at: row.try_get_by_index(12)?,
            updated_at: row.try_get_by_index(13)?,
        },
        user_active: row.try_get_by_index(14)?,
    })
}
