//! What every operation works with, and the parts into which operations are divided.

use poem_openapi::Tags;

use super::readiness::Readiness;
use crate::{
    access::{api_keys::ApiKeys, decision_log::DecisionLog, tenants::Tenants, tokens::Tokens},
    store::{Store, revision::TagKey},
};

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
    /// Whether the server has been told to stop, and whether its background tasks work.
    pub readiness: Readiness,
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
