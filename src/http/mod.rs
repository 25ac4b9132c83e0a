//! The wire: what a request and an answer look like. No SQL here, and no rule of what linking means.
//!
//! A file a resource; in each, the request type, the answer and the operation stand together. What they share:
//! [`error`] (every code there is), [`auth`] (credential to caller), [`body`] (JSON in and out), [`page`] (lists) and
//! [`document`] (the OpenAPI document, from these types).

pub mod body;
pub mod caller;
pub mod document;
pub mod error;
pub mod error_code;
pub mod error_details;
pub mod etag;
pub mod idempotency;
pub mod kept_answers;
pub mod page;
pub mod params;

use std::sync::Arc;

use poem_openapi::{
    ApiResponse, Tags,
    types::{ParseFromJSON, Type},
};
use serde::Serialize;

use crate::{
    access::{api_keys::ApiKeys, decision_log::DecisionLog, tenants::Tenants, tokens::Tokens},
    store::{Store, revision::TagKey},
};
use body::Answer;

/// What every operation works with.
#[derive(Clone)]
pub struct App {
    /// The data.
    pub store: Store,
    /// The tenants in memory.
    pub tenants: Tenants,
    /// The API keys in memory.
    pub api_keys: ApiKeys,
    /// What policy has refused.
    pub decisions: DecisionLog,
    /// Makes the tags of what is answered.
    pub tags: TagKey,
    /// Checks bearer tokens.
    pub tokens: Tokens,
    /// Whether the server has been told to stop.
    pub stopping: Arc<std::sync::atomic::AtomicBool>,
}

/// The parts of the API, in the order in which a reader meets them.
#[derive(Tags)]
pub enum Tag {
    /// Accounts at identity providers, and the users to whom they are linked.
    Identities,
    /// People.
    Users,
    /// Where accounts live: directories, chat systems, code hosts.
    IdentityProviders,
    /// Cedar rules that decide who may do what.
    Policies,
    /// Credentials of programs.
    ApiKeys,
    /// Companies, or parts of one. Managed with credentials of the master tenant.
    Tenants,
    /// Whether the server is well. No credential needed.
    Health,
}

/// The answer to a request that made something.
#[derive(ApiResponse)]
pub enum Created<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Created.
    #[oai(status = 201)]
    Created(
        Answer<T>,
        /// The path of what was created.
        #[oai(header = "Location")]
        String,
    ),
}

/// The answer to a request for something whose state has a name, or that changed it.
#[derive(ApiResponse)]
pub enum Tagged<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Done.
    #[oai(status = 200)]
    Done(
        Answer<T>,
        /// The state of what is answered: send it as `If-Match` with a change, and the change is made only where it is
        /// still so.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The answer to a request that made something whose state has a name.
#[derive(ApiResponse)]
pub enum CreatedTagged<T: Type + ParseFromJSON + Serialize + Send + Sync + 'static> {
    /// Created.
    #[oai(status = 201)]
    Created(
        Answer<T>,
        /// The path of what was created.
        #[oai(header = "Location")]
        String,
        /// The state of what was created.
        #[oai(header = "ETag")]
        String,
    ),
}

/// The answer to a request that took something away.
#[derive(ApiResponse)]
pub enum Gone {
    /// Done. There is no content.
    #[oai(status = 204)]
    Done,
}
