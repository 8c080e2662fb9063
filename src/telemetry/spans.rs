//! Spans on their way out: what a request or an attempt was, told when it is over.
//!
//! Adapters only use `tracing`. A span takes part when its name is in [`KINDS`] and it has a `trace_id`; of its fields
//! `trace_id`, `span_id` and `parent_id` place it, `sampled = false` keeps it here, and the others become attributes.
//! Whoever ends a span never waits: where the queue is full, the span is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc::Sender;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The spans that are exported, each with its kind in OTLP.
const KINDS: [(&str, Kind); 2] = [("request", Kind::Server), ("attempt", Kind::Client)];

/// Which side of a call a span is. The numbers are OTLP's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server = 2,
    Client = 3,
}

/// A span that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    pub kind: Kind,
    pub trace: u128,
    pub span: u64,
    pub parent: Option<u64>,
    pub started: SystemTime,
    pub ended: SystemTime,
    pub attributes: Vec<(&'static str, Attribute)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// What the exporter is sent.
pub enum Item {
    Span(Box<Finished>),
    /// Send what is here, then say so.
    Flush(tokio::sync::oneshot::Sender<()>),
}

/// The layer that finds finished spans.
pub struct Spans {
    pub queue: Sender<Item>,
    pub dropped: Arc<AtomicU64>,
}

/// What is known of a span while it is open.
#[derive(Default)]
struct Open {
    kind: Option<Kind>,
    started: Option<SystemTime>,
    trace: Option<u128>,
    span: Option<u64>,
    parent: Option<u64>,
    is_unsampled: bool,
    attributes: Vec<(&'static str, Attribute)>,
}

/// Passes the spans of [`KINDS`] alone, so that nothing else is made that nobody writes.
pub fn filter() -> FilterFn {
    FilterFn::new(is_exported as fn(&Metadata<'_>) -> bool).with_max_level_hint(LevelFilter::DEBUG)
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && kind(metadata.name()).is_some()
}

fn kind(name: &str) -> Option<Kind> {
    KINDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut open =
            Open { kind: kind(attributes.metadata().name()), started: Some(SystemTime::now()), ..Open::default() };
        attributes.record(&mut open);
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        let open = ctx.span(&id).and_then(|span| span.extensions_mut().remove::<Open>());
        let Some(finished) = open.and_then(|open| open.finish(SystemTime::now())) else { return };
        if self.queue.try_send(Item::Span(Box::new(finished))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Open {
    fn finish(self, ended: SystemTime) -> Option<Finished> {
        if self.is_unsampled {
            return None;
        }
        Some(Finished {
            kind: self.kind?,
            trace: self.trace?,
            span: self.span.unwrap_or_else(|| rand::random::<u64>().max(1)),
            parent: self.parent,
            started: self.started?,
            ended,
            attributes: self.attributes,
        })
    }

    fn text(&mut self, name: &'static str, text: String) {
        match name {
            "trace_id" => self.trace = u128::from_str_radix(&text, 16).ok(),
            "span_id" => self.span = u64::from_str_radix(&text, 16).ok(),
            "parent_id" => self.parent = u64::from_str_radix(&text, 16).ok(),
            _ => self.attributes.push((name, Attribute::Text(text))),
        }
    }
}

impl Visit for Open {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.text(field.name(), format!("{value:?}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.attributes.push((field.name(), Attribute::Number(i64::try_from(value).unwrap_or(i64::MAX))));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push((field.name(), Attribute::Number(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        match field.name() {
            "sampled" => self.is_unsampled = !value,
            name => self.attributes.push((name, Attribute::Flag(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;
    use tracing_subscriber::layer::SubscriberExt;

    fn collected(capacity: usize, work: impl FnOnce()) -> (Vec<Finished>, u64) {
        let (queue, mut receiver) = mpsc::channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let layer = Spans { queue, dropped: dropped.clone() };
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter()));
        tracing::subscriber::with_default(subscriber, work);
        let spans = std::iter::from_fn(|| receiver.try_recv().ok()).filter_map(|item| match item {
            Item::Span(span) => Some(*span),
            Item::Flush(_) => None,
        });
        (spans.collect(), dropped.load(Ordering::Relaxed))
    }

    #[test]
    fn a_span_is_told_with_what_was_recorded_until_its_end() {
        let (spans, dropped) = collected(9, || {
            let request = tracing::info_span!(
                "request",
                trace_id = "4bf92f3577b34da6a3ce929d0e0e4736",
                parent_id = "00f067aa0ba902b7",
                method = %"GET",
                status = tracing::field::Empty,
            );
            request.record("status", 404_u64);
            tracing::info_span!("other", trace_id = "1");
            tracing::info_span!("request", method = "without a trace");
        });
        assert_eq!((spans.len(), dropped), (1, 0));
        let span = &spans[0];
        assert_eq!((span.kind, span.trace), (Kind::Server, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
        assert_eq!(span.parent, Some(0x00f0_67aa_0ba9_02b7));
        assert!(span.span != 0 && span.ended >= span.started);
        let expected = [("method", Attribute::Text("GET".to_owned())), ("status", Attribute::Number(404))];
        assert_eq!(span.attributes, expected);
    }

    #[test]
    fn what_is_not_sampled_stays_and_what_finds_no_place_is_counted() {
        let (spans, dropped) = collected(1, || {
            tracing::info_span!("request", trace_id = "1", sampled = false);
            for n in 1..=3_u64 {
                tracing::debug_span!("attempt", trace_id = "2", span_id = "a", n);
            }
        });
        assert_eq!((spans.len(), dropped), (1, 2));
        assert_eq!((spans[0].kind, spans[0].span), (Kind::Client, 10));
    }
}
