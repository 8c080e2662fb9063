//! What a payload says: from where, to where, and how rows are made. The same reading serves the check of a document and the
//! attempt.

use std::sync::Arc;

use core314_actors::ports::records::RowsOf;
use core314_domain::plan::Problem;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Map, Value};

use super::SyncSettings;
use super::folders::name_problem;
use crate::executors::api_call::{self, Asked, Paging};
use crate::executors::client::Call;
use crate::executors::connect::Address;
use crate::executors::payload::{Reader, Reading, kind};
use crate::executors::update_record::{QUERIES, TABLES};

const KEYS: [&str; 7] = ["name", "source", "destination", "columns", "incremental", "batch_rows", "max_failed"];
const SOURCE_KEYS: [&str; 10] =
    ["from", "http", "items", "cursor", "table", "query", "order", "file", "format", "delimiter"];
const DESTINATION_KEYS: [&str; 7] = ["table", "key", "http", "wrap", "file", "format", "delimiter"];
const MAX_NAME_CHARS: usize = 200;
const MAX_COLUMNS: usize = 1_000;

/// What a name stands for.
#[derive(Debug, Clone)]
pub enum End {
    /// A service; where its endpoint is known, it is here.
    Http { endpoint: Option<Arc<str>>, is_integration: bool },
    /// A database: the tables, and the statements, that are named for flows.
    Tables(Map<String, Value>),
    /// A folder of this machine.
    Folder,
    /// Nothing is named: the payload says a URL.
    Open,
}

/// What both names stand for.
#[derive(Debug)]
pub struct Ends {
    pub source: End,
    pub destination: End,
}

/// A payload that was read.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    pub source: From,
    pub destination: To,
    /// By the destination's names, the source's; none: as they come.
    pub columns: Vec<(String, String)>,
    pub is_incremental: bool,
    pub batch_rows: usize,
    pub max_failed: u64,
}

/// Where rows come from.
#[derive(Debug)]
pub enum From {
    Pages { call: Call, paging: Option<Paging>, items: String, cursor: Option<Cursor> },
    Rows { of: RowsOf, order: Vec<String> },
    Download { call: Call, format: Format },
    File { name: String, format: Format },
}

/// Where rows go.
#[derive(Debug)]
pub enum To {
    Table { table: String, listed: Vec<String>, key: Vec<String> },
    Http { call: Box<Call>, wrap: Option<String> },
    File { name: String, format: Format },
}

/// How a service is asked for what is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Where in an item its place is: a JSON pointer.
    pub field: String,
    /// The parameter of the query that gets the highest of before.
    pub parameter: String,
}

/// What a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Fields between these; the first record has the names.
    Csv(u8),
    /// A value of JSON a line.
    Lines,
}

/// The integration, database or folder that the source names, where it is known yet.
pub fn source_name(payload: &Value) -> Option<&str> {
    payload["source"]["from"].as_str().filter(|name| !name.is_empty())
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
pub fn read(
    payload: &Value,
    reading: Reading,
    ends: &Ends,
    settings: &SyncSettings,
) -> Result<Option<Plan>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    for key in ["name", "source", "destination"] {
        if !reader.has(key) {
            reader.problem(&[key], "is required");
        }
    }
    let name = reader.said("name", MAX_NAME_CHARS).map(str::to_owned);
    let source = below(&mut reader, "source", reading, |inner| read_source(inner, reading, &ends.source));
    let destination =
        below(&mut reader, "destination", reading, |inner| read_destination(inner, reading, &ends.destination));
    let columns = read_columns(&mut reader);
    let is_incremental = reader.flag("incremental").unwrap_or_default();
    let most = settings.batch_rows as u64;
    let batch_rows = reader.whole("batch_rows", 1, most).unwrap_or(most) as usize;
    let max_failed = reader.whole("max_failed", 0, u64::from(u32::MAX)).unwrap_or_default();
    if let (Some(source), Some(destination)) = (&source, &destination) {
        judge(&mut reader, source, destination, is_incremental);
    }
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let (Some(name), Some(source), Some(destination)) = (name, source, destination) else { return Ok(None) };
    Ok(Some(Plan { name, source, destination, columns, is_incremental, batch_rows, max_failed }))
}

/// What goes together.
fn judge(reader: &mut Reader<'_>, source: &From, destination: &To, is_incremental: bool) {
    let has_cursor = matches!(source, From::Rows { .. } | From::Pages { cursor: Some(_), .. });
    if is_incremental && !has_cursor {
        reader.problem(&["incremental"], "needs a table or query with `order`, or `http` with `cursor`, as its source");
    }
    let is_named = !matches!(
        source,
        From::Pages { .. } | From::Download { format: Format::Lines, .. } | From::File { format: Format::Lines, .. }
    );
    let wants_names = matches!(destination, To::Table { .. } | To::File { format: Format::Csv(_), .. });
    if wants_names && !is_named && !reader.has("columns") {
        reader.problem(&["columns"], "is required: JSON does not say which of its members become columns");
    }
}

/// A member that is an object, read by a reader of its own.
fn below<'a, T>(
    reader: &mut Reader<'a>,
    key: &str,
    reading: Reading,
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Option<T> {
    let said = reader.get(key)?;
    let (found, problems) = match Reader::new(said, reading) {
        Ok(mut inner) => (read(&mut inner), inner.problems),
        Err(problems) => (None, problems),
    };
    let is_sound = problems.is_empty();
    reader.problems.extend(problems.into_iter().map(|it| Problem { pointer: format!("/{key}{}", it.pointer), ..it }));
    found.filter(|_| is_sound)
}

fn read_source(reader: &mut Reader<'_>, reading: Reading, end: &End) -> Option<From> {
    reader.only(&SOURCE_KEYS);
    if reader.has("from") && reader.get("from").is_none() {
        return None;
    }
    match one_of(reader, &["http", "table", "query", "file"])? {
        "http" => {
            let asked = read_request(reader, reading, end)?;
            match read_format(reader, None) {
                Some(format) => Some(From::Download { call: asked.call, format }),
                None => Some(read_pages(reader, reading, asked)),
            }
        }
        "file" => {
            let (name, format) = read_file(reader, end)?;
            Some(From::File { name, format })
        }
        key => {
            let End::Tables(named) = end else {
                no_tables(reader, key, "from", end);
                return None;
            };
            let order = names(reader, "order", true);
            let of = if key == "table" {
                read_table(reader, named).map(|(table, columns)| RowsOf::Table { table, columns })
            } else {
                read_query(reader, named)
            }?;
            if let RowsOf::Table { columns, .. } = &of
                && let Some(name) = order.iter().find(|name| !columns.contains(name))
            {
                reader.problem(&["order"], format!("'{name}' is no column that is named for flows"));
            }
            Some(From::Rows { of, order })
        }
    }
}

fn read_pages(reader: &mut Reader<'_>, reading: Reading, asked: Asked) -> From {
    let items = reader.pointer("items", "/data/items").unwrap_or_default().to_owned();
    if reader.has("items") && asked.paging.is_some() {
        reader.problem(&["items"], "stands in http.paging, where there are pages");
    }
    let cursor = below(reader, "cursor", reading, |inner| {
        inner.only(&["field", "parameter"]);
        for key in ["field", "parameter"] {
            if !inner.has(key) {
                inner.problem(&[key], "is required");
            }
        }
        let field = inner.pointer("field", "/updated_at")?.to_owned();
        if field.is_empty() {
            inner.problem(&["field"], "must name a member, such as /updated_at");
        }
        Some(Cursor { field, parameter: inner.said("parameter", MAX_NAME_CHARS)?.to_owned() })
    });
    let has_limit = reader.get("http").is_some_and(|http| !http["paging"]["max_pages"].is_null());
    if has_limit && cursor.is_some() {
        let message = "ends a sync before its last page, and what is new behind it would never be read: leave it out beside cursor";
        reader.problem(&["http", "paging", "max_pages"], message);
    }
    let paging = asked.paging.map(|paging| if has_limit { paging } else { paging.unbounded() });
    From::Pages { call: asked.call, paging, items, cursor }
}

fn read_destination(reader: &mut Reader<'_>, reading: Reading, end: &End) -> Option<To> {
    reader.only(&DESTINATION_KEYS);
    match one_of(reader, &["table", "http", "file"])? {
        "http" => {
            let Asked { mut call, .. } = read_request(reader, reading, end)?;
            if !reader.get("http").is_some_and(|http| http["method"].is_string()) {
                call.method = reqwest::Method::POST;
            }
            call.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            call.follow_redirects = false;
            Some(To::Http { call: Box::new(call), wrap: reader.said("wrap", MAX_NAME_CHARS).map(str::to_owned) })
        }
        "file" => {
            let (name, format) = read_file(reader, end)?;
            Some(To::File { name, format })
        }
        _ => {
            let End::Tables(named) = end else {
                no_tables(reader, "table", "action_target", end);
                return None;
            };
            let key = names(reader, "key", true);
            let (table, listed) = read_table(reader, named)?;
            if let Some(name) = key.iter().find(|name| !listed.contains(name)) {
                reader.problem(&["key"], format!("'{name}' is no column that is named for flows"));
            }
            Some(To::Table { table, listed, key })
        }
    }
}

/// What is named is no database; it may become one where it is nothing yet.
fn no_tables(reader: &mut Reader<'_>, key: &str, named_by: &str, end: &End) {
    let message = format!(
        "needs `{named_by}` to name an integration of the kind postgres, or a database of executors.records.sqlite"
    );
    let problem = Problem::new(format!("/{key}"), message);
    let is_nothing = matches!(end, End::Http { is_integration: false, .. });
    reader.problems.push(if is_nothing { problem.of_absence() } else { problem });
}

/// Which of these is given: exactly one must be.
fn one_of(reader: &mut Reader<'_>, keys: &[&'static str]) -> Option<&'static str> {
    let given: Vec<&&str> = keys.iter().filter(|key| reader.has(key)).collect();
    match given[..] {
        [one] => Some(*one),
        [] => {
            reader.problem(&[], format!("needs one of: {}", keys.join(", ")));
            None
        }
        [_, second, ..] => {
            reader.problem(&[*second], format!("only one of {} can be given", keys.join(", ")));
            None
        }
    }
}

/// A request of `api_call`.
fn read_request(reader: &mut Reader<'_>, reading: Reading, end: &End) -> Option<Asked> {
    let address = match end {
        End::Http { endpoint: Some(endpoint), .. } => Address::At(endpoint),
        End::Http { is_integration: true, .. } => Address::Elsewhere,
        End::Http { .. } => Address::Absent,
        End::Open => Address::InPayload,
        End::Tables(_) | End::Folder => {
            reader.problem(&["http"], "needs an integration of the kind http, or a url and no integration");
            return None;
        }
    };
    match api_call::read(reader.get("http")?, reading, address, None) {
        Ok(asked) => asked,
        Err(problems) => {
            let found = problems.into_iter().map(|it| Problem { pointer: format!("/http{}", it.pointer), ..it });
            reader.problems.extend(found);
            None
        }
    }
}

fn read_table(reader: &mut Reader<'_>, named: &Map<String, Value>) -> Option<(String, Vec<String>)> {
    let table = reader.text("table")?;
    let tables = named.get(TABLES).and_then(Value::as_object);
    let columns = tables.and_then(|tables| tables.get(table)).and_then(Value::as_array);
    if columns.is_none() {
        let known: Vec<&str> = tables.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        reader.problem(&["table"], format!("'{table}' is no table that is named for flows: {}", known.join(", ")));
    }
    Some((table.to_owned(), columns?.iter().filter_map(Value::as_str).map(str::to_owned).collect()))
}

fn read_query(reader: &mut Reader<'_>, named: &Map<String, Value>) -> Option<RowsOf> {
    let query = reader.text("query")?;
    let queries = named.get(QUERIES).and_then(Value::as_object);
    let sql = queries.and_then(|queries| queries.get(query)).and_then(Value::as_str);
    if sql.is_none() {
        let known: Vec<&str> = queries.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        reader.problem(&["query"], format!("'{query}' is no query that is named for flows: {}", known.join(", ")));
    }
    sql.map(|sql| RowsOf::Query(sql.to_owned()))
}

fn read_file(reader: &mut Reader<'_>, end: &End) -> Option<(String, Format)> {
    if !matches!(end, End::Folder) {
        reader.problem(&["file"], "needs a folder that executors.sync.folders of this server's configuration names");
        return None;
    }
    let name = reader.text("file")?.to_owned();
    if let Some(problem) = name_problem(&name) {
        reader.problem(&["file"], problem);
    }
    let of_name = name.rsplit_once('.').map(|(_, ending)| ending.to_owned());
    let format = read_format(reader, of_name.as_deref());
    if format.is_none() && !reader.has("format") {
        reader.problem(&["format"], "is required where the file's name does not end with .csv or .jsonl: csv, jsonl");
    }
    Some((name, format?))
}

/// What a text is made of; `None` where nothing says it, or where it is JSON.
fn read_format(reader: &mut Reader<'_>, of_name: Option<&str>) -> Option<Format> {
    let delimiter = match reader.text("delimiter").map(str::as_bytes) {
        None => b',',
        Some(&[one]) if !matches!(one, b'"' | b'\r' | b'\n') && one.is_ascii() => one,
        Some(_) => {
            reader.problem(&["delimiter"], "must be one character of ASCII, and no quote or line break");
            b','
        }
    };
    match reader.text("format").or(of_name) {
        Some("csv") => Some(Format::Csv(delimiter)),
        Some("jsonl") => Some(Format::Lines),
        Some("json") if of_name.is_none() => None,
        Some(other) if reader.has("format") => {
            reader.problem(&["format"], format!("'{other}' is not one of: csv, jsonl, and json by http"));
            None
        }
        _ => None,
    }
}

fn read_columns(reader: &mut Reader<'_>) -> Vec<(String, String)> {
    match reader.get("columns") {
        None => Vec::new(),
        Some(Value::Array(_)) => names(reader, "columns", false).into_iter().map(|name| (name.clone(), name)).collect(),
        Some(Value::Object(map)) => {
            let mut columns = Vec::new();
            for (name, field) in map {
                match field.as_str() {
                    Some(field) if !field.is_empty() => columns.push((name.clone(), field.to_owned())),
                    _ => reader
                        .problem(&["columns", name], format!("must name a field of the source, is {}", kind(field))),
                }
            }
            columns
        }
        Some(other) => {
            reader.problem(&["columns"], format!("must be an object or a list, is {}", kind(other)));
            Vec::new()
        }
    }
}

/// Names, each once.
fn names(reader: &mut Reader<'_>, key: &str, is_required: bool) -> Vec<String> {
    if is_required && !reader.has(key) {
        reader.problem(&[key], "is required: a list of columns that tells each row from all others");
    }
    let mut names: Vec<String> = Vec::new();
    for (place, item) in reader.list(key, MAX_COLUMNS) {
        match item.as_str() {
            Some(name) if !name.is_empty() && !names.iter().any(|known| known == name) => names.push(name.to_owned()),
            _ => reader.problem(&[key, &place], "must be a column, and each only once"),
        }
    }
    if names.is_empty() && reader.get(key).is_some_and(|list| list.as_array().is_some_and(Vec::is_empty)) {
        reader.problem(&[key], "must not be empty");
    }
    names
}

#[cfg(test)]
mod tests;
