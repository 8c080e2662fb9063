//! W6: lists, filters and statistics over a long history, asked as the API asks them.
//!
//! What is asked follows from what is published: every resource with every filter that an index answers, for the platform
//! and for tenants of every size, and beside them a filter that no index answers. Values come from rows of the lists
//! themselves. One question at a time, so that a figure is the store's answer and nothing else.

use std::time::{Duration, Instant};

use anyhow::bail;
use core314_actors::ports::resource::{Kind, Resource};
use core314_actors::ports::views::{Filter, Page};
use core314_actors::ports::{Scope, StoreError};
use core314_domain::ids::RowId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::history::{History, SPAN_MS, Tenant};
use super::measure::{Latency, Meter};
use super::{Figures, Installation, Node, NodeOptions, Plan, Ports, Workload};

/// How often each question is asked, and how long at most.
const SAMPLES: usize = 300;
const MOST_TIME: Duration = Duration::from_secs(3);
const FEWEST_SAMPLES: usize = 20;
/// How often each is asked before, unmeasured: a session of PostgreSQL plans a statement anew five times before it keeps a plan,
/// and there are four of them.
const WARM: usize = 24;
/// Different values that a filter is asked with.
const VALUES: usize = 60;
const PAGE: usize = 50;
const HOUR_MS: i64 = 3_600_000;

/// What one question showed.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    pub asked: String,
    /// `platform`, or the kind of tenant.
    pub who: &'static str,
    /// Whether an index answers it; else a bounded number of rows is looked at.
    pub is_indexed: bool,
    pub samples: usize,
    /// How many of them the store ended because they took longer than a read may.
    pub ended: usize,
    pub latency: Latency,
}

/// A question.
enum Ask {
    List(Resource, Filter, Option<Uuid>),
    One(Resource, Uuid),
    Statistics(i64),
    Timeline(i64, i64),
    Slowest(i64),
}

struct Asker<'a> {
    ports: &'a Ports,
    random: StdRng,
    now_ms: i64,
    say: &'a dyn Fn(&str),
    cases: Vec<Case>,
}

/// Fills an empty store, and asks.
pub async fn lists(installation: &impl Installation, plan: &Plan, say: &dyn Fn(&str)) -> anyhow::Result<Figures> {
    let ports = installation.ports();
    let now_ms = std::time::UNIX_EPOCH.elapsed()?.as_millis() as i64;
    let meter = Meter::now();
    let mut history = History::begin(&ports, now_ms, plan.rows).await?;
    history.fill(say).await?;
    let figures = Figures::of(Workload::Lists, installation, "rows", plan.rows, meter.since());
    let mut asker = Asker { ports: &ports, random: StdRng::seed_from_u64(6), now_ms, say, cases: Vec::new() };
    asker.all(Scope::Platform, "platform").await?;
    for name in ["large", "middle", "rare"] {
        let tenant = history.tenants.iter().find(|tenant| tenant.name == name).expect("there are tenants of each size");
        asker.all(Scope::Tenant(tenant.owner.tenant), tenant.name).await?;
    }
    let node = installation.start(NodeOptions { http: true, ..NodeOptions::default() }).await?;
    let done = asker.over_http(&node, &history.tenants[0]).await;
    (node.stop)().await;
    done?;
    Ok(Figures { cases: asker.cases, ..figures })
}

impl Asker<'_> {
    /// Everything that is asked within a scope.
    async fn all(&mut self, scope: Scope, who: &'static str) -> anyhow::Result<()> {
        for resource in Resource::ALL {
            self.resource(scope, who, *resource).await?;
        }
        for hours in [1, 24, 30 * 24] {
            self.measure(scope, who, format!("statistics, {hours} h"), true, &[Ask::Statistics(hours)]).await?;
            self.measure(scope, who, format!("slowest, {hours} h"), true, &[Ask::Slowest(hours)]).await?;
        }
        for (hours, minutes) in [(1, 5), (24, 5), (24, 60), (30 * 24, 60), (30 * 24, 1_440)] {
            let asked = format!("timeline, {hours} h by {minutes} min");
            self.measure(scope, who, asked, true, &[Ask::Timeline(hours, minutes * 60_000)]).await?;
        }
        Ok(())
    }

    /// A resource's list, its published filters, its single rows, and a filter that nothing answers.
    async fn resource(&mut self, scope: Scope, who: &'static str, resource: Resource) -> anyhow::Result<()> {
        let view = resource.view();
        // What the API adds to what is asked: a user sees their own inbox, and nobody a whole tenant's.
        let mut whole = Filter::default();
        if let (Resource::Notifications, Scope::Tenant(tenant)) = (resource, scope) {
            whole.and("user_id", tenant.to_string().into());
        }
        let rows = self.rows(scope, resource, &whole).await?;
        let first = [Ask::List(resource, whole.clone(), None)];
        self.measure(scope, who, view.to_owned(), true, &first).await?;
        let deep: Vec<Ask> = (0..VALUES).map(|_| Ask::List(resource, whole.clone(), Some(self.somewhere()))).collect();
        self.measure(scope, who, format!("{view}, deep pages"), true, &deep).await?;
        for columns in resource.indexed() {
            let mut filters: Vec<Filter> = Vec::new();
            for filter in rows.iter().filter_map(|row| filter_of(resource, columns, row)) {
                if filters.len() < VALUES && !filters.contains(&filter) {
                    filters.push(filter);
                }
            }
            let asks: Vec<Ask> = filters.into_iter().map(|filter| Ask::List(resource, filter, None)).collect();
            self.measure(scope, who, format!("{view} by {columns}"), true, &asks).await?;
        }
        let ids = rows.iter().filter_map(|row| row["id"].as_str()?.parse().ok());
        let ones: Vec<Ask> = ids.map(|id| Ask::One(resource, id)).collect();
        self.measure(scope, who, format!("one of {view}"), true, &ones).await?;
        let is_published = |name: &str| resource.indexed().iter().any(|names| names.split(' ').any(|n| n == name));
        let other = resource.columns().iter().find(|c| c.kind == Kind::Text && !is_published(c.name));
        if let Some(column) = other {
            let mut filter = whole;
            filter.and(column.name, "no row has this".into());
            let asks = [Ask::List(resource, filter, None)];
            self.measure(scope, who, format!("{view} by {} (no index)", column.name), false, &asks).await?;
        }
        Ok(())
    }

    /// Rows of a list, the newest and some from anywhere.
    async fn rows(&mut self, scope: Scope, resource: Resource, whole: &Filter) -> Result<Vec<Value>, StoreError> {
        let mut rows = Vec::new();
        for no in 0..6 {
            let after = (no > 0).then(|| self.somewhere());
            let page = Page { limit: PAGE, after };
            rows.extend(self.ports.views.list(scope, resource, whole.clone(), page).await?.items);
        }
        Ok(rows)
    }

    /// A key between the oldest and the newest row.
    fn somewhere(&mut self) -> Uuid {
        let ago_ms = self.random.random_range(0..SPAN_MS);
        RowId::new(self.now_ms - ago_ms, self.random.random()).0
    }

    async fn measure(
        &mut self,
        scope: Scope,
        who: &'static str,
        asked: String,
        is_indexed: bool,
        asks: &[Ask],
    ) -> anyhow::Result<()> {
        if asks.is_empty() {
            return Ok(());
        }
        (self.say)(&format!("{who}: {asked}"));
        let (mut latencies, mut ended) = (Vec::new(), 0);
        let mut began = Instant::now();
        for (no, ask) in asks.iter().cycle().take(WARM + SAMPLES).enumerate() {
            let started = Instant::now();
            let is_ended = match self.ask(scope, ask).await {
                Ok(()) => false,
                Err(StoreError::Unavailable(_)) => true,
                Err(error) => bail!("{who}: {asked}: {error}"),
            };
            if no < WARM {
                began = Instant::now();
                continue;
            }
            ended += usize::from(is_ended);
            latencies.push(started.elapsed());
            if began.elapsed() > MOST_TIME && latencies.len() >= FEWEST_SAMPLES {
                break;
            }
        }
        let samples = latencies.len();
        self.cases.push(Case { asked, who, is_indexed, samples, ended, latency: Latency::of(latencies) });
        Ok(())
    }

    async fn ask(&self, scope: Scope, ask: &Ask) -> Result<(), StoreError> {
        let (views, now_ms) = (&self.ports.views, self.now_ms);
        let since = |hours: i64| now_ms - hours * HOUR_MS;
        match ask {
            Ask::List(resource, filter, after) => {
                let page = Page { limit: PAGE, after: *after };
                views.list(scope, *resource, filter.clone(), page).await.map(drop)
            }
            Ask::One(resource, id) => views.one(scope, *resource, *id).await.map(drop),
            Ask::Statistics(hours) => views.statistics(scope, since(*hours), now_ms).await.map(drop),
            Ask::Timeline(hours, ms) => views.timeline(scope, since(*hours), now_ms, *ms).await.map(drop),
            Ask::Slowest(hours) => views.slowest(scope, since(*hours), PAGE).await.map(drop),
        }
    }

    /// A few of the same questions through the whole server.
    async fn over_http(&mut self, node: &Node, tenant: &Tenant) -> anyhow::Result<()> {
        let url = node.url.as_deref().ok_or_else(|| anyhow::anyhow!("the node has an HTTP surface"))?;
        let client = reqwest::Client::new();
        for path in [
            "runs",
            "runs?run_status=failed",
            "executions",
            "execution-log",
            "execution-log?success=false",
            "execution-log/statistics?hours=720",
            "execution-log/slowest",
        ] {
            (self.say)(&format!("over HTTP: {path}"));
            let mut latencies = Vec::new();
            for no in 0..WARM + SAMPLES / 3 {
                let request = client.get(format!("{url}/api/v1/{path}")).bearer_auth(&node.key);
                let started = Instant::now();
                let answer = request.header("X-User-Id", tenant.owner.user.to_string()).send().await?;
                answer.error_for_status()?.bytes().await?;
                if no >= WARM {
                    latencies.push(started.elapsed());
                }
            }
            let (asked, samples) = (format!("GET {path}"), latencies.len());
            let latency = Latency::of(latencies);
            self.cases.push(Case { asked, who: tenant.name, is_indexed: true, samples, ended: 0, latency });
        }
        Ok(())
    }
}

/// The filter that a row of the list agrees with; `None` where a column is null.
fn filter_of(resource: Resource, columns: &str, row: &Value) -> Option<Filter> {
    let mut filter = Filter::default();
    for name in columns.split(' ') {
        let value = row.get(name).filter(|value| !value.is_null())?;
        filter.and(resource.column(name)?.name, value.clone());
    }
    Some(filter)
}

impl Case {
    /// One line for a person.
    pub fn line(&self) -> String {
        let Latency { p50_ms, p99_ms, max_ms } = self.latency;
        format!(
            "  {:<9} {:<60} p50 {p50_ms:>7.2} ms  p99 {p99_ms:>7.2} ms  max {max_ms:>7.2} ms  ({} times{})",
            self.who,
            self.asked,
            self.samples,
            if self.ended > 0 { format!(", {} ended by their time limit", self.ended) } else { String::new() },
        )
    }
}
