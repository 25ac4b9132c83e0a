//! The check value of the root key, by which a database knows the key that it was first used with.

use aka_entity::root_key_check;
use sea_orm::{DatabaseConnection, EntityTrait as _, Set, sea_query::OnConflict};

use super::{
    StoreError,
    root_key::{RootKey, RootKeyError, RootKeySource},
};

/// The id of the only row.
const ROW: i32 = 1;

/// The root key of a database: the one that it was first used with. A database that has had none gets one.
pub async fn establish(db: &DatabaseConnection, source: &RootKeySource) -> Result<RootKey, StoreError> {
    let known = read(db).await?;
    let key = match source.find()? {
        Some(key) => key,
        None if known.is_some() => return Err(source.missing().into()),
        None => source.make()?,
    };
    let own = key.check_value().to_vec();
    let known = if let Some(known) = known {
        known
    } else {
        write(db, own.clone()).await?;
        // Another server may have been first.
        read(db).await?.unwrap_or_default()
    };
    if known == own {
        Ok(key)
    } else {
        Err(RootKeyError::Another(source.to_string()).into())
    }
}

async fn read(db: &DatabaseConnection) -> Result<Option<Vec<u8>>, StoreError> {
    let row = root_key_check::Entity::find_by_id(ROW).one(db).await?;
    Ok(row.map(|row| row.check_value))
}

async fn write(db: &DatabaseConnection, check_value: Vec<u8>) -> Result<(), StoreError> {
    let row = root_key_check::ActiveModel {
        id: Set(ROW),
        check_value: Set(check_value),
    };
    let or_leave_it = OnConflict::new().do_nothing().to_owned();
    root_key_check::Entity::insert(row)
        .on_conflict(or_leave_it)
        .exec_without_returning(db)
        .await?;
    Ok(())
}
