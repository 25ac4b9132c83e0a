//! Users as they are stored: finding them, and listing them.

use std::sync::LazyLock;

use aka_entity::user;
use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    Statement,
};
use uuid::Uuid;

use crate::{
    access::users::{COLUMNS, read},
    store::{Question, Reader, Store, StoreError, rows},
    types::{ids::TenantId, text::Email},
};

/// The user of an address, in whatever case.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find_by_email(store: &Store, tenant: TenantId, email: &Email) -> Result<Option<user::Model>, StoreError> {
    let query = user::Entity::find()
        .filter(user::COLUMN.tenant_id.eq(tenant.0))
        .filter(user::COLUMN.email_key.eq(email.key()));
    Ok(query.one(&store.reader_of(tenant)).await?)
}

/// The users of a tenant, oldest first, after a position; all, or only the one who has an address.
///
/// # Errors
///
/// [`StoreError`]
pub async fn list(
    store: &Store,
    tenant: TenantId,
    email: Option<&Email>,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<user::Model>, StoreError> {
    if email.is_none() && limit <= SMALL_PAGE {
        return store.ask(SmallPage { tenant, after, limit }).await;
    }
    let mut query = user::Entity::find().filter(user::COLUMN.tenant_id.eq(tenant.0));
    if let Some(email) = email {
        query = query.filter(user::COLUMN.email_key.eq(email.key()));
    }
    if let Some(after) = after {
        query = query.filter(user::COLUMN.id.gt(after));
    }
    Ok(query
        .order_by_asc(user::Column::Id)
        .limit(limit)
        .all(&store.reader_of(tenant))
        .await?)
}

/// Rows of a page that shares a statement at most: those of a page of the default length, and one to see whether there are
/// more. Reading more rows costs more than the statement, and others would wait for them.
const SMALL_PAGE: u64 = 51;

/// Who are the users of a tenant? A page of them, oldest first, after a position, of which many go in one statement.
struct SmallPage {
    tenant: TenantId,
    after: Option<Uuid>,
    limit: u64,
}

/// Each page has its own limit, which also makes it one search of the index, whatever the planner believes of the table.
const PAGE_POSTGRES: &str = "\
FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[]) WITH ORDINALITY AS asked (tenant_id, after, rows, place)
CROSS JOIN LATERAL (
    SELECT * FROM users
    WHERE users.tenant_id = asked.tenant_id AND users.id > asked.after
    ORDER BY users.id
    LIMIT asked.rows
) AS found
ORDER BY asked.place, found.id";

/// SQLite has no lateral joins: the last row of a page is looked for first. All pages are as long as the longest.
const PAGE_SQLITE: &str = "\
FROM (SELECT key, unhex(value ->> 0) AS tenant_id, unhex(value ->> 1) AS after FROM json_each($1)) AS asked
CROSS JOIN users AS found
    ON found.tenant_id = asked.tenant_id AND found.id > asked.after
    AND found.id <= COALESCE((
        SELECT last.id FROM users AS last
        WHERE last.tenant_id = asked.tenant_id AND last.id > asked.after
        ORDER BY last.id
        LIMIT 1 OFFSET $2 - 1
    ), x'ffffffffffffffffffffffffffffffff')
ORDER BY asked.key, found.id";

static PAGE_STATEMENT_POSTGRES: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.place, {COLUMNS} {PAGE_POSTGRES}"));
static PAGE_STATEMENT_SQLITE: LazyLock<String> =
    LazyLock::new(|| format!("SELECT asked.key + 1 AS place, {COLUMNS} {PAGE_SQLITE}"));

#[async_trait]
impl Question for SmallPage {
    type Answer = Vec<user::Model>;

    /// About as many rows as a batch of look-ups has, where pages are of ten; eight times as many at most.
    const BATCH: usize = 16;

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn answer_many(questions: &[Self], db: &Reader) -> Result<Vec<Self::Answer>, StoreError> {
        let after = |asked: &Self| asked.after.unwrap_or(Uuid::nil());
        let limit = |asked: &Self| i64::try_from(asked.limit).unwrap_or(i64::MAX);
        let backend = db.get_database_backend();
        let statement = if backend == DatabaseBackend::Postgres {
            let values = [
                rows::uuids(questions.iter().map(|asked| asked.tenant.0)),
                rows::uuids(questions.iter().map(after)),
                rows::numbers(questions.iter().map(limit)),
            ];
            Statement::from_sql_and_values(backend, PAGE_STATEMENT_POSTGRES.as_str(), values)
        } else {
            let asked: Vec<_> = questions
                .iter()
                .map(|asked| (asked.tenant.0.simple(), after(asked).simple()))
                .collect();
            let longest = questions.iter().map(limit).max().unwrap_or_default();
            let values = [rows::json(&asked)?.into(), longest.into()];
            Statement::from_sql_and_values(backend, PAGE_STATEMENT_SQLITE.as_str(), values)
        };
        let mut pages = rows::of_each(questions.len(), db, statement, read).await?;
        for (page, asked) in pages.iter_mut().zip(questions) {
            page.truncate(usize::try_from(asked.limit).unwrap_or(usize::MAX));
        }
        Ok(pages)
    }
}
