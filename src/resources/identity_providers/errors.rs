//! What can go wrong with identity providers.

use super::{IdentityProviderRefusal, deletion::MAX_COUNTED};
use crate::{
    http::{
        codes::Code,
        details::{self, Detail, schema_of},
        error::{Error, InputLocation},
    },
    types::ids::IdentityProviderId,
};

/// `linked_identities`
pub static LINKED_IDENTITIES: Detail = Detail {
    name: "linked_identities",
    schema: schema_of::<u64>,
    description: "The number of accounts at the provider that are linked to users.",
};

/// `identity_provider_disabled`
pub static IDENTITY_PROVIDER_DISABLED: Code = Code {
    name: "identity_provider_disabled",
    status: 409,
    meaning: "The identity provider is disabled.",
    cause: "Accounts at a disabled provider cannot be linked.",
    remedy: "Enable the provider, or choose another one.",
    details: &[&details::IDENTITY_PROVIDER_ID],
};

/// `identity_provider_already_exists`
pub static IDENTITY_PROVIDER_ALREADY_EXISTS: Code = Code {
    name: "identity_provider_already_exists",
    status: 409,
    meaning: "Another identity provider of the tenant has this name, or issues these tokens.",
    cause: "Names are compared ignoring case, and a token's issuer must be one provider. `details.field` says which \
                 field is taken: `name` or `config.issuer`.",
    remedy: "Use the existing provider (`details.identity_provider_id`, for callers who may read it), or choose \
                 another value.",
    details: &[&details::FIELD, &details::IDENTITY_PROVIDER_ID],
};

/// `identity_provider_in_use`
pub static IDENTITY_PROVIDER_IN_USE: Code = Code {
    name: "identity_provider_in_use",
    status: 409,
    meaning: "The identity provider cannot be deleted.",
    cause: "Some of its accounts are linked to users; `details.linked_identities` is their number.",
    remedy: "Unlink them first, or disable the provider.",
    details: &[&details::IDENTITY_PROVIDER_ID, &LINKED_IDENTITIES],
};

/// That accounts at a provider cannot be linked, because it is disabled.
#[must_use]
pub fn identity_provider_disabled(id: IdentityProviderId) -> Error {
    let message = format!("The identity provider {id} is disabled. Enable it before you link its accounts.");
    Error::new(&IDENTITY_PROVIDER_DISABLED, message).with(&details::IDENTITY_PROVIDER_ID, id)
}

/// That another provider has the same value in a field: which one, if the caller may know.
#[must_use]
pub fn identity_provider_already_exists(field: &'static str, id: Option<IdentityProviderId>) -> Error {
    let which = id.map_or_else(
        || "Another identity provider".into(),
        |id| format!("The identity provider {id}"),
    );
    let message =
        format!("{which} of this tenant already has the same `{field}`. Use that provider, or choose another value.");
    Error::new(&IDENTITY_PROVIDER_ALREADY_EXISTS, message)
        .with(&details::FIELD, field)
        .with(&details::IDENTITY_PROVIDER_ID, id)
}

/// That a provider cannot be deleted, because so many of its accounts are linked.
#[must_use]
pub fn identity_provider_in_use(id: IdentityProviderId, linked: u64) -> Error {
    let accounts = if linked == 1 {
        "1 of its accounts is linked to a user. Unlink it".to_owned()
    } else {
        let or_more = if linked < MAX_COUNTED { "" } else { " or more" };
        format!("{linked}{or_more} of its accounts are linked to users. Unlink them")
    };
    let message = format!("The identity provider {id} cannot be deleted: {accounts} first, or disable the provider.");
    Error::new(&IDENTITY_PROVIDER_IN_USE, message)
        .with(&details::IDENTITY_PROVIDER_ID, id)
        .with(&LINKED_IDENTITIES, linked)
}

impl From<IdentityProviderRefusal> for Error {
    fn from(refusal: IdentityProviderRefusal) -> Self {
        match refusal {
            IdentityProviderRefusal::RevisionMismatch => Self::precondition_failed(),
            IdentityProviderRefusal::NameTaken => identity_provider_already_exists("name", None),
            IdentityProviderRefusal::NoIdentityProvider(id) => Self::no_such("identity_provider", id),
            IdentityProviderRefusal::IssuerTaken => identity_provider_already_exists("config.issuer", None),
            IdentityProviderRefusal::Config((field, reason)) => Self::field(InputLocation::Body, field, reason),
            IdentityProviderRefusal::InUse { id, linked } => identity_provider_in_use(id, linked),
            IdentityProviderRefusal::Store(error) => error.into(),
        }
    }
}
