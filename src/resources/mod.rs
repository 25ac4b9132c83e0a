//! What the API is about: a folder a resource. In each, `mod.rs` says what it means and how it changes, `rows.rs` is its
//! SQL, `api.rs` its operations and what they look like on the wire, `operations.rs` its rows in the table of operations,
//! `errors.rs` how it refuses, and `examples.rs` the examples in the document.
//!
//! To add a resource, add a folder and its line below.

pub mod api_keys;
pub mod decisions;
pub mod demo;
mod examples;
pub mod health;
pub mod identities;
pub mod identity_providers;
pub mod policies;
pub mod tenants;
pub mod users;

use std::sync::LazyLock;

use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};

use crate::http::{
    codes::Code,
    document::{Document, SharedExamples, catalogue},
    operations::Resource,
};

/// Registers the folders: what each brings to the whole, and its operations.
macro_rules! resources {
    ($($folder:ident: $api:expr,)*) => {
        /// What the folders bring to the whole, in the order in which a reader of the document meets them.
        static RESOURCES: &[&Resource] = &[$(&$folder::RESOURCE),*];

        fn operations() -> impl OpenApi {
            ($($api,)*)
        }
    };
}

resources! {
    identities: identities::api::IdentitiesApi,
    users: users::api::UsersApi,
    identity_providers: identity_providers::api::IdentityProvidersApi,
    policies: policies::operations(),
    decisions: decisions::api::DecisionLogApi,
    api_keys: (api_keys::api::ApiKeysApi, api_keys::capabilities::CapabilitiesApi),
    tenants: tenants::api::TenantsApi,
    health: health::HealthApi,
}

const DESCRIPTION: &str = "\
aka knows which external accounts belong to which user. A company's people exist in Okta, Entra, Google, GitHub, Slack, \
PagerDuty and AWS; aka says that Slack `U024` and GitHub `583231` are one person, who linked them, and which rule allowed \
it.

**Credentials.** Every operation but those on health takes an API key in `X-API-Key`, or a token of an issuer that the \
tenant has configured in `Authorization: Bearer`; one of the two. `X-Tenant-ID` is the tenant that the credential belongs \
to.

**Decisions.** Each request is decided by the tenant's Cedar policies, and by the scopes of the credential where none \
applies. A `403` says in `notices` what the rules that refused it have to say.

**Errors** have one shape, `ApiError`, whatever went wrong. `code` is for programs and does not change; `message` is for \
people. Checks are made in this order: credential (`401`), tenant (`403` `tenant_mismatch`), shape of the input (`400`, \
`413`, `415`), policy (`403` `forbidden`), existence (`404`) and conflict (`409`).

**Repeating.** A request that changes something by `POST` or `PATCH` takes an `Idempotency-Key`: sent again with the same \
key, it is answered as it was the first time, and nothing is changed twice. `PUT` and `DELETE` can be repeated as they are.

**Success** is answered when the change is durable, together with its entry in the audit log and its event.";

/// The operations, as poem serves them.
#[must_use]
pub fn service() -> OpenApiService<impl OpenApi, ()> {
    OpenApiService::new(operations(), "aka", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .server(ServerObject::new("/").description("The server that this document comes from."))
        .contact(ContactObject::new().name("The operators of this server"))
        .license(LicenseObject::new("Apache-2.0").url("https://www.apache.org/licenses/LICENSE-2.0"))
}

/// The document. The first who asks makes it, which takes some milliseconds.
#[must_use]
pub fn document() -> &'static Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        let shared = SharedExamples {
            parameter: examples::of_parameter,
            refusal: examples::of_refusal,
        };
        Document::new(&service().spec(), RESOURCES, &shared)
    });
    &DOCUMENT
}

/// The codes of all errors, in the order in which a request meets them.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    catalogue(RESOURCES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{http::operations::Operation, types::actions::Action};

    fn rows() -> impl Iterator<Item = &'static Operation> {
        RESOURCES.iter().flat_map(|resource| resource.operations)
    }

    /// Method, path and id of each operation that poem serves.
    fn served() -> BTreeSet<(String, String, String)> {
        let document: Value = serde_json::from_str(&service().spec()).expect("JSON");
        let mut served = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("a path") {
                let id = operation["operationId"].as_str().expect("an id");
                served.insert((method.to_uppercase(), path.clone(), id.to_owned()));
            }
        }
        served
    }

    #[test]
    fn every_operation_has_a_row_and_every_row_an_operation() {
        let rows: BTreeSet<_> = rows()
            .map(|row| (row.method.to_owned(), row.path.to_owned(), row.id.to_owned()))
            .collect();
        let served = served();
        let without_row: Vec<_> = served.difference(&rows).collect();
        let without_operation: Vec<_> = rows.difference(&served).collect();
        assert!(
            without_row.is_empty(),
            "operations without a row in the table: {without_row:?}"
        );
        assert!(
            without_operation.is_empty(),
            "rows without an operation: {without_operation:?}"
        );
    }

    #[test]
    fn every_action_is_asked_by_an_operation() {
        let asked: Vec<Action> = rows().filter_map(|row| row.action).collect();
        let unasked = Action::ALL.iter().filter(|action| !asked.contains(action));
        // Whoever configures an issuer creates or changes a provider, and is asked for this beside it.
        let unasked: Vec<_> = unasked
            .filter(|action| **action != Action::ConfigureTokenIssuer)
            .collect();
        assert!(unasked.is_empty(), "{unasked:?}");
    }

    #[test]
    fn what_changes_something_takes_a_scope_that_changes_something() {
        for row in rows() {
            let Some(action) = row.action else { continue };
            assert_eq!(row.changes, action.scope().changes(), "{}", row.id);
            assert!(row.changes || !row.if_match, "{} changes nothing", row.id);
        }
    }

    #[test]
    fn conflicts_are_conflicts_and_a_code_is_written_once() {
        for row in rows() {
            assert!(row.conflicts.iter().all(|code| code.status == 409), "{}", row.id);
        }
        let codes = codes();
        let names: BTreeSet<_> = codes.iter().map(|code| code.name).collect();
        assert_eq!(names.len(), codes.len());
    }
}
