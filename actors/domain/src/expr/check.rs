//! The checker of CEL trees: every name exists, every bound holds.
//!
//! The CEL crate only parses, so this walks the tree once and, on the way, rewrites it: a member path
//! of the scope becomes one name (a slot), a pattern is compiled, and the body of every macro gets a
//! name that accounts for its iterations, its range a call that puts the keys of maps in order.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::budget::text_units;
use super::infer::kinds::function_names;
use super::limits;
use super::path::{Key, Path};
use super::pattern;
use super::program::{IN_ORDER, LOOP, MATCHES, Pattern, Slot, TICK, slot_name};
use super::scope::Names;
use crate::suggest::meant_or_known;

/// What is wrong, and the node at which.
#[derive(Debug)]
pub(super) struct Fault {
    pub message: String,
    pub node: u64,
}

/// What a walk found out.
pub(super) struct Checked {
    pub slots: Vec<Slot>,
    /// Units of one pass over the tree.
    pub size: u64,
}

/// What the parser expands before the tree gets here.
const MACROS: &[&str] = &["all", "exists", "exists_one", "filter", "has", "map"];

fn macro_form(name: &str) -> String {
    match name {
        "has" => "`has(a.member)`".to_owned(),
        "map" => "`list.map(x, value)` or `list.map(x, condition, value)`".to_owned(),
        other => format!("`list.{other}(x, condition)`"),
    }
}

const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];

/// Types by name, to be compared with `type(…)`.
pub(super) const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

impl Checked {
    /// Whether it looks anything up: what does not is constant.
    pub fn names_anything(&self) -> bool {
        self.slots.iter().any(|slot| !matches!(slot, Slot::Pattern(_)))
    }
}

/// Checks and rewrites a tree.
pub(super) fn check(tree: &mut IdedExpr, names: &Names) -> Result<Checked, Fault> {
    let mut checker = Checker { names, bound: Vec::new(), macros: 0, checked: Checked { slots: Vec::new(), size: 0 } };
    checker.visit(tree, 1)?;
    Ok(checker.checked)
}

struct Checker<'a> {
    names: &'a Names<'a>,
    /// Variables of the macros around the node.
    bound: Vec<String>,
    macros: usize,
    checked: Checked,
}

impl Checker<'_> {
    fn visit(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), Fault> {
        let id = node.id;
        let fault = |message: String| Fault { message, node: id };
        if depth > limits::DEPTH {
            return Err(fault(format!("nested too deeply: more than {} levels", limits::DEPTH)));
        }
        self.checked.size += 1;
        let root = leftmost(node);
        if let Some(slot) = self.scope_member(&node.expr).map_err(|message| Fault { message, node: root })? {
            node.expr = self.slot(slot);
            return Ok(());
        }
        match &mut node.expr {
            Expr::Literal(LiteralValue::String(text)) => self.checked.size += text_units(text.inner()),
            Expr::Literal(_) => {}
            Expr::Ident(name) => {
                let name = root_name(name);
                if !self.is_bound(name) && !TYPES.contains(&name) {
                    return Err(fault(
                        self.names.check_root(name).err().unwrap_or_else(|| format!("`{name}` cannot stand here")),
                    ));
                }
            }
            Expr::Select(select) => self.visit(&mut select.operand, depth + 1)?,
            Expr::List(list) => self.visit_all(&mut list.elements, depth)?,
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.visit(&mut entry.key, depth + 1)?;
                        self.visit(&mut entry.value, depth + 1)?;
                    }
                }
            }
            Expr::Call(call) => self.call(call, id, depth)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, id, depth)?,
            Expr::Struct(message) => return Err(fault(format!("unknown type `{}`", message.type_name))),
            Expr::Unspecified => return Err(fault("the expression is not complete".to_owned())),
        }
        Ok(())
    }

    fn visit_all(&mut self, nodes: &mut [IdedExpr], depth: usize) -> Result<(), Fault> {
        nodes.iter_mut().try_for_each(|node| self.visit(node, depth + 1))
    }

    fn call(&mut self, call: &mut CallExpr, id: u64, depth: usize) -> Result<(), Fault> {
        let name = call.func_name.trim_start_matches('.');
        if name == "matches" {
            return self.matches(call, id, depth);
        }
        let functions = function_names();
        if MACROS.contains(&name) {
            // A macro whose arguments are right has been expanded by the parser.
            let message = format!("unknown function `{name}`: as a macro it is written {}", macro_form(name));
            return Err(Fault { message, node: id });
        }
        if !functions.contains(&name) && !OPERATORS.contains(&name) {
            let known = [&functions, MACROS].concat();
            let message = format!("unknown function `{name}`{}", meant_or_known(name, &known, "known:"));
            return Err(Fault { message, node: id });
        }
        if let Some(target) = &mut call.target {
            self.visit(target, depth + 1)?;
        }
        self.visit_all(&mut call.args, depth)?;
        if let (operators::ADD, [_, right]) = (call.func_name.as_str(), &mut call.args[..])
            && !matches!(right.expr, Expr::Literal(_) | Expr::List(_))
        {
            // A list takes the keys of a map, which come in an order of their own.
            in_order(right);
        }
        Ok(())
    }

    /// `text.matches("pattern")` becomes a call that takes the compiled pattern.
    fn matches(&mut self, call: &mut CallExpr, id: u64, depth: usize) -> Result<(), Fault> {
        let fault = |message: &str| Fault { message: message.to_owned(), node: id };
        let mut args: Vec<IdedExpr> = call.target.take().map(|target| *target).into_iter().collect();
        args.append(&mut call.args);
        let [text, pattern] = &mut args[..] else { return Err(fault("`matches` takes a text and a pattern")) };
        let Expr::Literal(LiteralValue::String(source)) = &pattern.expr else {
            return Err(fault("the pattern of `matches` must be written out, as a text in quotes"));
        };
        let compiled = pattern::compile(source.inner()).map_err(|message| Fault { message, node: pattern.id })?;
        pattern.expr = self.slot(Slot::Pattern(Pattern(compiled)));
        self.visit(text, depth + 1)?;
        MATCHES.clone_into(&mut call.func_name);
        call.args = args;
        Ok(())
    }

    fn comprehension(&mut self, loops: &mut ComprehensionExpr, id: u64, depth: usize) -> Result<(), Fault> {
        let fault = |message: String| Fault { message, node: id };
        self.visit(&mut loops.iter_range, depth + 1)?;
        if self.macros == limits::MACRO_DEPTH {
            return Err(fault(format!("macros are nested more than {} deep", limits::MACRO_DEPTH)));
        }
        let name = root_name(&loops.iter_var).to_owned();
        if super::ROOTS.contains(&name.as_str()) || TYPES.contains(&name.as_str()) {
            return Err(fault(format!("`{name}` already means something else; give the variable another name")));
        }
        let outside = self.bound.len();
        self.macros += 1;
        self.bound.extend([name, loops.accu_var.clone()]);
        self.visit(&mut loops.accu_init, depth + 1)?;
        self.visit(&mut loops.loop_cond, depth + 1)?;
        self.visit(&mut loops.loop_step, depth + 1)?;
        self.visit(&mut loops.result, depth + 1)?;
        self.bound.truncate(outside);
        self.macros -= 1;
        in_order(&mut loops.iter_range);
        let body = body(&mut loops.loop_step).ok_or_else(|| fault("this macro is not supported".to_owned()))?;
        account(body);
        Ok(())
    }

    /// The slot for a member path of the scope, if that is what the node is.
    fn scope_member(&self, expr: &Expr) -> Result<Option<Slot>, String> {
        let Some((root, mut keys)) = chain(expr) else { return Ok(None) };
        let known = self.names.check_root(root);
        if self.is_bound(root) || (keys.is_empty() && known.is_err()) {
            return Ok(None);
        }
        known?;
        if let Expr::Select(select) = expr
            && select.test
        {
            let parent = keys.clone();
            keys.push(Key::Name(select.field.as_str().into()));
            let member = Path::new(root, keys, self.names)?;
            // `has(steps.ID)` has no path to its parent; whether the step has run is the answer.
            let parent =
                if root == "steps" && parent.is_empty() { None } else { Some(Path::new(root, parent, self.names)?) };
            return Ok(Some(Slot::Has { parent, member }));
        }
        Path::new(root, keys, self.names).map(|path| Some(Slot::Value(path)))
    }

    fn slot(&mut self, slot: Slot) -> Expr {
        self.checked.slots.push(slot);
        Expr::Ident(slot_name(self.checked.slots.len() - 1))
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }
}

/// A name as the author wrote it.
pub(super) fn root_name(name: &str) -> &str {
    match name.trim_start_matches('.') {
        LOOP => "loop",
        name => name,
    }
}

/// The root and the keys of `root.member["key"][0]`; of a presence test, those of its operand.
pub(super) fn chain(expr: &Expr) -> Option<(&str, Vec<Key>)> {
    let mut keys = Vec::new();
    let mut here = match expr {
        Expr::Select(select) if select.test => &select.operand.expr,
        other => other,
    };
    loop {
        here = match here {
            Expr::Ident(name) => {
                keys.reverse();
                return Some((root_name(name), keys));
            }
            Expr::Select(select) if !select.test => {
                keys.push(Key::Name(select.field.as_str().into()));
                &select.operand.expr
            }
            Expr::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
                let [operand, index] = &call.args[..] else { return None };
                keys.push(match &index.expr {
                    Expr::Literal(LiteralValue::String(name)) => Key::Name(name.inner().into()),
                    Expr::Literal(LiteralValue::Int(index)) => Key::Index(usize::try_from(*index.inner()).ok()?),
                    _ => return None,
                });
                &operand.expr
            }
            _ => return None,
        };
    }
}

/// The node that begins the text of a member path: others are placed at their dot or bracket.
pub(super) fn leftmost(node: &IdedExpr) -> u64 {
    let mut here = node;
    loop {
        here = match &here.expr {
            Expr::Select(select) => &select.operand,
            Expr::Call(call) if call.func_name == operators::INDEX && !call.args.is_empty() => &call.args[0],
            _ => return here.id,
        };
    }
}

/// What the author wrote of a macro's step: the operand beside the accumulator.
fn body(step: &mut IdedExpr) -> Option<&mut IdedExpr> {
    let Expr::Call(call) = &mut step.expr else { return None };
    match (call.func_name.as_str(), &mut call.args[..]) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [_, predicate])
        | (operators::CONDITIONAL, [predicate, _, _]) => Some(predicate),
        (operators::ADD, [_, IdedExpr { expr: Expr::List(list), .. }]) => list.elements.first_mut(),
        _ => None,
    }
}

/// `range` becomes `@in_order(range)`: maps have no order of their own, and a result must not depend on chance.
fn in_order(range: &mut IdedExpr) {
    let id = range.id;
    let args = vec![std::mem::take(range)];
    *range = IdedExpr { id, expr: Expr::Call(CallExpr { func_name: IN_ORDER.to_owned(), target: None, args }) };
}

/// `body` becomes `@tick ? body : false`; the tick fails once the budget is spent.
fn account(body: &mut IdedExpr) {
    let id = body.id;
    let node = |expr| IdedExpr { id, expr };
    let inner = std::mem::take(body);
    let args =
        vec![node(Expr::Ident(TICK.to_owned())), inner, node(Expr::Literal(LiteralValue::Boolean(false.into())))];
    *body = node(Expr::Call(CallExpr { func_name: operators::CONDITIONAL.to_owned(), target: None, args }));
}
