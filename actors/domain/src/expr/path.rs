//! Member paths: `trigger.host.name`, `steps["drain"].output.items[0]`.
//!
//! Nearly everything that flows say is a member path and something to do with it. A path is checked
//! when it is parsed and walked over the scope's own JSON when it is evaluated, so that its cost is
//! its length, whatever the size of the event. Both languages end up here.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::limits;
use super::scope::{EXECUTION, Names, STEP_MEMBERS, Scope, StepView};
use super::syntax::{Kind, Token};
use super::types::Types;
use crate::secret::name_problem;
use crate::suggest::did_you_mean;

/// One key of a path: a member's name or a place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Name(Box<str>),
    Index(usize),
}

/// A root of the scope and the keys that lead from it to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    root: Box<str>,
    keys: Box<[Key]>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'s> {
    Json(&'s Value),
    Text(&'s str),
    Null,
    Time(DateTime<Utc>),
    Step(&'s StepView),
}

impl Path {
    /// Checks a path against the names that exist where it stands.
    pub(super) fn new(root: &str, keys: Vec<Key>, names: &Names) -> Result<Self, String> {
        names.check_root(root)?;
        if keys.len() > limits::DEPTH {
            return Err(format!("a path of more than {} members", limits::DEPTH));
        }
        if root == "steps" {
            check_step(&keys, names)?;
        }
        if root == "now" && !keys.is_empty() {
            return Err("`now` is a time and has no members".to_owned());
        }
        Ok(Self { root: root.into(), keys: keys.into() })
    }

    /// Refuses members that by their types cannot be there.
    pub(super) fn check_types(&self, types: &Types) -> Result<(), String> {
        // It is a text, though a step as a whole has no such member.
        if execution_of(&self.root, &self.keys).is_some() {
            return Ok(());
        }
        let mut of = types.root(&self.root);
        for (at, key) in self.keys.iter().enumerate() {
            let shown = || Self { root: self.root.clone(), keys: self.keys[..at].into() }.to_string();
            of = match key {
                Key::Name(name) => types.member(&of, name, &shown())?,
                Key::Index(_) => of.element(&shown())?,
            };
        }
        Ok(())
    }

    /// Walks the path. The error says which key is missing, and in what.
    pub(super) fn find<'s>(&self, scope: &'s Scope) -> Result<Found<'s>, String> {
        let (start, used): (&Arc<Value>, usize) = match &*self.root {
            "trigger" => (&scope.trigger, 0),
            "webhook" => (&scope.webhook, 0),
            "input" => (&scope.input, 0),
            "flow" => (&scope.flow, 0),
            "run" => (&scope.run, 0),
            "tenant" => (&scope.tenant, 0),
            "vars" => (&scope.vars, 0),
            "loop" => (&scope.round, 0),
            "event" => (&scope.event, 0),
            "secrets" => (&scope.secrets, 0),
            "now" => return Ok(Found::Time(scope.now)),
            _ => {
                if let Some(id) = execution_of(&self.root, &self.keys) {
                    let found = scope.steps.execution(id).map(Found::Text);
                    return found.ok_or_else(|| format!("the execution of step `{id}` is not known here"));
                }
                let step = self.step(scope)?;
                match self.keys.get(1) {
                    None => return Ok(Found::Step(step)),
                    Some(Key::Name(member)) if &**member == "status" => return Ok(Found::Text(step.status)),
                    Some(Key::Name(member)) if &**member == "error" => {
                        return Ok(step.error.as_deref().map_or(Found::Null, Found::Text));
                    }
                    Some(_) => (step.output.get()?, 2),
                }
            }
        };
        walk(start, &self.keys[used..]).map(Found::Json).map_err(|missing| self.missing(used + missing))
    }

    /// Whether it is `steps.ID.output` itself: every step that has run has one, at hand or not.
    pub(super) fn is_output(&self) -> bool {
        &*self.root == "steps" && matches!(&self.keys[..], [_, Key::Name(member)] if &**member == "output")
    }

    fn step<'s>(&self, scope: &'s Scope) -> Result<&'s StepView, String> {
        match self.keys.first() {
            Some(Key::Name(id)) => scope.steps.get(id).ok_or_else(|| format!("step `{id}` has not run")),
            _ => Err(NO_STEP.to_owned()),
        }
    }

    /// `trigger.host` has no member `name`.
    fn missing(&self, at: usize) -> String {
        let shown = Self { root: self.root.clone(), keys: self.keys[..at].into() };
        match &self.keys[at] {
            Key::Name(name) => format!("`{shown}` has no member `{name}`"),
            Key::Index(index) => format!("`{shown}` has no element {index}"),
        }
    }
}

/// The step, where a path is `steps.ID.execution_id`.
pub(super) fn execution_of<'k>(root: &str, keys: &'k [Key]) -> Option<&'k str> {
    match keys {
        [Key::Name(id), Key::Name(member)] if root == "steps" && &**member == EXECUTION => Some(&**id),
        _ => None,
    }
}

/// The name of a secret, where an expression is one: a secret's value is not known when expressions are evaluated, so that
/// nothing can be done with it there.
pub(super) fn secret(found: &[Token<'_>], names: &Names<'_>) -> Result<Option<Arc<str>>, String> {
    const ALONE: &str = "a secret stands alone, as in `{{ secrets.NAME }}`: no operator, filter or member goes with it";
    let is_named = |(at, token): (usize, &Token<'_>)| {
        token.kind == Kind::Word && token.text == "secrets" && (at == 0 || found[at - 1].text != ".")
    };
    if !found.iter().enumerate().any(is_named) {
        return Ok(None);
    }
    names.check_root("secrets")?;
    match read(found) {
        Some((root, keys, used)) if root == "secrets" && used == found.len() => match &keys[..] {
            [Key::Name(name)] => match name_problem(name) {
                None => Ok(Some(Arc::from(&**name))),
                Some(problem) => Err(format!("{ALONE}; its name {problem}")),
            },
            _ => Err(ALONE.to_owned()),
        },
        _ => Err(ALONE.to_owned()),
    }
}

const NO_STEP: &str = "`steps` must be followed by the id of a step, as in `steps.ID.output` or `steps[\"ID\"].output`";

/// The members that expressions may use of a step are known, so a misspelt one is refused at once.
fn check_step(keys: &[Key], names: &Names) -> Result<(), String> {
    let Some(Key::Name(id)) = keys.first() else { return Err(NO_STEP.to_owned()) };
    if let Some(Key::Name(member)) = keys.get(1)
        && &**member == EXECUTION
    {
        names.check_execution(id)?;
        return if keys.len() > 2 { Err(format!("`steps.{id}.{member}` has no members")) } else { Ok(()) };
    }
    names.check_step(id)?;
    match keys.get(1) {
        None => Ok(()),
        Some(Key::Name(member)) if STEP_MEMBERS.contains(&&**member) => {
            let leaf = &**member != "output" && keys.len() > 2;
            if leaf { Err(format!("`steps.{id}.{member}` has no members")) } else { Ok(()) }
        }
        Some(key) => {
            let guess = match key {
                Key::Name(name) => did_you_mean(name, STEP_MEMBERS.iter().copied().chain([EXECUTION])),
                Key::Index(_) => String::new(),
            };
            Err(format!("a step has {}, {EXECUTION}, and nothing else{guess}", STEP_MEMBERS.join(", ")))
        }
    }
}

/// Follows keys through JSON; the error is the place of the first key that leads nowhere.
pub(super) fn walk<'v>(start: &'v Value, keys: &[Key]) -> Result<&'v Value, usize> {
    let mut here = start;
    for (at, key) in keys.iter().enumerate() {
        let next = match (here, key) {
            (Value::Object(map), Key::Name(name)) => map.get(&**name),
            (Value::Array(list), Key::Index(index)) => list.get(*index),
            _ => None,
        };
        here = next.ok_or(at)?;
    }
    Ok(here)
}

/// Reads a path off the tokens of a text, if that is what it begins with: its root, its keys, and
/// how many tokens it takes.
pub(super) fn read(found: &[Token<'_>]) -> Option<(String, Vec<Key>, usize)> {
    let root = found.first().filter(|token| token.kind == Kind::Word)?;
    let mut keys = Vec::new();
    let mut used = 1;
    loop {
        let key = match found.get(used..).unwrap_or_default() {
            [dot, name, ..] if dot.text == "." && name.kind == Kind::Word => {
                used += 2;
                Key::Name(name.text.into())
            }
            [open, inner, close, ..] if open.text == "[" && close.text == "]" => {
                let Some(key) = literal(inner) else { break };
                used += 3;
                key
            }
            _ => break,
        };
        keys.push(key);
    }
    Some((root.text.to_owned(), keys, used))
}

/// A text without escapes, or a plain number.
fn literal(token: &Token<'_>) -> Option<Key> {
    match token.kind {
        Kind::Text => {
            let inner = token.text.get(1..token.text.len() - 1)?;
            (!inner.contains('\\')).then(|| Key::Name(inner.into()))
        }
        Kind::Number => token.text.parse().ok().map(Key::Index),
        Kind::Word | Kind::Mark => None,
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.root)?;
        for key in &self.keys {
            match key {
                Key::Name(name) if name.chars().all(|c| c.is_alphanumeric() || c == '_') => write!(f, ".{name}")?,
                Key::Name(name) => write!(f, "[{name:?}]")?,
                Key::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::syntax::{Language, tokens};
    use super::super::tests::{NAMES, scope};
    use super::*;

    fn path(text: &str) -> Result<Path, String> {
        let found = tokens(text, Language::Jinja).unwrap();
        let (root, keys, used) = read(&found).unwrap();
        assert_eq!(used, found.len(), "{text}");
        Path::new(&root, keys, &NAMES)
    }

    fn json(text: &str) -> Result<Value, String> {
        let scope = scope();
        match path(text)?.find(&scope)? {
            Found::Json(value) => Ok(value.clone()),
            Found::Text(text) => Ok(text.into()),
            Found::Null => Ok(Value::Null),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn walks_objects_lists_and_steps() {
        assert_eq!(json("trigger.host"), Ok("web-1".into()));
        assert_eq!(json("trigger['tags'][1]"), Ok("eu".into()));
        assert_eq!(json("steps.drain.output.state"), Ok("drained".into()));
        assert_eq!(json("steps.drain.status"), Ok("succeeded".into()));
        assert_eq!(json("steps.drain.error"), Ok(Value::Null));
        assert_eq!(json("steps[\"restart-host\"].error"), Ok("refused".into()));
    }

    #[test]
    fn says_what_is_missing() {
        assert_eq!(json("trigger.a.b"), Err("`trigger` has no member `a`".into()));
        assert_eq!(json("trigger.tags[9]"), Err("`trigger.tags` has no element 9".into()));
        assert_eq!(json("trigger.host.name"), Err("`trigger.host` has no member `name`".into()));
        assert_eq!(json("steps.later.output"), Err("step `later` has not run".into()));
    }

    #[test]
    fn refuses_what_cannot_exist() {
        for text in
            ["steps", "steps[0]", "steps.nope.output", "steps.drain.outptu", "steps.drain.status.x", "now.x", "x.y"]
        {
            assert!(path(text).is_err(), "{text}");
        }
        assert!(path(&format!("trigger{}", ".a".repeat(limits::DEPTH + 1))).is_err());
    }
}
