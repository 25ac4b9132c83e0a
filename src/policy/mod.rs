//! Who may do what: every request is a decision by Cedar, fail-closed.
//!
//! Rules stand in levels, which are evaluated from the highest down. The first level in which any rule determines an
//! outcome decides; inside a level a `forbid` wins; where no level decides, the answer is no. From the top:
//!
//! 1. the built-in level `guard` (`spec/builtin.cedar`), which no tenant can overrule;
//! 2. the tenant's own policies, one level for each priority;
//! 3. the built-in level `scopes`, which lets a credential do what its scopes say.
//!
//! What a rule can cost at worst is found out when it is stored ([`cost`]), so that a decision that may take long is known
//! beforehand and made where it keeps no other tenant waiting ([`decide_quickly`]).
//!
//! Nothing is parsed while a request waits. A tenant's rules are parsed when they are read, and sliced by what they name
//! as action, principal and resource ([`rules`], [`groups`]), so that a decision evaluates only rules that can apply to
//! it; the entities of a credential are built when it is first seen ([`entities`]).

mod builtin;
mod capabilities;
mod clauses;
pub mod corpus;
pub mod cost;
mod decision;
pub mod entities;
mod explain;
mod groups;
pub mod outline;
mod powers;
#[cfg(test)]
mod properties;
mod question;
pub mod rules;
pub mod schema;
pub mod statement;
mod warnings;

pub use capabilities::{Can, Capabilities, Capability, Deciding, PrincipalInTenant};
pub use decision::{
    DecidedAt, Decision, Expensive, Memo, Verdict, decide, decide_and_explain, decide_quickly, needs_resource,
    only_principal,
};
pub use explain::{Clause, Effort, Explanation};
pub use question::Query;
pub use warnings::RuleWarning;
