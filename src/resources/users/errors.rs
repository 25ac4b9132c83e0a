//! What can go wrong with users.

use super::UserRefusal;
use crate::{
    http::{codes::Code, details, error::Error},
    types::ids::UserId,
};

/// `user_suspended`
pub static USER_SUSPENDED: Code = Code {
    name: "user_suspended",
    status: 409,
    meaning: "The user is suspended.",
    cause: "Accounts cannot be linked to a suspended user.",
    remedy: "Reactivate the user first.",
    details: &[&details::USER_ID],
};

/// `user_already_exists`
pub static USER_ALREADY_EXISTS: Code = Code {
    name: "user_already_exists",
    status: 409,
    meaning: "Another user of the tenant has this email address.",
    cause: "Addresses are compared ignoring case.",
    remedy: "Use the existing user (`details.user_id`, for callers who may read users), or another address.",
    details: &[&details::USER_ID],
};

/// That accounts cannot be linked to a user, because they are suspended.
#[must_use]
pub fn user_suspended(id: UserId) -> Error {
    let message = format!("The user {id} is suspended. Reactivate the user before you link accounts.");
    Error::new(&USER_SUSPENDED, message).with(&details::USER_ID, id)
}

/// That another user has an address: who, if the caller may know.
#[must_use]
pub fn user_already_exists(id: Option<UserId>) -> Error {
    let which = id.map_or_else(|| "Another user".into(), |id| format!("The user {id}"));
    let message = format!("{which} of this tenant already has this email address (ignoring case).");
    Error::new(&USER_ALREADY_EXISTS, message).with(&details::USER_ID, id)
}

impl From<UserRefusal> for Error {
    fn from(refusal: UserRefusal) -> Self {
        match refusal {
            UserRefusal::RevisionMismatch => Self::precondition_failed(),
            UserRefusal::NoUser(id) => Self::no_such("user", id),
            UserRefusal::EmailTaken => user_already_exists(None),
            UserRefusal::Store(error) => error.into(),
        }
    }
}
