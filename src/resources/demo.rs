//! The example company: what `aka demo` begins with, and what the examples of the document speak of, so that each of
//! them can be tried there as it stands.

use uuid::{Uuid, uuid};

/// The tenant.
pub const TENANT: Uuid = uuid!("0198c5a0-0000-7000-8000-000000000001");
/// A user of the tenant.
pub const USER: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000a1");
/// Another user of the tenant.
pub const OTHER_USER: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000a2");
/// A provider of the type `github`.
pub const GITHUB: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000b1");
/// A provider of the type `slack`.
pub const SLACK: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000b2");
/// The account of the user at the provider of the type `slack`: its id there, and what it has here.
pub const SLACK_ACCOUNT: &str = "U024";
/// The identity that this account is.
pub const IDENTITY: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000c1");
/// A key that may look accounts up. Nobody has it: the demo shows another one.
pub const API_KEY: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000d1");
/// The key that the demo shows.
pub const CALLER: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000d2");
/// A policy of the tenant.
pub const POLICY: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000e1");
/// The rule of the policy.
pub const POLICY_RULE: Uuid = uuid!("0198c5a0-0000-7000-8000-0000000000f1");
/// A decision that the rule has determined.
pub const DECISION: Uuid = uuid!("0198c5a0-0000-7000-8000-000000000101");
/// The id of the request that it refused.
pub const REQUEST: &str = "0198c5a0-0000-7000-8000-000000000102";
/// The text of the rule.
pub const RULE: &str = "@notice(\"GitHub accounts must use an address of the company.\")\n\
    forbid (principal, action == Action::\"createUserIdentity\", resource)\n\
    when { context.identity_provider.provider_type == \"github\" && context has external_email }\n\
    unless { context.external_email like \"*@example.com\" };";
/// What the rule says to those whom it refuses.
pub const NOTICE: &str = "GitHub accounts must use an address of the company.";
