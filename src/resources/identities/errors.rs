//! What can go wrong with identities.

use aka_entity::identity;
use poem_openapi::Object;
use serde::Serialize;

use super::{LinkRefusal, update::IdentityRefusal, wire::LinkedByName};
use crate::{
    http::{
        codes::{self, Code},
        details::{self, Detail, schema_of},
        error::Error,
    },
    resources::{identity_providers::errors::identity_provider_disabled, users::errors::user_suspended},
    types::{
        clock::Timestamp,
        ids::{IdentityId, IdentityProviderId, UserId},
    },
};

/// A way out of a conflict that is open to this caller.
#[derive(Debug, Clone, Object, Serialize)]
pub struct WayOut {
    /// Its name, for a program: `unlink_first` or `use_another_account`. Later versions may add others.
    pub way: String,
    /// What to do, for a person.
    pub description: String,
    /// The method of the request to send first, if there is one.
    #[oai(nullable)]
    pub method: Option<String>,
    /// The path of that request.
    #[oai(nullable)]
    pub path: Option<String>,
}

/// `identity_id`
pub static IDENTITY_ID: Detail = Detail {
    name: "identity_id",
    schema: schema_of::<IdentityId>,
    description: "The identity of the account.",
};

/// `linked_by`
pub static LINKED_BY: Detail = Detail {
    name: "linked_by",
    schema: schema_of::<LinkedByName>,
    description: "How the account was linked.",
};

/// `linked_at`
pub static LINKED_AT: Detail = Detail {
    name: "linked_at",
    schema: schema_of::<Timestamp>,
    description: "When the account was linked.",
};

/// `linked_to_user_id`
pub static LINKED_TO_USER_ID: Detail = Detail {
    name: "linked_to_user_id",
    schema: schema_of::<UserId>,
    description: "The user to whom the account is linked. Only for callers who may look the account up.",
};

/// `ways_out`
pub static WAYS_OUT: Detail = Detail {
    name: "ways_out",
    schema: schema_of::<Vec<WayOut>>,
    description: "What this caller can do about it, the most direct way first.",
};

/// `identity_already_linked`
pub static IDENTITY_ALREADY_LINKED: Code = Code {
    name: "identity_already_linked",
    status: 409,
    meaning: "The account is already linked to another user.",
    cause: "An account can be linked to one user only, and another link was made first.",
    remedy: "`details` has the identity, and how and when it was linked; the other user only for those who may look \
                 the account up. `details.ways_out` lists what this caller can do. If the account belongs to this user, \
                 unlink it from the other user first.",
    details: &[&IDENTITY_ID, &LINKED_BY, &LINKED_AT, &LINKED_TO_USER_ID, &WAYS_OUT],
};

/// The message of `identity_already_linked`.
pub const ALREADY_LINKED: &str = "The account is already linked to another user. An account can be linked to one user only. \
    If it belongs to this user, unlink it from the other user first.";

/// That nobody knows an account at a provider.
#[must_use]
pub fn account_not_found(provider: IdentityProviderId) -> Error {
    let message = format!(
        "No account with this external_id is known at the identity provider {provider}. Check both, and upper and lower \
         case: external ids are compared exactly."
    );
    Error::new(&codes::NOT_FOUND, message)
        .with(&details::RESOURCE, "identity")
        .with(&details::IDENTITY_PROVIDER_ID, provider)
}

/// That an account is linked to another user, with what every caller may know of it.
#[must_use]
pub fn identity_already_linked(identity: &identity::Model) -> Error {
    Error::new(&IDENTITY_ALREADY_LINKED, ALREADY_LINKED)
        .with(&IDENTITY_ID, IdentityId(identity.id))
        .with(&LINKED_BY, LinkedByName::from(identity.linked_by))
        .with(&LINKED_AT, identity.linked_at.map(Timestamp))
}

impl From<IdentityRefusal> for Error {
    fn from(refusal: IdentityRefusal) -> Self {
        match refusal {
            IdentityRefusal::NoIdentity(id) => Self::no_such("identity", id),
            IdentityRefusal::RevisionMismatch => Self::precondition_failed(),
            IdentityRefusal::Moved => Self::unavailable("the identity is being linked and unlinked all the time"),
            IdentityRefusal::Store(error) => error.into(),
        }
    }
}

impl From<LinkRefusal> for Error {
    fn from(refusal: LinkRefusal) -> Self {
        match refusal {
            LinkRefusal::NoUser(id) => Self::no_such("user", id),
            LinkRefusal::NoIdentityProvider(id) => Self::no_such("identity_provider", id),
            LinkRefusal::UserSuspended(id) => user_suspended(id),
            LinkRefusal::IdentityProviderDisabled(id) => identity_provider_disabled(id),
            LinkRefusal::LinkedToAnother(identity) => identity_already_linked(&identity),
            LinkRefusal::Store(error) => error.into(),
        }
    }
}
