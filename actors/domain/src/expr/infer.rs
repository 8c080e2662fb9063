//! Types of CEL expressions, inferred when they are saved: what would fail in every run is refused at once.
//!
//! Only what is certain is an error: an operand or argument whose kind the interpreter refuses, a member that cannot be
//! there, a comparison that comes out the same whatever the data, a constant that does not compute. Of data from
//! outside nothing is known, so nothing is said about it. What is legal but suspicious is a warning.
//!
//! Invariant: an expression that is refused here fails, or is constant, in every evaluation that reaches the place.
//! The tree has passed `check`, which bounds its depth.

pub(super) mod kinds;
mod members;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use self::kinds::{Function, Kind, binary, has_negative, kinds};
use super::check::{Fault, TYPES, chain, leftmost, root_name};
use super::path::{Key, execution_of};
use super::program::constant;
use super::types::{Type, Types};
use crate::suggest::did_you_mean;

/// What an inference finds.
pub(super) struct Inferred {
    pub kind: Type,
    pub warnings: Vec<Fault>,
}

/// The type of a tree.
pub(super) fn infer(tree: &IdedExpr, types: &Types) -> Result<Inferred, Fault> {
    let mut inference = Inference { types, bound: Vec::new(), warnings: Vec::new() };
    let kind = inference.of(tree)?;
    Ok(Inferred { kind, warnings: inference.warnings })
}

/// Whether it is `steps.ID.execution_id`, or a look at whether there is one.
fn is_execution(expr: &Expr) -> bool {
    let Some((root, mut keys)) = chain(expr) else { return false };
    if let Expr::Select(select) = expr
        && select.test
    {
        keys.push(Key::Name(select.field.as_str().into()));
    }
    execution_of(root, &keys).is_some()
}

struct Inference<'a> {
    types: &'a Types,
    /// Variables of the macros around the node.
    bound: Vec<(&'a str, Type)>,
    warnings: Vec<Fault>,
}

/// What is wrong with a value or an operation; a value is placed where it begins.
fn fault(node: &IdedExpr, message: impl Into<String>) -> Fault {
    Fault { message: message.into(), node: leftmost(node) }
}

impl<'a> Inference<'a> {
    fn of(&mut self, node: &'a IdedExpr) -> Result<Type, Fault> {
        match &node.expr {
            Expr::Literal(literal) => Ok(of_literal(literal)),
            Expr::Ident(name) => Ok(self.ident(root_name(name))),
            // A step as a whole has no such member: its execution is known by its path alone.
            expr if is_execution(expr) => {
                Ok(if matches!(expr, Expr::Select(select) if select.test) { Type::Bool } else { Type::Text })
            }
            Expr::Select(select) => {
                let of = self.of(&select.operand)?;
                let member = self.types.member(&of, &select.field, &shown(&select.operand));
                // A member is placed at its dot, a presence test has none of its own.
                let place = if select.test { leftmost(&select.operand) } else { node.id };
                let member = member.map_err(|message| Fault { message, node: place })?;
                Ok(if select.test { Type::Bool } else { member })
            }
            Expr::List(list) => {
                let mut element = Type::Never;
                for item in &list.elements {
                    element = element.join(&self.of(item)?);
                }
                Ok(Type::list(element))
            }
            Expr::Map(map) => self.map(map),
            Expr::Call(call) => self.call(node, call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            // `check` has refused these.
            Expr::Struct(_) | Expr::Unspecified => Ok(Type::Dyn),
        }
    }

    fn ident(&self, name: &str) -> Type {
        match self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            Some((_, kind)) => kind.clone(),
            None if TYPES.contains(&name) => Type::TypeName,
            None => self.types.root(name),
        }
    }

    fn call(&mut self, node: &'a IdedExpr, call: &'a CallExpr) -> Result<Type, Fault> {
        match (call.func_name.as_str(), &call.args[..]) {
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.truth(condition, "what stands before `?`")?;
                let yes = self.of(yes)?;
                Ok(yes.join(&self.of(no)?))
            }
            (name @ (operators::LOGICAL_AND | operators::LOGICAL_OR), [left, right]) => {
                let sign = sign(name);
                self.truth(left, &format!("a side of `{sign}`"))?;
                self.truth(right, &format!("a side of `{sign}`"))
            }
            (operators::LOGICAL_NOT, [operand]) => self.truth(operand, "what `!` negates"),
            (operators::NOT_STRICTLY_FALSE, _) => Ok(Type::Bool),
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                self.equality(node, sign(&call.func_name), left, right)
            }
            (operators::IN, [item, container]) => self.membership(node, item, container),
            (operators::INDEX, [operand, index]) => self.index(operand, index),
            (operators::NEGATE, [operand]) => {
                let of = self.of(operand)?;
                if !kinds(&of).iter().any(|kind| has_negative(*kind)) {
                    return Err(fault(operand, format!("`-` needs an int or a double, found {of}")));
                }
                Ok(of)
            }
            (name, [left, right]) if sign(name) != name => self.arithmetic(node, name, left, right),
            _ => self.function(node, call),
        }
    }

    /// Demands a bool.
    fn truth(&mut self, node: &'a IdedExpr, what: &str) -> Result<Type, Fault> {
        let of = self.of(node)?;
        if kinds(&of).contains(&Kind::Bool) {
            return Ok(Type::Bool);
        }
        Err(fault(node, format!("{what} must be true or false: expected bool, found {of}")))
    }

    fn arithmetic(
        &mut self,
        node: &'a IdedExpr,
        operator: &str,
        left: &'a IdedExpr,
        right: &'a IdedExpr,
    ) -> Result<Type, Fault> {
        let (a, b) = (self.of(left)?, self.of(right)?);
        let sign = sign(operator);
        let zero = match &right.expr {
            Expr::Literal(LiteralValue::Int(int)) => *int.inner() == 0,
            Expr::Literal(LiteralValue::UInt(uint)) => *uint.inner() == 0,
            _ => false,
        };
        if zero && matches!(operator, operators::DIVIDE | operators::MODULO) {
            return Err(fault(right, "division by zero"));
        }
        let pairs = kinds(&a).iter().flat_map(|a| kinds(&b).iter().map(|b| binary(operator, *a, *b)));
        let result = pairs.flatten().map(Kind::to_type).reduce(|one, other| one.join(&other));
        let result = match (result, &a, &b) {
            (Some(_), Type::List(a), Type::List(b)) => Type::list(a.join(b)),
            (Some(result), ..) => result,
            (None, ..) => {
                let hint = hint(operator, &a, &b);
                return Err(fault(node, format!("`{sign}` does not apply to {a} and {b}{hint}")));
            }
        };
        fold(node, &[left, right])?;
        Ok(result)
    }

    fn function(&mut self, node: &'a IdedExpr, call: &'a CallExpr) -> Result<Type, Fault> {
        let name = call.func_name.trim_start_matches('.');
        let receiver = call.target.as_ref().map(|target| self.of(target)).transpose()?;
        let arguments = call.args.iter().map(|argument| self.of(argument)).collect::<Result<Vec<_>, _>>()?;
        let named = || kinds::FUNCTIONS.iter().filter(|function| function.name == name);
        let formed = named().filter(|function| function.receiver.is_some() == receiver.is_some());
        let counted: Vec<&Function> = formed.filter(|function| function.arguments.len() == arguments.len()).collect();
        if counted.is_empty() {
            let forms: Vec<String> = named().map(form).collect();
            return Err(fault(node, format!("`{name}` is called as {}", forms.join(" or "))));
        }
        let meets = |expected: &[Kind], found: &Type| kinds(found).iter().any(|kind| expected.contains(kind));
        let fitting: Vec<&&Function> = counted
            .iter()
            .filter(|function| {
                let target_fits =
                    function.receiver.zip(receiver.as_ref()).is_none_or(|(kinds, found)| meets(kinds, found));
                target_fits && function.arguments.iter().zip(&arguments).all(|(kinds, found)| meets(kinds, found))
            })
            .collect();
        if fitting.is_empty() {
            return Err(misfit(node, call, counted[0], receiver.as_ref(), &arguments));
        }
        let operands: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        if name != "matches" {
            fold(node, &operands)?;
        }
        let results = fitting.iter().map(|function| function.result.map_or(Type::Dyn, Kind::to_type));
        Ok(results.reduce(|one, other| one.join(&other)).unwrap_or_default())
    }

    fn comprehension(&mut self, loops: &'a ComprehensionExpr) -> Result<Type, Fault> {
        let range = self.of(&loops.iter_range)?;
        let item = match &range {
            Type::List(element) => (**element).clone(),
            Type::Optional(inner) => match &**inner {
                Type::List(element) => (**element).clone(),
                _ => Type::Dyn,
            },
            // The keys; those of data are texts, those that are written out may be anything.
            _ => Type::Dyn,
        };
        if !kinds(&range).iter().any(|kind| matches!(kind, Kind::List | Kind::Map)) {
            return Err(fault(&loops.iter_range, format!("a macro goes over a list or a map, found {range}")));
        }
        let accumulated = self.of(&loops.accu_init)?;
        let outside = self.bound.len();
        self.bound.push((&loops.iter_var, item));
        self.bound.push((&loops.accu_var, accumulated));
        let step = self.of(&loops.loop_step)?;
        if let Some((_, accumulator)) = self.bound.last_mut() {
            *accumulator = step;
        }
        let result = self.of(&loops.result)?;
        self.bound.truncate(outside);
        Ok(result)
    }

    fn map(&mut self, map: &'a cel::common::ast::MapExpr) -> Result<Type, Fault> {
        let mut values = Type::Never;
        let mut keys: Vec<&Expr> = Vec::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let key = self.of(&entry.key)?;
            if !kinds(&key).iter().any(|kind| members::is_key(*kind)) {
                return Err(fault(&entry.key, format!("a key is a string, an int, a uint or a bool, found {key}")));
            }
            if matches!(entry.key.expr, Expr::Literal(_)) {
                if keys.contains(&&entry.key.expr) {
                    return Err(fault(&entry.key, "this key stands in the map twice"));
                }
                keys.push(&entry.key.expr);
            }
            values = values.join(&self.of(&entry.value)?);
        }
        Ok(Type::Map(std::sync::Arc::new(if values == Type::Never { Type::Dyn } else { values })))
    }
}

/// A part whose operands are all written out is computed now.
fn fold(node: &IdedExpr, operands: &[&IdedExpr]) -> Result<(), Fault> {
    if operands.iter().all(|operand| matches!(operand.expr, Expr::Literal(_))) {
        constant(node).map_err(|message| fault(node, message))?;
    }
    Ok(())
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// How the operator is written; the name itself for what is no operator between two operands.
fn sign(operator: &str) -> &str {
    match operator {
        operators::LOGICAL_AND => "&&",
        operators::LOGICAL_OR => "||",
        operators::ADD => "+",
        operators::SUBSTRACT => "-",
        operators::MULTIPLY => "*",
        operators::DIVIDE => "/",
        operators::MODULO => "%",
        operators::EQUALS => "==",
        operators::NOT_EQUALS => "!=",
        operators::GREATER_EQUALS => ">=",
        operators::LESS_EQUALS => "<=",
        operators::GREATER => ">",
        operators::LESS => "<",
        other => other,
    }
}

/// What to write instead, where that is clear.
fn hint(operator: &str, a: &Type, b: &Type) -> String {
    let conversion = |of: &Type| match of {
        Type::Text | Type::Word(_) => Some("string"),
        Type::Double => Some("double"),
        Type::Time => Some("timestamp"),
        _ => None,
    };
    let hint = match (a, b) {
        (text, other) | (other, text)
            if text.is_text() && operator == operators::ADD && (other.is_number() || *other == Type::Bool) =>
        {
            Some("string")
        }
        (a, b) if a.is_number() && b.is_number() => Some("double"),
        (Type::Time, other) | (other, Type::Time) if other.is_text() => conversion(&Type::Time),
        _ => None,
    };
    hint.map_or_else(String::new, |function| format!("; convert one of them: {function}(…)"))
}

/// `text.contains(string)`, as messages show how to call a function.
fn form(function: &Function) -> String {
    let list = |kinds: &[Kind]| {
        if kinds.len() == kinds::ALL.len() { "value".to_owned() } else { one_of(kinds) }
    };
    let arguments: Vec<String> = function.arguments.iter().map(|kinds| list(kinds)).collect();
    match function.receiver {
        Some(kinds) => format!("`{}.{}({})`", list(kinds), function.name, arguments.join(", ")),
        None => format!("`{}({})`", function.name, arguments.join(", ")),
    }
}

fn one_of(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.to_type().to_string()).collect::<Vec<_>>().join("|")
}

/// The receiver or argument that has the wrong type.
fn misfit(node: &IdedExpr, call: &CallExpr, function: &Function, receiver: Option<&Type>, arguments: &[Type]) -> Fault {
    let name = function.name;
    let meets = |expected: &[Kind], found: &Type| kinds(found).iter().any(|kind| expected.contains(kind));
    if let (Some(expected), Some(found), Some(target)) = (function.receiver, receiver, call.target.as_deref())
        && !meets(expected, found)
    {
        let instead = match (name, found) {
            ("contains", Type::List(_)) => "; for lists write `value in list`",
            ("contains", found) if found.is_map() => "; for maps write `key in map`",
            (_, found) if found.is_text() && name.starts_with("get") => "; make a time of it: timestamp(…)",
            _ => "",
        };
        return fault(target, format!("`{name}` needs {}, found {found}{instead}", one_of(expected)));
    }
    let wrong = function.arguments.iter().zip(arguments).zip(&call.args);
    for ((expected, found), argument) in wrong {
        if !meets(expected, found) {
            return fault(argument, format!("`{name}` needs {}, found {found}", one_of(expected)));
        }
    }
    fault(node, format!("`{name}` does not apply to these types; it is called as {}", form(function)))
}

/// A value as messages name it: its path, where it is one.
fn shown(node: &IdedExpr) -> String {
    match &node.expr {
        Expr::Ident(name) => root_name(name).to_owned(),
        Expr::Select(select) if !select.test => format!("{}.{}", shown(&select.operand), select.field),
        Expr::Call(call) if call.func_name == operators::INDEX && call.args.len() == 2 => match &call.args[1].expr {
            Expr::Literal(LiteralValue::String(key)) => format!("{}[{:?}]", shown(&call.args[0]), key.inner()),
            Expr::Literal(LiteralValue::Int(index)) => format!("{}[{}]", shown(&call.args[0]), index.inner()),
            _ => format!("{}[…]", shown(&call.args[0])),
        },
        _ => "…".to_owned(),
    }
}

/// A word that its set does not have.
fn no_such_word(word: &str, known: &[&str]) -> String {
    let guess = did_you_mean(word, known.iter().copied());
    format!("it is never '{word}', but one of {}{guess}", known.join(", "))
}

#[cfg(test)]
mod tests;
