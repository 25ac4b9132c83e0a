//! `aka policy`

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use super::{Outcome, print, print_json, tenant, with_store};
use crate::{
    access::caller::Permit,
    config::Database,
    policy::corpus,
    resources::policies::{
        self, PolicyRefusal,
        changes::UpdatePolicy,
        lockout::{Checked, Guarded},
    },
    types::{actions::Action, ids::PolicyId},
};
use aka_entity::{policy, policy_rule};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Evaluate the requests in a directory against its rules, and show decisions that differ from the expected ones
    ///
    /// The directory contains rules in *.cedar (100-guardrails.cedar has the priority 100), the users and API keys of the
    /// requests in entities.json, and the requests with their expected decisions in requests.json; or it contains such
    /// directories.
    Test {
        /// The directory
        directory: PathBuf,
    },
    /// Print all policies of a tenant with their rules as a JSON array, in the order in which they are evaluated
    List {
        /// The tenant: its id or its slug
        #[arg(long, value_name = "ID|SLUG")]
        tenant: String,
        #[command(flatten)]
        database: Database,
    },
    /// Disable a policy, and print it as JSON
    ///
    /// This works even if the rules of the policy prevent every API key from changing it. Running servers apply the change
    /// within two seconds.
    Disable(Switch),
    /// Enable a policy, and print it as JSON
    Enable(Switch),
}

#[derive(Args)]
struct Switch {
    /// The id of the policy as shown by `aka policy list`
    #[arg(value_name = "POLICY_ID")]
    id: PolicyId,
    /// The tenant of the policy: its id or its slug
    #[arg(long, value_name = "ID|SLUG")]
    tenant: String,
    #[command(flatten)]
    database: Database,
}

pub async fn run(arguments: Arguments) -> Outcome {
    match arguments.command {
        Command::Test { directory } => test(&directory),
        Command::List { tenant, database } => list(&tenant, &database).await,
        Command::Disable(switch) => set_enabled(switch, false).await,
        Command::Enable(switch) => set_enabled(switch, true).await,
    }
}

fn test(directory: &Path) -> Outcome {
    let (mut passed, mut failed) = (0, 0);
    for corpus in corpus::find(directory)? {
        let mut report = format!("{}\n", corpus.display());
        for warning in corpus::warnings(&corpus)? {
            writeln!(report, "  warning {warning}")?;
        }
        for outcome in corpus::run(&corpus)? {
            if outcome.unexpected.is_empty() {
                passed += 1;
                writeln!(report, "  ok      {} ({})", outcome.name, outcome.decision.verdict)?;
                continue;
            }
            failed += 1;
            writeln!(report, "  FAILED  {}", outcome.name)?;
            for unexpected in &outcome.unexpected {
                writeln!(report, "          {unexpected}")?;
            }
            for explanation in &outcome.decision.explanations {
                writeln!(report, "          {}", explanation.message())?;
            }
        }
        print(&report)?;
    }
    print(&format!("{passed} passed, {failed} failed"))?;
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} requests were not decided as expected").into())
    }
}

/// A policy with the texts of its rules. They are shown as they are stored, so that a rule that cannot be parsed can be found.
#[derive(Serialize)]
struct Policy {
    id: Uuid,
    name: String,
    description: Option<String>,
    enabled: bool,
    priority: i32,
    rules: Vec<Rule>,
}

#[derive(Serialize)]
struct Rule {
    id: Uuid,
    policy_text: String,
    notice: Option<String>,
}

impl From<(policy::Model, Vec<policy_rule::Model>)> for Policy {
    fn from((policy, rules): (policy::Model, Vec<policy_rule::Model>)) -> Self {
        let rules = rules.into_iter().map(|rule| Rule {
            id: rule.id,
            policy_text: rule.policy_text,
            notice: rule.notice,
        });
        Self {
            id: policy.id,
            name: policy.name,
            description: policy.description,
            enabled: policy.enabled,
            priority: policy.priority,
            rules: rules.collect(),
        }
    }
}

async fn list(tenant: &str, database: &Database) -> Outcome {
    let policies = with_store(database, async |store| {
        let tenant = tenant::find(store, tenant).await?;
        let page = async |after, limit| policies::list(store, tenant, after, limit).await;
        super::all(page, |(policy, _)| policy.id).await
    })
    .await?;
    let mut policies: Vec<_> = policies.into_iter().map(Policy::from).collect();
    policies.sort_by_key(|policy| std::cmp::Reverse(policy.priority));
    print_json(&policies)
}

async fn set_enabled(switch: Switch, enabled: bool) -> Outcome {
    let Switch { id, tenant, database } = switch;
    let (policy, rules) = with_store(&database, async |store| {
        let change = UpdatePolicy {
            permit: Permit::of_operator(tenant::find(store, &tenant).await?, Action::UpdatePolicy),
            id,
            name: None,
            description: None,
            enabled: Some(enabled),
            priority: None,
            rules: None,
            reads_rules: true,
        };
        // No policy can lock out the operator.
        let change = Guarded {
            change,
            checked: Checked::forced(),
        };
        store.write(change).await.map_err(|refusal| match refusal {
            PolicyRefusal::NoPolicy(_) => {
                format!("tenant {tenant} has no policy {id}; `aka policy list --tenant {tenant}` lists all policies")
                    .into()
            }
            PolicyRefusal::Store(error) => error.into(),
            PolicyRefusal::RevisionMismatch
            | PolicyRefusal::NoRule(_)
            | PolicyRefusal::NotAnOrder { .. }
            | PolicyRefusal::LocksOut(_)
            | PolicyRefusal::Overtaken
            | PolicyRefusal::TooManyRules(_) => "the policy was changed at the same time; try again".into(),
        })
    })
    .await?;
    print_json(&Policy::from((policy, rules.unwrap_or_default())))
}
