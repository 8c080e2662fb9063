//! What an expression may cost at most, estimated when it is saved.
//!
//! While an expression is evaluated, a budget ends it (`budget.rs`); one that spends its budget on ordinary data is a
//! mistake that is better told when it is saved. The estimate walks the tree once and assumes that a value of the scope
//! that is looped over has [`limits::ASSUMED_ITEMS`] elements, and that one that is only named is small. A loop over what
//! a variable of the loop around it holds goes over the whole once; a loop over something else goes over it again for
//! each element, and that is refused.
//!
//! The size of results is estimated too: a chain such as `x.map(y, [y, y])` doubles what it is given at every link, at
//! hardly any iterations.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::budget::text_units;
use super::check::Fault;
use super::limits;

/// What a part costs to evaluate, how large its value is (all in units of work), and of how many elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Estimate {
    cost: u64,
    size: u64,
    count: u64,
}

const ONE: Estimate = Estimate { cost: 1, size: 1, count: 0 };

/// Refuses a tree whose cost, or whose value, would be over the budget over collections of so many `items`. The tree has
/// passed `check`, which bounds its depth.
pub(super) fn check(tree: &IdedExpr, items: u64) -> Result<(), Fault> {
    let mut walk = Walk { bound: Vec::new(), items };
    walk.of(tree).map(drop)
}

struct Walk<'a> {
    bound: Vec<(&'a str, Estimate)>,
    items: u64,
}

impl<'a> Walk<'a> {
    fn of(&mut self, node: &'a IdedExpr) -> Result<Estimate, Fault> {
        let found = match &node.expr {
            Expr::Literal(LiteralValue::String(text)) => Estimate { size: text_units(text.inner()), ..ONE },
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => ONE,
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.part(&select.operand)?,
            Expr::List(list) => self.whole(&list.elements)?,
            Expr::Map(map) => {
                let mut sum = ONE;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    sum = sum.and(self.of(&entry.key)?).and(self.of(&entry.value)?);
                }
                Estimate { count: map.entries.len() as u64, ..sum }
            }
            Expr::Call(call) => self.call(call)?,
            Expr::Comprehension(loops) => self.comprehension(loops)?,
        };
        if found.cost > limits::WORK || found.size > limits::WORK {
            let message = format!(
                "too much work: over collections of {} elements it would need more than {} units (docs/expressions.md, \
                 Limits); do not loop over the whole within a loop",
                self.items,
                limits::WORK
            );
            return Err(Fault { message, node: node.id });
        }
        Ok(found)
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<Estimate, Fault> {
        let found = match (call.func_name.as_str(), &call.args[..]) {
            (operators::INDEX, [operand, index]) => {
                let index = self.of(index)?;
                let part = self.part(operand)?;
                Estimate { cost: part.cost.saturating_add(index.cost), ..part }
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let (condition, yes, no) = (self.of(condition)?, self.of(yes)?, self.of(no)?);
                let cost = condition.cost.saturating_add(yes.cost.max(no.cost));
                Estimate { cost, size: yes.size.max(no.size), count: yes.count.max(no.count) }
            }
            (operators::ADD, [left, right]) => {
                let (left, right) = (self.of(left)?, self.of(right)?);
                let sum = left.and(right);
                // Both are copied.
                Estimate { cost: sum.cost.saturating_add(sum.size), count: left.count + right.count, ..sum }
            }
            ("dyn" | "string" | "bytes", [value]) => self.of(value)?,
            (_, args) => {
                let target = call.target.as_deref().into_iter();
                let sum = target.chain(args).try_fold(ONE, |sum, arg| Ok(sum.and(self.of(arg)?)))?;
                Estimate { cost: sum.cost, ..ONE }
            }
        };
        Ok(found)
    }

    fn comprehension(&mut self, loops: &'a ComprehensionExpr) -> Result<Estimate, Fault> {
        let range = self.of(&loops.iter_range)?;
        let start = self.of(&loops.accu_init)?;
        let outside = self.bound.len();
        // The average element: a body that is linear in it comes to exactly the whole.
        let element = range.size.div_ceil(range.count.max(1));
        self.bound.push((&loops.iter_var, Estimate { cost: 1, size: element, count: element }));
        self.bound.push((&loops.accu_var, Estimate { cost: 1, size: 0, count: 0 }));
        let step = self.of(&loops.loop_step)?;
        self.bound.truncate(outside);
        let passes = range.count;
        let work = passes.saturating_mul(step.cost.saturating_add(1));
        let cost = range.cost.saturating_add(start.cost).saturating_add(work);
        Ok(if matches!(loops.accu_init.expr, Expr::List(_)) {
            let size = passes.saturating_mul(step.size).saturating_add(1);
            Estimate { cost, size, count: passes }
        } else {
            Estimate { cost, ..ONE }
        })
    }

    fn ident(&self, name: &str) -> Estimate {
        let bound = self.bound.iter().rev().find(|(bound, _)| *bound == name);
        bound.map_or(Estimate { count: self.items, ..ONE }, |(_, estimate)| *estimate)
    }

    /// A member or an element: at most the whole.
    fn part(&mut self, operand: &'a IdedExpr) -> Result<Estimate, Fault> {
        let whole = self.of(operand)?;
        Ok(Estimate { cost: whole.cost.saturating_add(1), size: whole.size, count: whole.count.max(whole.size) })
    }

    fn whole(&mut self, elements: &'a [IdedExpr]) -> Result<Estimate, Fault> {
        let sum = elements.iter().try_fold(ONE, |sum, element| Ok(sum.and(self.of(element)?)))?;
        Ok(Estimate { count: elements.len() as u64, ..sum })
    }
}

impl Estimate {
    /// Costs and sizes of both.
    const fn and(self, other: Self) -> Self {
        Self {
            cost: self.cost.saturating_add(other.cost),
            size: self.size.saturating_add(other.size),
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NAMES, scope};
    use super::super::{Expression, Names, UNTYPED};

    fn refused(source: &str) -> bool {
        let names: Names<'_> = NAMES.typed(&UNTYPED);
        match Expression::parse(source, &names) {
            Ok(_) => false,
            Err(error) => {
                assert!(error.message.contains("too much work"), "{source}: {error}");
                true
            }
        }
    }

    #[test]
    fn loops_over_the_whole_within_loops_are_refused() {
        for source in [
            "trigger.items.all(a, trigger.items.all(b, a.id >= 0 || b.id >= 0))",
            "trigger.items.exists(a, trigger.hosts.exists(b, a.host == b))",
            "trigger.items.map(a, trigger.items.map(b, a.id + b.id)) == []",
            "trigger.items.exists_one(a, trigger.items.exists_one(b, a == b))",
        ] {
            assert!(refused(source), "{source}");
        }
        for source in [
            "trigger.items.all(a, a.id > 0)",
            "trigger.groups.all(g, g.members.exists(m, m.ok && m.id in g.leaders))",
            "['a', 'b', 'c'].all(word, trigger.items.exists(i, i.name == word))",
            "trigger.items.filter(i, i.name in ['a', 'b', 'c']).map(i, i.id)",
            "trigger.items.filter(i, i.name in input.names).map(i, {'id': i.id, 'host': trigger.host})",
            "size(trigger.items.filter(i, i.id % 2 == 0)) > 3 && trigger.items.all(i, has(i.name))",
        ] {
            assert!(!refused(source), "{source}");
        }
    }

    #[test]
    fn a_chain_that_doubles_what_it_is_given_is_refused_before_it_has() {
        let chain = |links: usize| format!("[1]{}", ".map(x, [x, x])".repeat(links));
        assert!(!refused(&chain(3)));
        assert!(refused(&chain(22)));
        assert!(refused(&format!("trigger.items{}", ".map(x, [x, x])".repeat(12))));
        // One that was saved before there was an estimate is refused too: no budget counts what it makes.
        assert!(Expression::parse(&chain(22), &NAMES).unwrap_err().message.contains("too much work"));
        let small = Expression::parse(&chain(3), &NAMES.typed(&UNTYPED)).unwrap();
        assert_eq!(small.evaluate(&scope()).unwrap().to_string().matches('1').count(), 8);
    }
}
