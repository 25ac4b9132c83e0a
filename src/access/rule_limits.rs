//! How many rules a tenant may have, how large they may be, and what evaluating them may cost together. Every request of
//! the tenant evaluates rules, and every node keeps them in memory: both are shared with other tenants.

use aka_entity::policy_rule;
use sea_orm::{ConnectionTrait, Statement, TryGetable};

use crate::{
    policy::{cost::Weight, rules::CheckedRule},
    store::{StoreError, Tx},
    types::ids::{PolicyId, TenantId},
};

/// Policies of one tenant at most: they are put into an order with one request.
pub const MAX_POLICIES: u64 = 1_000;
/// Rules of one policy at most: it comes as one answer.
pub const MAX_RULES_PER_POLICY: u64 = 1_000;
/// Bytes of the rules of one policy at most: as much as one request can bring.
const MAX_BYTES_PER_POLICY: u64 = 1024 * 1024;
/// What the rules of one tenant may come to. Ten thousand rules that each compare an address with the pattern of a domain
/// are within it.
pub const MAX_OF_TENANT: Totals = Totals {
    rules: 10_000,
    bytes: 4 * 1024 * 1024,
    // A node takes about a fifth of a kilobyte of memory. A rule with two patterns has a hundred.
    nodes: 1_000_000,
    // A tenth of a second, should one decision evaluate all of them.
    cost: 100_000_000,
};
/// How far beyond the limits of a tenant its rules may be and still be read. Two nodes that add rules to different
/// policies at the same time can exceed the limits by what one request adds.
const MAX_EXCESS_WHEN_READ: u64 = 2;

/// What some rules come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many they are.
    pub rules: u64,
    /// The bytes of their texts.
    pub bytes: u64,
    /// The nodes of their syntax trees.
    pub nodes: u64,
    /// What evaluating all of them costs at worst.
    pub cost: u64,
}

/// More than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Which limit: a name for programs.
    pub limit: &'static str,
    /// The same for people, with its unit.
    pub what: &'static str,
    /// The limit.
    pub max: u64,
    /// What there would be.
    pub found: u64,
}

/// Why rules cannot be added.
#[derive(Debug)]
pub enum RuleLimitError {
    /// They would be more than there may be.
    Exceeded(Excess),
    /// What there is already could not be read.
    Store(StoreError),
}

impl From<Excess> for RuleLimitError {
    fn from(excess: Excess) -> Self {
        Self::Exceeded(excess)
    }
}

impl From<StoreError> for RuleLimitError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Totals {
    /// With a rule of this length and weight.
    #[must_use]
    pub const fn and(self, bytes: usize, weight: Weight) -> Self {
        Self {
            rules: self.rules + 1,
            bytes: self.bytes.saturating_add(bytes as u64),
            nodes: self.nodes.saturating_add(weight.nodes),
            cost: self.cost.saturating_add(weight.cost),
        }
    }

    /// Of rules that are to be stored.
    pub fn of<'a>(rules: impl IntoIterator<Item = &'a CheckedRule>) -> Self {
        let rules = rules.into_iter();
        rules.fold(Self::default(), |all, rule| all.and(rule.text.len(), rule.weight))
    }

    /// Of stored rules.
    pub fn of_rows<'a>(rows: impl IntoIterator<Item = &'a policy_rule::Model>) -> Self {
        let number = |number: i64| u64::try_from(number).unwrap_or_default();
        rows.into_iter().fold(Self::default(), |all, row| {
            let weight = Weight {
                nodes: number(row.nodes),
                cost: number(row.cost),
            };
            all.and(row.policy_text.len(), weight)
        })
    }

    /// These and others.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            rules: self.rules.saturating_add(other.rules),
            bytes: self.bytes.saturating_add(other.bytes),
            nodes: self.nodes.saturating_add(other.nodes),
            cost: self.cost.saturating_add(other.cost),
        }
    }

    const fn minus(self, other: Self) -> Self {
        Self {
            rules: self.rules.saturating_sub(other.rules),
            bytes: self.bytes.saturating_sub(other.bytes),
            nodes: self.nodes.saturating_sub(other.nodes),
            cost: self.cost.saturating_sub(other.cost),
        }
    }

    /// Checks what a tenant would have.
    ///
    /// # Errors
    ///
    /// The first limit that it exceeds.
    pub fn check_of_tenant(self) -> Result<(), Excess> {
        self.check(&MAX_OF_TENANT.limits_of_tenant(), Self::default())
    }

    /// Checks what a tenant has, before it is read into memory.
    ///
    /// # Errors
    ///
    /// The first limit that it exceeds by far.
    pub fn check_read(self) -> Result<(), Excess> {
        let limits = MAX_OF_TENANT.limits_of_tenant().map(|limit| RuleLimit {
            max: limit.max * MAX_EXCESS_WHEN_READ,
            ..limit
        });
        self.check(&limits, Self::default())
    }

    const fn limits_of_tenant(self) -> [RuleLimit; 4] {
        [
            RuleLimit::new("rules_of_tenant", "rules in a tenant", self.rules, |all| all.rules),
            RuleLimit::new("bytes_of_tenant", "bytes of rules in a tenant", self.bytes, |all| {
                all.bytes
            }),
            RuleLimit::new(
                "nodes_of_tenant",
                "nodes in the syntax trees of a tenant's rules",
                self.nodes,
                |all| all.nodes,
            ),
            RuleLimit::new(
                "cost_of_tenant",
                "units of cost for evaluating all rules of a tenant",
                self.cost,
                |all| all.cost,
            ),
        ]
    }

    /// Checks limits. A change that makes nothing worse than it was before is within them.
    fn check(self, limits: &[RuleLimit], before: Self) -> Result<(), Excess> {
        let exceeded = limits.iter().find(|limit| {
            let found = (limit.of)(&self);
            found > limit.max && found > (limit.of)(&before)
        });
        exceeded.map_or(Ok(()), |limit| {
            Err(Excess {
                limit: limit.name,
                what: limit.what,
                max: limit.max,
                found: (limit.of)(&self),
            })
        })
    }
}

/// A limit, and what it is a limit of.
#[derive(Clone, Copy)]
struct RuleLimit {
    name: &'static str,
    what: &'static str,
    max: u64,
    of: fn(&Totals) -> u64,
}

impl RuleLimit {
    const fn new(name: &'static str, what: &'static str, max: u64, of: fn(&Totals) -> u64) -> Self {
        Self { name, what, max, of }
    }
}

/// Checks that rules can be added to a policy in place of others.
///
/// # Errors
///
/// The limit that would be exceeded, or that the store could not be asked.
pub async fn check_change(
    tx: &Tx<'_>,
    tenant: TenantId,
    policy: PolicyId,
    added: Totals,
    removed: Totals,
) -> Result<(), RuleLimitError> {
    const OF_POLICY: [RuleLimit; 2] = [
        RuleLimit::new("rules_of_policy", "rules in a policy", MAX_RULES_PER_POLICY, |all| {
            all.rules
        }),
        RuleLimit::new(
            "bytes_of_policy",
            "bytes of rules in a policy",
            MAX_BYTES_PER_POLICY,
            |all| all.bytes,
        ),
    ];
    let of_policy = stored(tx.db, tenant, Some(policy)).await?;
    of_policy.minus(removed).plus(added).check(&OF_POLICY, of_policy)?;
    let of_tenant = stored(tx.db, tenant, None).await?;
    let limits = MAX_OF_TENANT.limits_of_tenant();
    Ok(of_tenant.minus(removed).plus(added).check(&limits, of_tenant)?)
}

/// What the rules come to that a tenant, or one of its policies, has.
///
/// # Errors
///
/// [`StoreError`]
pub async fn stored(
    db: &impl ConnectionTrait,
    tenant: TenantId,
    policy: Option<PolicyId>,
) -> Result<Totals, StoreError> {
    const SUMS: &str = "\
        SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT), CAST(COALESCE(SUM(nodes), 0) AS BIGINT), \
        CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM policy_rules WHERE tenant_id = $1";
    let backend = db.get_database_backend();
    let statement = match policy {
        None => Statement::from_sql_and_values(backend, SUMS, [tenant.0.into()]),
        Some(policy) => {
            let of_policy = format!("{SUMS} AND policy_id = $2");
            Statement::from_sql_and_values(backend, of_policy, [tenant.0.into(), policy.0.into()])
        }
    };
    let row = db.query_one_raw(statement).await?;
    let row = row.ok_or_else(|| StoreError::Fault("a sum has no row".into()))?;
    let number = |place: usize| -> Result<u64, StoreError> {
        let number = i64::try_get_by_index(&row, place).map_err(sea_orm::DbErr::from)?;
        Ok(u64::try_from(number).unwrap_or_default())
    };
    Ok(Totals {
        rules: number(0)?,
        bytes: number(1)?,
        nodes: number(2)?,
        cost: number(3)?,
    })
}
