//! The built-in rules, which are part of the program: parsed once, and wrong only if the program is wrong, which a test
//! finds out.

use std::sync::LazyLock;

use cedar_policy::PolicySet;

use super::rules::{Level, Rule, RuleSet};

/// The rules that every tenant has, as their authors wrote them.
pub(super) const BUILTIN_TEXT: &str = include_str!("../../spec/builtin.cedar");

/// The rules that every tenant has, above and below its own.
pub struct Builtin {
    /// Evaluated before the tenant's rules.
    pub guard: RuleSet,
    /// Evaluated after the tenant's rules.
    pub scopes: RuleSet,
}

/// The built-in rules.
pub static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let level = |name: &str| {
        let rules = match BUILTIN_TEXT.parse::<PolicySet>() {
            Ok(policies) => policies,
            Err(error) => unreachable!("spec/builtin.cedar is checked by a test: {error:?}"),
        };
        let rules = rules
            .policies()
            .filter(|policy| policy.annotation("level") == Some(name))
            .map(Rule::builtin);
        let rules = RuleSet::new(&[Level {
            priority: None,
            rules: rules.collect(),
        }]);
        match rules {
            Ok(rules) => rules,
            Err(error) => unreachable!("spec/builtin.cedar is checked by a test: {error:?}"),
        }
    };
    Builtin {
        guard: level("guard"),
        scopes: level("scopes"),
    }
});

#[cfg(test)]
mod tests {
    use cedar_policy::ValidationMode;

    use super::*;
    use crate::{policy::schema::VALIDATOR, types::scopes::Scope};

    #[test]
    fn the_built_in_rules_hold_against_the_schema() {
        let policies: PolicySet = BUILTIN_TEXT.parse().expect("spec/builtin.cedar parses");
        let result = VALIDATOR.validate(&policies, ValidationMode::Strict);
        let errors: Vec<_> = result.validation_errors().map(ToString::to_string).collect();
        assert_eq!(errors, Vec::<String>::new());
        let of_level = |level: &str| {
            let rules = policies.policies();
            rules.filter(|rule| rule.annotation("level") == Some(level)).count()
        };
        assert_eq!(of_level("scopes"), Scope::ALL.len());
        assert_eq!(of_level("guard") + of_level("scopes"), policies.policies().count());
        for rule in policies.policies() {
            let only = rule.annotation("only");
            assert!(only.is_none_or(|only| only == "bound keys"), "{rule}");
        }
    }
}
