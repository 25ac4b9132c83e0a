//! Direct access to the database: what is stored, not what the server says.

use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, QueryResult, Statement, TryGetable,
    sea_query::{Alias, Expr, ExprTrait as _, Order, Query, SelectStatement, Value},
};

/// Opens a connection of the tests' own.
pub async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(2)
        .connect_timeout(Duration::from_secs(5))
        .sqlx_logging(false);
    Database::connect(options)
        .await
        .expect("the server's database is there")
}

/// The rows of a database.
pub struct Rows<'a> {
    db: &'a DatabaseConnection,
}

/// A column and the value that it must have.
pub type Condition<'a> = (&'a str, Value);

impl<'a> Rows<'a> {
    pub fn new(db: &'a DatabaseConnection) -> Self {
        Self { db }
    }

    /// How many rows of a table are like that.
    pub async fn count(&self, table: &str, like: &[Condition<'_>]) -> usize {
        let mut query = from(table, like);
        query.expr(Expr::val(1));
        self.all(&query).await.len()
    }

    /// A column of the rows of a table that are like that, oldest first.
    pub async fn column<T: TryGetable>(&self, table: &str, column: &str, like: &[Condition<'_>]) -> Vec<T> {
        let mut query = from(table, like);
        query.column(Alias::new(column)).order_by(Alias::new("id"), Order::Asc);
        let rows = self.all(&query).await;
        rows.iter()
            .map(|row| row.try_get_by_index(0).expect("a column of this type"))
            .collect()
    }

    /// The same of a table that has no ids, in no order: the catalogues of the databases are such.
    pub async fn names(&self, table: &str, column: &str, like: &[Condition<'_>]) -> Vec<String> {
        let mut query = from(table, like);
        query.expr(Expr::cust(format!("CAST({column} AS TEXT)")));
        let rows = self.all(&query).await;
        rows.iter()
            .map(|row| row.try_get_by_index(0).expect("a text"))
            .collect()
    }

    /// Makes so many copies of the rows of a tenant, with ids that are older than any other.
    pub async fn multiply(&self, table: &str, tenant: uuid::Uuid, times: usize) {
        let backend = self.db.get_database_backend();
        let columns = self.columns(table).await;
        let others: Vec<&str> = columns
            .iter()
            .map(String::as_str)
            .filter(|column| !["tenant_id", "id"].contains(column))
            .collect();
        let others = others.join(", ");
        let (numbers, id) = match backend {
            DbBackend::Postgres => (
                format!("generate_series(1, {times}) AS numbers (n)"),
                "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
            ),
            _ => (
                format!(
                    "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {times}) \
                     SELECT n FROM numbers)"
                ),
                "unhex(printf('%032x', n))",
            ),
        };
        let sql = format!(
            "INSERT INTO {table} (tenant_id, id, {others}) SELECT tenant_id, {id}, {others} FROM {table}, {numbers} \
             WHERE tenant_id = $1"
        );
        let statement = Statement::from_sql_and_values(backend, sql, [tenant.into()]);
        self.db
            .execute_raw(statement)
            .await
            .expect("rows like those that are there");
    }

    async fn columns(&self, table: &str) -> Vec<String> {
        let mut query = Query::select();
        query.from(Alias::new(table)).expr(Expr::cust("*")).limit(1);
        let rows = self.all(&query).await;
        rows.first().map(QueryResult::column_names).expect("a row")
    }

    async fn all(&self, query: &SelectStatement) -> Vec<QueryResult> {
        self.db.query_all(query).await.expect("a query that the tables allow")
    }
}

fn from(table: &str, like: &[Condition<'_>]) -> SelectStatement {
    let mut query = Query::select();
    query.from(Alias::new(table));
    for (column, value) in like {
        query.and_where(Expr::col(Alias::new(*column)).eq(value.clone()));
    }
    query
}
