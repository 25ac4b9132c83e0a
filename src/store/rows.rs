//! Many rows as one value of a statement, so that the statement's text never varies with their number and stays
//! prepared: arrays for `UNNEST` on PostgreSQL, a JSON text for `json_each` on SQLite.

use sea_orm::{Value, sea_query::ArrayType};
use serde::Serialize;
use uuid::Uuid;

use super::StoreError;

/// Rows as one JSON text.
///
/// # Errors
///
/// None for rows of texts and numbers.
pub fn json<T: Serialize>(rows: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|error| StoreError::Fault(error.to_string()))
}

/// A column of ids as one array.
pub fn uuids(ids: impl Iterator<Item = Uuid>) -> Value {
    Value::Array(ArrayType::Uuid, Some(Box::new(ids.map(Value::from).collect())))
}

/// A column of texts as one array.
pub fn texts(texts: impl Iterator<Item = String>) -> Value {
    Value::Array(ArrayType::String, Some(Box::new(texts.map(Value::from).collect())))
}

/// A column of texts that may be null, as one array. An array has no nulls here: no text in it is empty by itself, so
/// that an empty one stands for null, and the statement makes it one (`NULLIF`).
pub fn optional_texts(texts: impl Iterator<Item = Option<String>>) -> Value {
    self::texts(texts.map(Option::unwrap_or_default))
}
