//! Which values of an item become which columns.

use core314_domain::log::Failure;
use serde_json::{Map, Value};

use super::plan::{Plan, To};
use super::position::Failed;
use super::source::Item;
use crate::executors::failure::Code;
use crate::executors::payload::kind;

/// Where a column's value is in an item.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pick {
    At(usize),
    Pointer(String),
}

/// The columns of all rows.
#[derive(Debug)]
pub struct Columns {
    /// Empty where items are taken whole.
    pub names: Vec<String>,
    picks: Vec<Pick>,
}

/// A row with its number.
pub type Row = (u64, Vec<Value>);

impl Columns {
    /// For a source that names its columns, or whose items name their own.
    pub fn new(plan: &Plan, given: Option<&[String]>) -> Result<Self, Failure> {
        let wrong = |message: String| Code::InvalidPayload.failure(format!("/columns: {message}"));
        let (names, picks) = match (&plan.columns[..], given) {
            ([], None) => (Vec::new(), Vec::new()),
            ([], Some(given)) => (given.to_vec(), (0..given.len()).map(Pick::At).collect()),
            (columns, None) => {
                let pointer = |field: &String| {
                    let is_pointer = field.starts_with('/');
                    if is_pointer { field.clone() } else { format!("/{}", field.replace('~', "~0").replace('/', "~1")) }
                };
                let picks = columns.iter().map(|(_, field)| Pick::Pointer(pointer(field))).collect();
                (columns.iter().map(|(name, _)| name.clone()).collect(), picks)
            }
            (columns, Some(given)) => {
                let at = |(_, field): &(String, String)| {
                    let none = || wrong(format!("the source has no column '{field}'; it has: {}", given.join(", ")));
                    given.iter().position(|name| name == field).map(Pick::At).ok_or_else(none)
                };
                let picks = columns.iter().map(at).collect::<Result<_, _>>()?;
                (columns.iter().map(|(name, _)| name.clone()).collect(), picks)
            }
        };
        if let To::Table { listed, key, .. } = &plan.destination {
            if let Some(name) = names.iter().find(|name| !listed.contains(name)) {
                return Err(wrong(format!("'{name}' is no column of the destination that is named for flows")));
            }
            if let Some(name) = key.iter().find(|name| !names.contains(name)) {
                return Err(wrong(format!("the key '{name}' is none of them")));
            }
        }
        Ok(Self { names, picks })
    }

    /// The rows of a portion, and what could not be read of it. `first` is the number of its first item.
    pub fn rows(&self, first: u64, items: Vec<Result<Item, String>>) -> (Vec<Row>, Vec<Failed>) {
        let (mut rows, mut failed) = (Vec::with_capacity(items.len()), Vec::new());
        for (number, item) in (first..).zip(items) {
            match item.and_then(|item| self.row(item)) {
                Ok(row) => rows.push((number, row)),
                Err(reason) => failed.push(Failed { row: number, reason }),
            }
        }
        (rows, failed)
    }

    fn row(&self, item: Item) -> Result<Vec<Value>, String> {
        match item {
            Item::Json(whole) if self.picks.is_empty() => Ok(vec![whole]),
            Item::Json(whole) if whole.is_object() => {
                let value = |pick: &Pick| match pick {
                    Pick::Pointer(pointer) => whole.pointer(pointer).cloned().unwrap_or_default(),
                    Pick::At(_) => Value::Null,
                };
                Ok(self.picks.iter().map(value).collect())
            }
            Item::Json(other) => Err(format!("must be an object, is {}", kind(&other))),
            Item::Row(row) if self.is_straight(row.len()) => Ok(row),
            Item::Row(row) => {
                let value = |pick: &Pick| match pick {
                    Pick::At(at) => row.get(*at).cloned().unwrap_or_default(),
                    Pick::Pointer(_) => Value::Null,
                };
                Ok(self.picks.iter().map(value).collect())
            }
        }
    }

    /// Whether rows stay as they are.
    fn is_straight(&self, width: usize) -> bool {
        self.picks.len() == width && self.picks.iter().enumerate().all(|(at, pick)| *pick == Pick::At(at))
    }
}

/// A row as JSON: an object by its columns, or the item itself.
pub fn object(names: &[String], row: &[Value]) -> Value {
    match (names, row) {
        ([], [whole]) => whole.clone(),
        _ => Value::Object(names.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>()),
    }
}
