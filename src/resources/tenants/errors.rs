//! What can go wrong with tenants.

use super::TenantRefusal;
use crate::http::{codes::Code, error::Error};

/// `tenant_already_exists`
pub static TENANT_ALREADY_EXISTS: Code = Code {
    name: "tenant_already_exists",
    status: 409,
    meaning: "Another tenant has this slug.",
    cause: "Slugs are unique on a server.",
    remedy: "Choose another one.",
    details: &[],
};

/// That another tenant has a slug.
#[must_use]
pub fn tenant_already_exists() -> Error {
    Error::new(
        &TENANT_ALREADY_EXISTS,
        "Another tenant already has this slug. Choose another one.",
    )
}

impl From<TenantRefusal> for Error {
    fn from(refusal: TenantRefusal) -> Self {
        match refusal {
            TenantRefusal::RevisionMismatch => Self::precondition_failed(),
            TenantRefusal::NoTenant(id) => Self::no_such("tenant", id),
            TenantRefusal::SlugTaken | TenantRefusal::MasterTaken => tenant_already_exists(),
            TenantRefusal::Store(error) => error.into(),
        }
    }
}
