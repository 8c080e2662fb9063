//! Equality, membership and indexing: what can never be equal, never be in, never be there.

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::kinds::{Kind, kinds};
use super::{Inference, Type, fault, no_such_word, shown};
use crate::expr::check::Fault;

/// Whether maps may have keys of this kind.
pub(super) const fn is_key(kind: Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Int | Kind::Uint | Kind::Bool)
}

impl<'a> Inference<'a> {
    pub(super) fn equality(
        &mut self,
        node: &'a IdedExpr,
        sign: &str,
        left: &'a IdedExpr,
        right: &'a IdedExpr,
    ) -> Result<Type, Fault> {
        let (a, b) = (self.of(left)?, self.of(right)?);
        let outcome = if sign == "==" { "never" } else { "always" };
        if !a.may_equal(&b) {
            return Err(fault(node, format!("`{sign}` compares {a} with {b}: that is {outcome} true")));
        }
        known_word(&a, right)?;
        known_word(&b, left)?;
        if [left, right].into_iter().any(is_fraction) {
            let message = format!("`{sign}` on a fraction: computed numbers are rarely exactly equal; compare a range");
            self.warnings.push(fault(node, message));
        }
        if left.expr == right.expr && !matches!(left.expr, Expr::Literal(_)) || same_path(left, right) {
            self.warnings.push(fault(node, format!("both sides of `{sign}` are the same")));
        }
        Ok(Type::Bool)
    }

    pub(super) fn membership(
        &mut self,
        node: &'a IdedExpr,
        item: &'a IdedExpr,
        container: &'a IdedExpr,
    ) -> Result<Type, Fault> {
        let (a, b) = (self.of(item)?, self.of(container)?);
        if b.is_text() {
            let message = "`in` needs a list or a map, found string; for a part of a text write `text.contains(part)`";
            return Err(fault(container, message));
        }
        if !kinds(&b).iter().any(|kind| matches!(kind, Kind::List | Kind::Map)) {
            return Err(fault(container, format!("`in` needs a list or a map, found {b}")));
        }
        match &b {
            Type::List(element) if !a.may_equal(element) => {
                return Err(fault(node, format!("`in` looks for {a} in {b}: that is never true")));
            }
            _ if b.is_map() && !kinds(&a).iter().any(|kind| is_key(*kind) || *kind == Kind::Double) => {
                return Err(fault(item, format!("a map has no key of type {a}")));
            }
            _ => {}
        }
        if let Expr::List(list) = &container.expr {
            list.elements.iter().try_for_each(|element| known_word(&a, element))?;
        }
        Ok(Type::Bool)
    }

    pub(super) fn index(&mut self, operand: &'a IdedExpr, index: &'a IdedExpr) -> Result<Type, Fault> {
        let (of, by) = (self.of(operand)?, self.of(index)?);
        let inner = match &of {
            Type::Optional(inner) => (**inner).clone(),
            other => other.clone(),
        };
        match (&inner, &index.expr) {
            (Type::List(_), Expr::Literal(LiteralValue::Int(at))) if *at.inner() < 0 => {
                Err(fault(index, "a list begins at 0 and has no elements before it"))
            }
            (Type::List(element), _) => {
                let is_place = kinds(&by).iter().any(|kind| matches!(kind, Kind::Int | Kind::Uint | Kind::Double));
                if is_place {
                    return Ok(if **element == Type::Never { Type::Dyn } else { (**element).clone() });
                }
                Err(fault(index, format!("a list is indexed by an int, found {by}")))
            }
            (of, Expr::Literal(LiteralValue::String(name))) => {
                let member = self.types.member(of, name.inner(), &shown(operand));
                member.map_err(|message| fault(index, message))
            }
            (of, _) if of.is_unknown() => Ok(Type::Dyn),
            (Type::Map(value), _) if kinds(&by).iter().any(|kind| is_key(*kind) || *kind == Kind::Double) => {
                Ok((**value).clone())
            }
            (of, _) if of.is_map() && kinds(&by).iter().any(|kind| is_key(*kind)) => Ok(Type::Dyn),
            (of, _) if of.is_map() => Err(fault(index, format!("a map has no key of type {by}"))),
            (of, _) => Err(fault(operand, format!("only lists and maps are indexed, found {of}"))),
        }
    }
}

/// A text that is written out and compared with a word of a set must be in the set.
fn known_word(of: &Type, other: &IdedExpr) -> Result<(), Fault> {
    let (Type::Word(known), Expr::Literal(LiteralValue::String(word))) = (of, &other.expr) else { return Ok(()) };
    if known.contains(&word.inner()) {
        return Ok(());
    }
    Err(fault(other, no_such_word(word.inner(), known)))
}

fn is_fraction(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Literal(LiteralValue::Double(double)) if double.inner().fract() != 0.0)
}

/// Whether both are the same member path: nodes have ids of their own, so that trees of them are never equal.
fn same_path(left: &IdedExpr, right: &IdedExpr) -> bool {
    let (a, b) = (shown(left), shown(right));
    a == b && !a.contains('…') && !matches!(left.expr, Expr::Literal(_))
}
