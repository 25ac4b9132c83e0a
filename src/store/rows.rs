//! Many rows as one value of a statement, so that the statement's text never varies with their number and stays
//! prepared: arrays for `UNNEST` on PostgreSQL, a JSON text for `json_each` on SQLite. And the rows that are found by a
//! statement that answers many questions.

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement, Value, sea_query::ArrayType};
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

/// A column of bytes as one array.
pub fn bytes(bytes: impl Iterator<Item = Vec<u8>>) -> Value {
    Value::Array(ArrayType::Bytes, Some(Box::new(bytes.map(Value::from).collect())))
}

/// A column of numbers as one array.
pub fn numbers(numbers: impl Iterator<Item = i64>) -> Value {
    Value::Array(ArrayType::BigInt, Some(Box::new(numbers.map(Value::from).collect())))
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

/// Carries out a statement that answers many questions: each row begins with the place of its question, counted from 1.
/// Returns for each question its rows, in their order.
///
/// # Errors
///
/// Where the database cannot be asked, or a row cannot be read.
pub async fn of_each<T>(
    questions: usize,
    db: &impl ConnectionTrait,
    statement: Statement,
    read: impl Fn(&QueryResult) -> Result<T, DbErr>,
) -> Result<Vec<Vec<T>>, StoreError> {
    let mut found: Vec<Vec<T>> = (0..questions).map(|_| Vec::new()).collect();
    for row in db.query_all_raw(statement).await? {
        let place: i64 = row.try_get_by_index(0)?;
        let of_question = usize::try_from(place - 1).ok().and_then(|place| found.get_mut(place));
        if let Some(of_question) = of_question {
            of_question.push(read(&row)?);
        }
    }
    Ok(found)
}
