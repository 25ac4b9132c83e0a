//! A single row: a value derived from the root key that the database was first used with, to recognize that key.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "root_key_check")]
pub struct Model {
    /// Always 1.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: i32,
    pub check_value: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}
