//! Who may do what: from a credential to its caller, and from the caller to a permit.
//!
//! A credential is an API key ([`api_keys`]) or a token ([`tokens`]). Whoever has shown one is a [`caller`] in a tenant, of
//! which the node keeps its rules and providers in memory ([`tenants`]). They ask for an action; policy decides, and a yes
//! is a permit, without which no change can be built. A no is written down ([`decision_log`]).
//!
//! Nothing here looks at anything that looks back at it. From the bottom: what rows say ([`users`], [`stored_policies`],
//! `api_keys::rows`, [`provider_config`]); [`tenants`], made of rows; [`caller`], in a tenant; what a caller may read
//! ([`readable`]); and on top, [`api_keys`], [`tokens`] and [`decision_log`], which make callers or write of them.

pub mod accounts;
pub mod api_keys;
pub mod barred_accounts;
pub mod caller;
pub mod decision_log;
pub mod provider_config;
pub mod readable;
pub mod rule_limits;
pub mod stored_policies;
pub mod tenants;
pub mod tokens;
pub mod users;
pub mod workers;
