//! The rows of the append-only tables: how they are bound, read back and hashed.
//!
//! A row's hash covers every column but the hash itself. What is written and what a verification reads make the same
//! structure, and [`LogRow::content`] and [`AuditRow::content`] are the only places that know its form. They are
//! persisted formats: a column is added at the end, under a rule that leaves the hashes of older rows as they are.

use std::borrow::Cow;

use core314_domain::audit::AuditEntry;
use core314_domain::chain::{Content, Hash};
use core314_domain::ids::{RunId, TenantId};
use core314_domain::log::LogEntry;
use uuid::Uuid;

use super::blobs::Texts;
use super::cell::{Cell, Fields, parse};
use super::failure::Failure;
use super::json;

/// Where a row stands in its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub id: Uuid,
    pub partition: u16,
    pub seq: i64,
}

/// A row of `log`. JSON columns are texts as [`json::text_of`] writes them.
#[derive(Debug)]
pub(super) struct LogRow<'a> {
    pub place: Place,
    tenant: Uuid,
    run: Uuid,
    step: i64,
    attempt: i64,
    action_type: Cow<'a, str>,
    action_target: Cow<'a, str>,
    payload: String,
    status: Cow<'a, str>,
    is_final: bool,
    success: bool,
    result: Option<String>,
    error: Option<Cow<'a, str>>,
    error_code: Option<Cow<'a, str>>,
    error_details: Option<String>,
    started_at_ms: i64,
    completed_at_ms: i64,
    duration_ms: Option<i64>,
    queue_wait_ms: i64,
    http_method: Option<Cow<'a, str>>,
    http_endpoint: Option<Cow<'a, str>>,
    http_status_code: Option<i64>,
    http_time_ms: Option<i64>,
    http_request_bytes: Option<i64>,
    http_response_bytes: Option<i64>,
}

/// The columns in the order in which [`LogRow::read`] reads them and [`LogRow::cells`] writes them.
macro_rules! log_columns {
    () => {
        "id, partition, seq, row_hash, tenant_id, run_id, step_no, attempt, action_type, action_target, payload, \
         execution_status, is_final, success, result, error, error_code, error_details, started_at_ms, \
         completed_at_ms, duration_ms, queue_wait_ms, http_method, http_endpoint, http_status_code, http_time_ms, \
         http_request_bytes, http_response_bytes"
    };
}
pub(super) use log_columns;

/// How many columns `log` has.
pub(super) const LOG_WIDTH: usize = 28;

impl<'a> LogRow<'a> {
    pub fn new(place: Place, tenant: TenantId, run: RunId, entry: &'a LogEntry, texts: Texts) -> Self {
        let failure = entry.failure.as_ref();
        let http = entry.http.as_ref();
        Self {
            place,
            tenant: tenant.0,
            run: run.0,
            step: entry.step.into(),
            attempt: entry.attempt.into(),
            action_type: Cow::Borrowed(&entry.action_type),
            action_target: Cow::Borrowed(&entry.action_target),
            payload: texts.payload,
            status: Cow::Borrowed(entry.status.as_str()),
            is_final: entry.is_final,
            success: entry.success(),
            result: texts.result,
            error: failure.map(|f| Cow::Borrowed(f.message.as_str())),
            error_code: failure.map(|f| Cow::Borrowed(f.code.as_str())),
            error_details: failure.and_then(|f| f.details.as_ref()).map(json::text_of),
            started_at_ms: entry.started_at_ms,
            completed_at_ms: entry.completed_at_ms,
            duration_ms: entry.duration_ms,
            queue_wait_ms: entry.queue_wait_ms,
            http_method: http.map(|h| Cow::Borrowed(h.method.as_str())),
            http_endpoint: http.map(|h| Cow::Borrowed(h.endpoint.as_str())),
            http_status_code: http.and_then(|h| h.status_code).map(i64::from),
            http_time_ms: http.and_then(|h| h.response_time_ms),
            http_request_bytes: http.and_then(|h| h.request_bytes),
            http_response_bytes: http.and_then(|h| h.response_bytes),
        }
    }

    /// Reads a row and the hash stored with it.
    pub fn read(fields: &mut Fields<'_>) -> Result<(LogRow<'static>, Hash), Failure> {
        let id = fields.uuid()?;
        let place = Place { id, partition: fields.small()?, seq: fields.int()? };
        let hash = fields.hash()?;
        let row = LogRow {
            place,
            tenant: fields.uuid()?,
            run: fields.uuid()?,
            step: fields.int()?,
            attempt: fields.int()?,
            action_type: fields.text()?.into(),
            action_target: fields.text()?.into(),
            payload: rewritten(&fields.text()?)?,
            status: fields.text()?.into(),
            is_final: fields.bool()?,
            success: fields.bool()?,
            result: fields.maybe_text()?.as_deref().map(rewritten).transpose()?,
            error: fields.maybe_text()?.map(Cow::Owned),
            error_code: fields.maybe_text()?.map(Cow::Owned),
            error_details: fields.maybe_text()?.as_deref().map(rewritten).transpose()?,
            started_at_ms: fields.int()?,
            completed_at_ms: fields.int()?,
            duration_ms: fields.maybe_int()?,
            queue_wait_ms: fields.int()?,
            http_method: fields.maybe_text()?.map(Cow::Owned),
            http_endpoint: fields.maybe_text()?.map(Cow::Owned),
            http_status_code: fields.maybe_int()?,
            http_time_ms: fields.maybe_int()?,
            http_request_bytes: fields.maybe_int()?,
            http_response_bytes: fields.maybe_int()?,
        };
        Ok((row, hash))
    }

    /// What the row's hash covers.
    pub fn content(&self) -> Content {
        Content::of("execution_log")
            .bytes(self.place.id.as_bytes())
            .int(Some(self.place.partition.into()))
            .int(Some(self.place.seq))
            .bytes(self.tenant.as_bytes())
            .bytes(self.run.as_bytes())
            .int(Some(self.step))
            .int(Some(self.attempt))
            .text(Some(&self.action_type))
            .text(Some(&self.action_target))
            .bytes(&json::digest(Some(&self.payload)))
            .text(Some(&self.status))
            .int(Some(self.is_final.into()))
            .int(Some(self.success.into()))
            .bytes(&json::digest(self.result.as_deref()))
            .text(self.error.as_deref())
            .text(self.error_code.as_deref())
            .bytes(&json::digest(self.error_details.as_deref()))
            .int(Some(self.started_at_ms))
            .int(Some(self.completed_at_ms))
            .int(self.duration_ms)
            .int(Some(self.queue_wait_ms))
            .text(self.http_method.as_deref())
            .text(self.http_endpoint.as_deref())
            .int(self.http_status_code)
            .int(self.http_time_ms)
            .int(self.http_request_bytes)
            .int(self.http_response_bytes)
    }

    /// The row to insert.
    pub fn cells(self, hash: Hash) -> [Cell<'a>; LOG_WIDTH] {
        [
            self.place.id.into(),
            self.place.partition.into(),
            self.place.seq.into(),
            hash.into(),
            self.tenant.into(),
            self.run.into(),
            self.step.into(),
            self.attempt.into(),
            Cell::Text(Some(self.action_type)),
            Cell::Text(Some(self.action_target)),
            Cell::Json(Some(self.payload.into())),
            Cell::Text(Some(self.status)),
            self.is_final.into(),
            self.success.into(),
            Cell::Json(self.result.map(Cow::Owned)),
            Cell::Text(self.error),
            Cell::Text(self.error_code),
            Cell::Json(self.error_details.map(Cow::Owned)),
            self.started_at_ms.into(),
            self.completed_at_ms.into(),
            self.duration_ms.into(),
            self.queue_wait_ms.into(),
            Cell::Text(self.http_method),
            Cell::Text(self.http_endpoint),
            self.http_status_code.into(),
            self.http_time_ms.into(),
            self.http_request_bytes.into(),
            self.http_response_bytes.into(),
        ]
    }
}

/// A row of `audit`.
#[derive(Debug)]
pub(super) struct AuditRow<'a> {
    pub place: Place,
    tenant: Uuid,
    user: Uuid,
    organization: Option<Uuid>,
    event: Cow<'a, str>,
    actor: Cow<'a, str>,
    subject_type: Cow<'a, str>,
    subject: Option<Uuid>,
    decision_event: Option<Uuid>,
    summary: Cow<'a, str>,
    details: String,
    at_ms: i64,
}

/// The columns in the order in which [`AuditRow::read`] reads them and [`AuditRow::cells`] writes them.
macro_rules! audit_columns {
    () => {
        "id, partition, seq, row_hash, tenant_id, user_id, organization_id, event_type, actor, subject_type, \
         subject_id, decision_event_id, summary, details, at_ms"
    };
}
pub(super) use audit_columns;

/// How many columns `audit` has.
pub(super) const AUDIT_WIDTH: usize = 15;

impl<'a> AuditRow<'a> {
    pub fn new(place: Place, entry: &'a AuditEntry) -> Self {
        Self {
            place,
            tenant: entry.owner.tenant.0,
            user: entry.owner.user.0,
            organization: entry.owner.organization.map(|o| o.0),
            event: Cow::Borrowed(entry.event.as_str()),
            actor: Cow::Borrowed(&entry.actor),
            subject_type: Cow::Borrowed(entry.subject_type),
            subject: entry.subject_id,
            decision_event: entry.decision_event_id.map(|id| id.0),
            summary: Cow::Borrowed(&entry.summary),
            details: json::text_of(&entry.details),
            at_ms: entry.at_ms,
        }
    }

    /// Reads a row and the hash stored with it.
    pub fn read(fields: &mut Fields<'_>) -> Result<(AuditRow<'static>, Hash), Failure> {
        let id = fields.uuid()?;
        let place = Place { id, partition: fields.small()?, seq: fields.int()? };
        let hash = fields.hash()?;
        let row = AuditRow {
            place,
            tenant: fields.uuid()?,
            user: fields.uuid()?,
            organization: fields.maybe_uuid()?,
            event: fields.text()?.into(),
            actor: fields.text()?.into(),
            subject_type: fields.text()?.into(),
            subject: fields.maybe_uuid()?,
            decision_event: fields.maybe_uuid()?,
            summary: fields.text()?.into(),
            details: rewritten(&fields.text()?)?,
            at_ms: fields.int()?,
        };
        Ok((row, hash))
    }

    /// What the row's hash covers.
    pub fn content(&self) -> Content {
        let optional = |id: &Option<Uuid>| id.map(|id| id.to_string());
        Content::of("decision_audit_log")
            .bytes(self.place.id.as_bytes())
            .int(Some(self.place.partition.into()))
            .int(Some(self.place.seq))
            .bytes(self.tenant.as_bytes())
            .bytes(self.user.as_bytes())
            .text(optional(&self.organization).as_deref())
            .text(Some(&self.event))
            .text(Some(&self.actor))
            .text(Some(&self.subject_type))
            .text(optional(&self.subject).as_deref())
            .text(optional(&self.decision_event).as_deref())
            .text(Some(&self.summary))
            .bytes(&json::digest(Some(&self.details)))
            .int(Some(self.at_ms))
    }

    /// The row to insert.
    pub fn cells(self, hash: Hash) -> [Cell<'a>; AUDIT_WIDTH] {
        [
            self.place.id.into(),
            self.place.partition.into(),
            self.place.seq.into(),
            hash.into(),
            self.tenant.into(),
            self.user.into(),
            self.organization.into(),
            Cell::Text(Some(self.event)),
            Cell::Text(Some(self.actor)),
            Cell::Text(Some(self.subject_type)),
            self.subject.into(),
            self.decision_event.into(),
            Cell::Text(Some(self.summary)),
            Cell::Json(Some(self.details.into())),
            self.at_ms.into(),
        ]
    }
}

/// A JSON column that was read as text, in the form in which it was hashed: `jsonb` has spaces and an order of its own.
fn rewritten(text: &str) -> Result<String, Failure> {
    parse(text).map(|value| json::text_of(&value))
}
