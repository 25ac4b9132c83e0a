//! What a rule can cost at worst, found out when it is stored.
//!
//! Cedar evaluates a rule to its end: nothing can interrupt it. So the time that a rule may take is bounded before it is
//! ever evaluated. Its syntax tree is walked from the leaves up; each expression is given the greatest size that its value
//! can have, and the greatest cost of computing it from values of those sizes. Sizes come from literals, which are in the
//! text, and from what a request brings: attributes and members of the context, whose greatest length and number the
//! server enforces itself. No operator of Cedar makes a text or a set larger than its operands, so the bound is finite.
//!
//! The unit of cost is about a nanosecond of a common server's core. It is a bound and not a forecast: most requests cost
//! a rule a tenth of it.

use cedar_policy::Policy;
use serde_json::Value;

/// The greatest length of a text that a request brings into a decision, in characters. All texts of the API that policy
/// can see are checked against it; see [`crate::types::text`].
pub const MAX_TEXT_CHARS: usize = 256;
/// The greatest number of elements of a set that a request brings into a decision: roles and scopes have fewer.
pub const MAX_SET_ELEMENTS: usize = 128;

/// Evaluating any node of the syntax tree, beside what its operator does.
const NODE: u64 = 100;
/// Evaluating any rule: finding it, its scope, and keeping its outcome.
const RULE: u64 = 500;
/// Adding an element to a set, beside comparing it with others.
const ELEMENT: u64 = 50;
/// Looking an entity up among the ancestors of another.
const ANCESTOR: u64 = 50;
/// Calling a function of an extension, beside reading the text that it is given.
const FUNCTION: u64 = 500;
/// Comparing two small values: numbers, names of entities, the beginnings of texts.
const COMPARE: u64 = 2;
/// Characters that are compared in one unit of cost.
const CHARS_PER_UNIT: u64 = 8;

/// How much of what tenants share a rule takes: memory for its syntax tree, and time for its evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Nodes of its syntax tree; each character of a pattern is one.
    pub nodes: u64,
    /// What evaluating it costs at worst.
    pub cost: u64,
}

impl Weight {
    /// The weight of a rule. One that Cedar cannot write as a tree has the greatest.
    #[must_use]
    pub fn of(rule: &Policy) -> Self {
        const GREATEST: Weight = Weight {
            nodes: u64::MAX,
            cost: u64::MAX,
        };
        let Ok(form) = rule.to_json() else { return GREATEST };
        let scopes = ["principal", "action", "resource"].iter().map(|of| scope(&form[*of]));
        let conditions = form["conditions"].as_array().into_iter().flatten();
        let conditions = conditions.map(|condition| expression(&condition["body"]).cost);
        Self {
            nodes: nodes(&form),
            cost: scopes.chain(conditions).fold(RULE, u64::saturating_add),
        }
    }
}

/// The nodes of a tree.
fn nodes(tree: &Value) -> u64 {
    let inside = match tree {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum(),
        _ => 0,
    };
    1 + inside
}

/// Comparing the principal, the action or the resource with what a rule names.
fn scope(constraint: &Value) -> u64 {
    let named = constraint["entities"].as_array().map_or(1, Vec::len);
    NODE + ANCESTOR * named as u64
}

/// An upper bound of the size of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    /// Of a text: its characters. Of a set or record: those of its longest text.
    chars: u64,
    /// Of a set: its elements; of anything else one.
    elements: u64,
    /// What comparing it with one of its like costs.
    weight: u64,
    /// What comparing one element of a set with one of its like costs.
    element_weight: u64,
}

impl Size {
    const SMALL: Self = Self {
        chars: 0,
        elements: 1,
        weight: COMPARE,
        element_weight: COMPARE,
    };
    /// Of whatever a request brings: a text, a set of texts, or a record of a few of these.
    const UNKNOWN: Self = {
        let text = Self::text(MAX_TEXT_CHARS as u64);
        Self {
            elements: MAX_SET_ELEMENTS as u64,
            weight: text.weight * MAX_SET_ELEMENTS as u64,
            ..text
        }
    };

    const fn text(chars: u64) -> Self {
        Self {
            chars,
            elements: 1,
            weight: COMPARE + chars / CHARS_PER_UNIT,
            element_weight: COMPARE + chars / CHARS_PER_UNIT,
        }
    }

    /// Of a value that is one of two.
    fn or(self, other: Self) -> Self {
        Self {
            chars: self.chars.max(other.chars),
            elements: self.elements.max(other.elements),
            weight: self.weight.max(other.weight),
            element_weight: self.element_weight.max(other.element_weight),
        }
    }

    /// Of a value that has all of these inside.
    fn around(sizes: impl Iterator<Item = Self>) -> Self {
        let empty = Self {
            elements: 0,
            ..Self::SMALL
        };
        sizes.fold(empty, |all, one| Self {
            chars: all.chars.max(one.chars),
            elements: all.elements + 1,
            weight: all.weight.saturating_add(one.weight),
            element_weight: all.element_weight.max(one.weight),
        })
    }
}

/// What an expression costs at worst, with the operands that it has, and the size of its value.
#[derive(Clone, Copy, Debug)]
struct Bound {
    cost: u64,
    size: Size,
}

/// The bound of an expression in Cedar's JSON form: an object with an operator as its only member.
fn expression(tree: &Value) -> Bound {
    let Some((operator, operands)) = tree.as_object().and_then(|members| members.iter().next()) else {
        return Bound {
            cost: NODE,
            size: Size::UNKNOWN,
        };
    };
    match operator.as_str() {
        "Value" => Bound {
            cost: NODE,
            size: literal(operands),
        },
        "Var" => Bound {
            cost: NODE,
            size: Size::UNKNOWN,
        },
        "Set" => set(operands.as_array().into_iter().flatten()),
        "Record" => inside(operands.as_object().into_iter().flat_map(|members| members.values())),
        "if-then-else" => {
            let [condition, then, otherwise] = ["if", "then", "else"].map(|part| expression(&operands[part]));
            Bound {
                cost: total([NODE, condition.cost, then.cost, otherwise.cost]),
                size: then.size.or(otherwise.size),
            }
        }
        "." => {
            let left = expression(&operands["left"]);
            Bound {
                cost: total([NODE, left.cost]),
                // Of a record in the rule it is one of its members, else it comes from a request.
                size: left.size.or(Size::UNKNOWN),
            }
        }
        "like" => {
            let left = expression(&operands["left"]);
            Bound {
                cost: total([NODE, left.cost, like(left.size.chars, &operands["pattern"])]),
                size: Size::SMALL,
            }
        }
        "is" | "has" | "!" | "neg" | "isEmpty" => {
            let [left, arg, within] = ["left", "arg", "in"].map(|part| operand(&operands[part]));
            Bound {
                cost: total([NODE + ANCESTOR, left.cost, arg.cost, within.cost]),
                size: Size::SMALL,
            }
        }
        _ if operands.get("left").is_some() => binary(operator, operands),
        // A function of an extension, with its arguments.
        _ => {
            let arguments = inside(operands.as_array().into_iter().flatten());
            Bound {
                cost: total([FUNCTION, arguments.cost, arguments.size.chars]),
                size: Size::text(arguments.size.chars),
            }
        }
    }
}

/// An operand that some operators have and others have not.
fn operand(tree: &Value) -> Bound {
    match tree {
        Value::Null => Bound {
            cost: 0,
            size: Size::SMALL,
        },
        tree => expression(tree),
    }
}

fn binary(operator: &str, operands: &Value) -> Bound {
    let (left, right) = (expression(&operands["left"]), expression(&operands["right"]));
    let work = match operator {
        "==" | "!=" => left.size.weight.min(right.size.weight),
        "in" => ANCESTOR.saturating_mul(right.size.elements),
        "contains" => {
            let comparison = right.size.weight.min(left.size.element_weight);
            comparison.saturating_mul(depth(left.size.elements))
        }
        // Both are walked in order, side by side.
        "containsAll" | "containsAny" => left.size.weight.saturating_add(right.size.weight).saturating_mul(2),
        "getTag" | "hasTag" => right.size.weight,
        // Numbers and truth values.
        _ => 0,
    };
    let size = match operator {
        "getTag" => Size::UNKNOWN,
        _ => Size::SMALL,
    };
    Bound {
        cost: total([NODE, left.cost, right.cost, work]),
        size,
    }
}

/// A set is made anew at each evaluation: its elements are put in order.
fn set<'a>(elements: impl Iterator<Item = &'a Value>) -> Bound {
    let all = inside(elements);
    let ordering = all.size.weight.saturating_mul(depth(all.size.elements));
    Bound {
        cost: total([all.cost, ELEMENT.saturating_mul(all.size.elements), ordering]),
        size: all.size,
    }
}

/// Expressions that stand in another.
fn inside<'a>(expressions: impl Iterator<Item = &'a Value>) -> Bound {
    let bounds: Vec<Bound> = expressions.map(expression).collect();
    Bound {
        cost: bounds.iter().fold(NODE, |cost, one| cost.saturating_add(one.cost)),
        size: Size::around(bounds.iter().map(|bound| bound.size)),
    }
}

/// The comparisons that it takes to find a place among so many.
fn depth(elements: u64) -> u64 {
    u64::from(elements.checked_ilog2().unwrap_or_default()) + 1
}

/// Matching a pattern with a text. After a wildcard Cedar tries the characters up to the next one at each place of the
/// text in turn, so that the longest such run counts for each character of the text.
fn like(chars: u64, pattern: &Value) -> u64 {
    let (mut longest, mut run, mut wild) = (0_u64, 0_u64, false);
    for element in pattern.as_array().into_iter().flatten() {
        if let Some(literal) = element.get("Literal").and_then(Value::as_str) {
            run += literal.chars().count() as u64;
        } else {
            (run, wild) = (0, true);
        }
        if wild {
            longest = longest.max(run);
        }
    }
    chars.saturating_mul(longest + 2)
}

fn literal(value: &Value) -> Size {
    match value {
        Value::String(text) => Size::text(text.chars().count() as u64),
        Value::Array(items) => Size::around(items.iter().map(literal)),
        _ => Size::SMALL,
    }
}

fn total(costs: impl IntoIterator<Item = u64>) -> u64 {
    costs.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(condition: &str) -> Weight {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Weight::of(&Policy::parse(None, text).expect("a rule"))
    }

    #[test]
    fn a_pattern_costs_its_longest_run_at_each_place_of_the_longest_text() {
        let runs = |pattern: &str| weight(&format!("context.name like \"{pattern}\"")).cost;
        let plain = runs("*@example.com");
        assert!((3_000..6_000).contains(&plain), "{plain}");
        assert!(runs(&format!("*{}b", "a".repeat(3_900))) > 256 * 3_900);
        // What stands before the first wildcard is tried once.
        assert!(runs(&format!("{}*", "a".repeat(3_900))) < 5_000);
        let literal = format!("\"{}\" like \"*{}b\"", "a".repeat(8_000), "a".repeat(3_900));
        assert!(weight(&literal).cost > 8_000 * 3_900);
        // A text stays as long on its way through other expressions.
        let hidden = format!(
            "(if true then {{a: \"{}\"}} else {{a: \"\"}}).a like \"*{}b\"",
            "a".repeat(8_000),
            "a".repeat(3_900)
        );
        assert!(weight(&hidden).cost > 8_000 * 3_900);
    }

    #[test]
    fn a_set_costs_its_elements_and_their_order() {
        let of = |number: usize| {
            let names: Vec<String> = (0..number).map(|name| format!("\"name-{name:08}\"")).collect();
            weight(&format!("[{}].contains(principal.name)", names.join(","))).cost
        };
        assert!(of(500) > 10 * of(10), "{} {}", of(500), of(10));
        let nested = "[context.roles, principal.scopes].contains(context.roles)";
        assert!(
            weight(nested).cost > 10 * weight("context.roles.contains(\"a\")").cost,
            "{nested}"
        );
    }

    #[test]
    fn every_node_counts() {
        let one = weight("1 == 1").nodes;
        let many = weight(&["1 == 1"; 100].join(" && ")).nodes;
        assert!(many > 99 * 3 + one, "{many} {one}");
        assert!(weight(&format!("principal.name like \"{}\"", "a".repeat(1_000))).nodes > 1_000);
    }
}
