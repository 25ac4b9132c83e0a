//! What a resource means: the values it is made of, how it is read, and what may be changed.

pub mod api_keys;
pub mod barred_accounts;
pub mod caller;
pub mod decision_log;
pub mod evaluation;
pub mod idempotency;
pub mod identity_providers;
pub mod ids;
pub mod issuer_keys;
pub mod issuers;
mod jwks;
pub mod jwks_client;
pub mod linking;
pub mod policies;
pub mod policy_changes;
pub mod policy_rule_changes;
pub mod preview;
pub mod revision;
pub mod rule_checks;
pub mod rule_limits;
pub mod scopes;
pub mod tenant_state;
pub mod tenants;
pub mod text;
pub mod tokens;
pub mod users;
