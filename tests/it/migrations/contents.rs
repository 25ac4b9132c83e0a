//! What is in a database: its tables with all their rows, and everything else that the history of the tables makes.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

use crate::harness::{Store, Uuid, Value};

/// A text as it is in a row.
pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The id that ends in this number.
pub fn id(number: u16) -> Value {
    text(&uuid(number).to_string())
}

/// The same as an id.
pub fn uuid(number: u16) -> Uuid {
    Uuid::parse_str(&format!("00000000-0000-7000-8000-{number:012}")).expect("an id")
}

/// Statements in the dialect of a store: `@7` stands for the id that ends in 7, and `x'00'` for bytes.
pub fn in_dialect(store: Store, statements: &str) -> String {
    let bytes = match store {
        Store::Sqlite => statements.to_owned(),
        Store::Postgres => statements.replace("x'", "'\\x"),
    };
    let mut pieces = bytes.split('@');
    let mut whole = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let id = match (piece[..digits].parse(), store) {
            (Ok(number), Store::Sqlite) => format!("x'{}'", uuid(number).simple()),
            (Ok(number), Store::Postgres) => format!("'{}'", uuid(number)),
            (Err(_), _) => "@".to_owned(),
        };
        whole.push_str(&id);
        whole += &piece[digits..];
    }
    whole
}

/// A table: its columns, and its rows as JSON objects. A value is a text, whatever the type of its column, but for JSON.
#[derive(Clone, Debug, Default)]
struct Table {
    columns: BTreeSet<String>,
    rows: Vec<Value>,
}

/// The tables of a database, without those of the migrations and of SQLite.
#[derive(Clone, Debug, Default)]
pub struct Contents(BTreeMap<String, Table>);

impl Contents {
    /// What a database holds.
    pub async fn of(db: &DatabaseConnection) -> Self {
        let mut contents = Self::default();
        for (table, column) in pairs(db, columns_of(db)).await {
            contents.0.entry(table).or_default().columns.insert(column);
        }
        for (name, table) in &mut contents.0 {
            let columns = table.columns.iter().map(|column| match db.get_database_backend() {
                DbBackend::Postgres => format!("'{column}', \"{column}\"::text"),
                _ => format!(
                    "'{column}', CASE typeof({column}) WHEN 'blob' THEN lower(hex({column})) ELSE CAST({column} AS TEXT) END"
                ),
            });
            let object = match db.get_database_backend() {
                DbBackend::Postgres => "jsonb_build_object",
                _ => "json_object",
            };
            let columns: Vec<String> = columns.collect();
            let query = format!(
                "SELECT '', CAST({object}({}) AS TEXT) FROM \"{name}\"",
                columns.join(", ")
            );
            table.rows = pairs(db, &query)
                .await
                .into_iter()
                .map(|(_, row)| plain(&row))
                .collect();
        }
        contents
    }

    /// What there is in one of two and not in the other, one line for each row.
    pub fn differences(&self, expected: &Self) -> String {
        let (found, expected) = (self.lines(), expected.lines());
        let missing = expected.difference(&found).map(|line| format!("\nmissing: {line}"));
        let unexpected = found.difference(&expected).map(|line| format!("\nunexpected: {line}"));
        missing.chain(unexpected).collect()
    }

    fn lines(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        for (name, table) in &self.0 {
            lines.insert(format!("{name} {:?}", table.columns));
            for row in &table.rows {
                let mut row = row.clone();
                row.sort_all_objects();
                lines.insert(format!("{name} {row}"));
            }
        }
        lines
    }

    /// Without the tables and columns that others do not have.
    pub fn without_what_is_not_in(mut self, others: &Self) -> Self {
        self.0.retain(|name, _| others.0.contains_key(name));
        for (name, table) in &mut self.0 {
            table.columns.retain(|column| others.0[name].columns.contains(column));
            for row in &mut table.rows {
                let row = row.as_object_mut().expect("a row");
                row.retain(|column, _| table.columns.contains(column));
            }
        }
        self
    }

    /// The tables that have no rows, and the columns that are null in all of them.
    pub fn without_rows(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, table) in &self.0 {
            let empty = table
                .columns
                .iter()
                .filter(|column| table.rows.iter().all(|row| row[*column].is_null()));
            found.extend(empty.map(|column| format!("{name}.{column}")));
        }
        found
    }

    /// Whether there is no table.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a table with these columns.
    pub fn add_table(&mut self, name: &str, columns: &str) {
        let columns = columns.split_whitespace().map(str::to_owned).collect();
        self.0.insert(
            name.to_owned(),
            Table {
                columns,
                rows: Vec::new(),
            },
        );
    }

    /// Adds a column, with what is in it for each row.
    pub fn add_column(&mut self, table: &str, column: &str, value: impl Fn(&Value) -> Value) {
        self.table(table).columns.insert(column.to_owned());
        self.change(table, |row| row[column] = value(row));
    }

    /// Adds a row.
    pub fn insert(&mut self, table: &str, row: Value) {
        self.table(table).rows.push(row);
    }

    /// Changes the rows of a table.
    pub fn change(&mut self, table: &str, change: impl Fn(&mut Value)) {
        self.table(table).rows.iter_mut().for_each(change);
    }

    /// Deletes the rows of a table that have this id in this column.
    pub fn delete(&mut self, table: &str, column: &str, number: u16) {
        self.table(table).rows.retain(|row| row[column] != id(number));
    }

    fn table(&mut self, name: &str) -> &mut Table {
        self.0.get_mut(name).unwrap_or_else(|| panic!("no table {name}"))
    }
}

/// A row with the spellings that differ between the stores made alike, and with JSON as JSON.
fn plain(row: &str) -> Value {
    let mut row: Value = serde_json::from_str(row).expect("a row is a JSON object");
    for value in row.as_object_mut().expect("a row").values_mut() {
        let Value::String(found) = value else { continue };
        if let Some(bytes) = found.strip_prefix("\\x") {
            *value = text(bytes);
        } else if let Ok(id) = Uuid::parse_str(found) {
            *value = text(&id.to_string());
        } else if found.starts_with(['{', '[']) {
            *value = serde_json::from_str(found).expect("JSON");
        }
    }
    row
}

fn columns_of(db: &DatabaseConnection) -> &'static str {
    match db.get_database_backend() {
        DbBackend::Postgres => {
            "SELECT table_name::text, column_name::text FROM information_schema.columns \
             WHERE table_schema = current_schema() AND table_name <> 'seaql_migrations'"
        }
        _ => {
            "SELECT tables.name, columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
             WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' AND tables.name <> 'seaql_migrations'"
        }
    }
}

/// What there is besides rows: types, defaults, indexes, references, and the planner's statistics; one line for each.
pub async fn structure(db: &DatabaseConnection) -> BTreeSet<String> {
    let queries: &[&str] = match db.get_database_backend() {
        DbBackend::Postgres => &[
            "SELECT table_name || '.' || column_name, concat_ws(' ', data_type, is_nullable, column_default) \
             FROM information_schema.columns WHERE table_schema = current_schema()",
            "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
            "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint \
             WHERE connamespace = current_schema()::regnamespace",
        ],
        _ => &[
            "SELECT tables.name || '.' || columns.name, concat_ws(' ', columns.type, columns.[notnull], columns.dflt_value, columns.pk) \
             FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'",
            "SELECT name, coalesce(sql, tbl_name) FROM sqlite_schema WHERE type <> 'table'",
            "SELECT tables.name, concat_ws(' ', keys.[from], keys.[table], keys.[to], keys.on_delete) \
             FROM sqlite_schema AS tables, pragma_foreign_key_list(tables.name) AS keys WHERE tables.type = 'table'",
        ],
    };
    let mut lines = BTreeSet::new();
    for query in queries {
        lines.extend(
            pairs(db, query)
                .await
                .into_iter()
                .map(|(name, what)| format!("{name} {what}")),
        );
    }
    if lines.iter().any(|line| line.starts_with("sqlite_stat1.")) {
        let statistics = "SELECT 'statistics', concat_ws(' ', tbl, idx, stat) FROM sqlite_stat1";
        lines.extend(
            pairs(db, statistics)
                .await
                .into_iter()
                .map(|(name, what)| format!("{name} {what}")),
        );
    }
    lines
}

/// The rows of a query for two texts.
async fn pairs(db: &DatabaseConnection, query: &str) -> Vec<(String, String)> {
    let statement = Statement::from_string(db.get_database_backend(), query);
    let rows = db
        .query_all_raw(statement)
        .await
        .unwrap_or_else(|error| panic!("{error}: {query}"));
    let pair = |row: sea_orm::QueryResult| row.try_get_many_by_index().expect("two texts");
    rows.into_iter().map(pair).collect()
}
