//! The users of a tenant, as far as decisions look at them.

use aka_entity::user;
use sea_orm::EntityTrait as _;

use crate::{
    store::{Store, StoreError},
    types::ids::{TenantId, UserId},
};

/// One user.
///
/// # Errors
///
/// [`StoreError`]
pub async fn find(store: &Store, tenant: TenantId, id: UserId) -> Result<Option<user::Model>, StoreError> {
    Ok(user::Entity::find_by_id((tenant.0, id.0))
        .one(&store.reader_of(tenant))
        .await?)
}

/// The roles of a user.
pub fn role_names(user: &user::Model) -> impl Iterator<Item = &str> {
    let roles = user.roles.as_array().into_iter().flatten();
    roles.filter_map(|role| role.as_str())
}
