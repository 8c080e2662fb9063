//! Where rows come from: a portion at a time, each with the place behind it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::ports::executor::Attempt;
use core314_actors::ports::records::{Place as Where, RowQuery, RowStream};
use core314_domain::log::Failure;
use core314_domain::secret::Secrets;
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::plan::{Cursor, Format, From, Plan};
use super::position::Position;
use super::text::{self, Bytes, Records};
use super::{Shared, table};
use crate::executors::api_call::{Caller, Paging, Place, traced};
use crate::executors::client::Call;
use crate::executors::failure::Code;
use crate::executors::payload::{kind, scalar};
use crate::executors::update_record::rows::failure;

/// What a source gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Values by the source's columns.
    Row(Vec<Value>),
    Json(Value),
}

/// Items that follow each other, and the place behind them.
pub struct Portion {
    /// Each, or why it cannot be read.
    pub items: Vec<Result<Item, String>>,
    pub place: Value,
}

/// An open source.
pub enum Source<'a> {
    Pages(Box<Pages<'a>>),
    Rows(Rows),
    Text(Box<Text>),
}

impl Source<'_> {
    /// The names of columns, where the source has any.
    pub fn names(&self) -> Option<&[String]> {
        match self {
            Self::Pages(_) => None,
            Self::Rows(rows) => Some(&rows.stream.columns),
            Self::Text(text) => text.records.header.as_deref(),
        }
    }

    /// The next portion; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Portion>, Failure> {
        match self {
            Self::Pages(pages) => pages.next().await,
            Self::Rows(rows) => rows.next().await,
            Self::Text(text) => text.next().await,
        }
    }

    /// Where the next sync begins, once all is put; `None`: where this one began.
    pub fn cursor(&self) -> Option<Value> {
        match self {
            Self::Pages(pages) => pages.highest.clone(),
            Self::Rows(rows) => rows.last.clone().map(Value::Array),
            Self::Text(_) => None,
        }
    }
}

impl Shared {
    /// Opens a source behind a position.
    pub(super) async fn source<'a>(
        &self,
        plan: &Plan,
        name: &str,
        attempt: &Attempt,
        position: &Position<'_>,
        caller: Caller<'a>,
    ) -> Result<Source<'a>, Failure> {
        let place = position.state.place.as_ref();
        let cursor = position.cursor.as_ref().filter(|_| plan.is_incremental);
        // Once all is put, no more is read of a text, so it does not matter what has become of it.
        let place_in_text = place.filter(|_| !position.state.is_finishing);
        Ok(match &plan.source {
            From::Rows { of, order } => {
                let connection = attempt.source.as_deref();
                let place_of = table::place(&self.http, (&self.databases, name), connection, attempt.owner.tenant);
                let after = place.or(cursor).and_then(Value::as_array).cloned();
                if after.as_ref().is_some_and(|after| after.len() != order.len()) {
                    let message =
                        "order: is not what the kept position was made by: reset the sync, or order as before";
                    return Err(Code::StoreRefused.failure(message));
                }
                let query = RowQuery {
                    from: of.clone(),
                    order: order.clone(),
                    after: after.clone(),
                    portion_rows: plan.batch_rows,
                    portion_bytes: self.settings.batch_bytes,
                    within: attempt.timeout,
                    secrets: attempt.secrets.clone(),
                };
                let at: Where = place_of.await?;
                let stream = self.records.read(at, query).await.map_err(|error| failure(&error))?;
                let columns = order.iter().map(|name| stream.columns.iter().position(|column| column == name));
                let order = columns.collect::<Option<_>>().unwrap_or_default();
                Source::Rows(Rows { stream, order, last: after })
            }
            From::Pages { call, paging, items, cursor: of } => {
                let secrets = attempt.secrets.clone();
                let call = traced(call, attempt);
                let pages = Pages::new((caller, secrets), &call, (paging, items), (of.clone(), cursor), place)?;
                if pages.is_secret(&pages.call.url) {
                    return Err(Code::InvalidPayload.failure(KEPT));
                }
                Source::Pages(Box::new(pages))
            }
            From::Download { call, format } => {
                let mut caller = caller;
                let download = caller.open(traced(call, attempt)).await?;
                let identity = download.identity();
                let bytes = Bytes::Http(download);
                self.text(plan, (bytes, *format, identity), place_in_text).await?
            }
            From::File { name: file, format } => {
                let path = tokio::task::block_in_place(|| self.folders.file(name, attempt.owner.tenant, file));
                let path = path.map_err(|message| Code::Refused.failure(message))?;
                let (file, identity) = text::open(&path).await?;
                self.text(plan, (Bytes::File(file), *format, Some(identity)), place_in_text).await?
            }
        })
    }

    async fn text<'a>(
        &self,
        plan: &Plan,
        (bytes, format, identity): (Bytes, Format, Option<String>),
        place: Option<&Value>,
    ) -> Result<Source<'a>, Failure> {
        let is_file = matches!(bytes, Bytes::File(_));
        let mut records = Records::new(bytes, format, self.settings.max_row_bytes).await?;
        let mut rows = 0;
        if let Some(place) = place {
            if place["identity"] != json!(identity) {
                return Err(changed());
            }
            rows = place["rows"].as_u64().unwrap_or_default();
            if is_file {
                records.seek(place["bytes"].as_u64().unwrap_or_default()).await?;
            }
            // What comes by HTTP is read once more up to here.
            for _ in 0..if is_file { 0 } else { rows } {
                records.next().await?;
            }
            // Not every service says by its headers that a text is another.
            let is_other =
                place["seen"].as_str().is_some_and(|seen| told_apart(records.seen()).as_deref() != Some(seen));
            if is_other {
                return Err(changed());
            }
        }
        let (most_rows, most_bytes) = (plan.batch_rows, self.settings.batch_bytes as u64);
        Ok(Source::Text(Box::new(Text { records, identity, rows, most_rows, most_bytes })))
    }
}

fn changed() -> Failure {
    Code::SourceChanged.failure("the source has changed since it was begun: start the sync again")
}

/// What was read so far, told from all else.
fn told_apart(seen: Option<Sha256>) -> Option<String> {
    seen.map(|seen| BASE64.encode(seen.finalize()))
}

const KEPT: &str = "source.http: with next_url or link_header the place of each page is kept, and so its URL must hold no \
    secret: let an integration prove who asks";

/// Rows of a database.
pub struct Rows {
    stream: RowStream,
    /// Where in a row the columns stand that order it.
    order: Vec<usize>,
    last: Option<Vec<Value>>,
}

impl Rows {
    async fn next(&mut self) -> Result<Option<Portion>, Failure> {
        let Some(rows) = self.stream.portions.recv().await else { return Ok(None) };
        let rows = rows.map_err(|error| failure(&error))?;
        let Some(last) = rows.last() else { return Ok(None) };
        let place: Vec<Value> = self.order.iter().map(|at| last[*at].clone()).collect();
        self.last = Some(place.clone());
        Ok(Some(Portion { items: rows.into_iter().map(|row| Ok(Item::Row(row))).collect(), place: json!(place) }))
    }
}

/// Records of a text.
pub struct Text {
    records: Records,
    identity: Option<String>,
    rows: u64,
    most_rows: usize,
    most_bytes: u64,
}

impl Text {
    async fn next(&mut self) -> Result<Option<Portion>, Failure> {
        let (mut items, from, mut seen) = (Vec::new(), self.records.offset, None);
        while items.len() < self.most_rows && self.records.offset - from < self.most_bytes {
            let Some(item) = self.records.next().await? else { break };
            items.push(item);
            // Behind a record, and not behind the empty lines after it: whoever reads on does not come to those.
            seen = self.records.seen();
        }
        self.rows += items.len() as u64;
        let place = json!({"rows": self.rows, "bytes": self.records.offset, "identity": self.identity,
            "seen": told_apart(seen)});
        Ok((!items.is_empty()).then_some(Portion { items, place }))
    }
}

/// Pages of a service.
pub struct Pages<'a> {
    caller: Caller<'a>,
    /// What a kept place must not hold.
    secrets: Arc<Secrets>,
    call: Call,
    paging: Option<Paging>,
    items: String,
    cursor: Option<Cursor>,
    /// The highest place of an item so far.
    highest: Option<Value>,
    next: Option<Place>,
    left: u64,
}

impl<'a> Pages<'a> {
    fn new(
        (caller, secrets): (Caller<'a>, Arc<Secrets>),
        call: &Call,
        (paging, items): (&Option<Paging>, &str),
        (cursor, from): (Option<Cursor>, Option<&Value>),
        place: Option<&Value>,
    ) -> Result<Self, Failure> {
        let mut call = call.clone();
        if let (Some(cursor), Some(from)) = (&cursor, from.and_then(scalar)) {
            call.url.query_pairs_mut().append_pair(&cursor.parameter, &from);
        }
        let first = match paging {
            Some(paging) => paging.first(&call.url),
            None => Place { url: call.url.clone(), pages: 0, items: 0 },
        };
        let (mut next, mut highest) = (Some(first), from.cloned());
        if let Some(kept) = place {
            let count = |name: &str| kept[name].as_u64().unwrap_or_default();
            let url = kept["url"].as_str().map(Url::parse).transpose();
            let url = url.map_err(|error| Code::StoreRefused.failure(format!("the kept place is no URL: {error}")))?;
            next = url.map(|url| Place { url, pages: count("pages"), items: count("items") });
            highest = Some(kept["highest"].clone()).filter(|value| !value.is_null());
        }
        let most = paging.as_ref().map_or(1, |paging| paging.max_pages);
        let left = most.saturating_sub(next.as_ref().map_or(0, |place| place.pages));
        Ok(Self { caller, secrets, call, paging: paging.clone(), items: items.to_owned(), cursor, highest, next, left })
    }

    /// Whether a place that is kept would hold a secret.
    fn is_secret(&self, url: &Url) -> bool {
        self.secrets.redact(url.as_str()) != url.as_str()
    }

    async fn next(&mut self) -> Result<Option<Portion>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        let Some(place) = self.next.take() else { return Ok(None) };
        self.left -= 1;
        let items = if let Some(paging) = &self.paging {
            let turned = self.caller.turn(&self.call, paging, &place).await?;
            // Services give back in it what they were asked with.
            if turned.next.as_ref().is_some_and(|next| self.is_secret(&next.url)) {
                return Err(Code::UnexpectedAnswer.failure(KEPT));
            }
            self.next = turned.next;
            turned.items
        } else {
            let mut output = self.caller.send(self.call.clone()).await?;
            match output["body"].pointer_mut(&self.items).map(Value::take) {
                Some(Value::Array(items)) => items,
                found => {
                    let found = found.as_ref().map_or("nothing", kind);
                    let message = format!("source.items: what is there must be a list, is {found}");
                    return Err(Code::UnexpectedAnswer.failure(message));
                }
            }
        };
        for item in &items {
            let found = self.cursor.as_ref().and_then(|cursor| item.pointer(&cursor.field));
            if let Some(found) = found
                && self.highest.as_ref().is_none_or(|highest| is_higher(found, highest))
            {
                self.highest = Some(found.clone());
            }
        }
        let next = self.next.as_ref();
        let place = json!({"url": next.map(|place| place.url.as_str()), "pages": next.map(|place| place.pages),
            "items": next.map(|place| place.items), "highest": self.highest});
        Ok(Some(Portion { items: items.into_iter().map(|item| Ok(Item::Json(item))).collect(), place }))
    }
}

/// Numbers by their size, all else as text: times in ISO 8601 stand in their order.
fn is_higher(found: &Value, than: &Value) -> bool {
    match (found.as_f64(), than.as_f64()) {
        (Some(found), Some(than)) => found > than,
        _ => scalar(found).is_some_and(|found| scalar(than).is_none_or(|than| found > than)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_place_is_found() {
        for (found, than, expected) in [
            (json!(10), json!(9), true),
            (json!("2030-01-31"), json!("2030-01-30"), true),
            (json!("a"), json!("b"), false),
            (json!(null), json!("a"), false),
            (json!("a"), json!(null), true),
        ] {
            assert_eq!(is_higher(&found, &than), expected, "{found} {than}");
        }
    }
}
