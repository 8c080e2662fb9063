//! What each key may hold. One line a key: a test holds the list against `config/default.toml`, and the ranges against
//! its comments.

use std::net::SocketAddr;

use figment::value::{Num, Value};
use ipnet::IpNet;

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A whole number within bounds, both included.
    Int(i64, i64),
    Flag,
    /// One of these.
    Word(&'static [&'static str]),
    /// A text of so many characters at least and at most.
    Text(usize, usize),
    /// A text that is never shown. Empty: not set.
    Secret,
    /// `ADDRESS:PORT`.
    Address,
    /// Empty, or the URL of a database whose password is never shown.
    DatabaseUrl,
    /// Empty, or where a web server is reached.
    WebUrl,
    /// A list of texts.
    Texts,
    /// A list of texts that may hold commas: in one text, semicolons stand between them.
    Statements,
    /// A list out of these.
    Words(&'static [&'static str]),
    /// A list of port numbers.
    Ports,
    /// A list of networks in CIDR notation.
    Networks,
}

use Rule::{Address, DatabaseUrl, Flag, Int, Networks, Ports, Secret, Statements, Text, Texts, WebUrl, Word, Words};

const DAY_MS: i64 = 86_400_000;
const LARGEST_BYTES: i64 = 64 << 20;

/// Every key.
pub const RULES: &[(&str, Rule)] = &[
    ("server.listen", Address),
    ("server.allow_insecure_listen", Flag),
    ("data.dir", Text(1, 4096)),
    ("store.database_url", DatabaseUrl),
    ("store.owner_url", DatabaseUrl),
    ("store.readers", Int(1, 1_000)),
    ("store.lanes", Int(1, 64)),
    ("store.busy_timeout_ms", Int(1, 600_000)),
    ("store.read_limit_ms", Int(10, 600_000)),
    ("store.write_limit_ms", Int(100, 600_000)),
    ("store.idle_limit_ms", Int(100, 600_000)),
    ("store.allow_superuser", Flag),
    ("store.allow_insecure_connection", Flag),
    ("engine.partitions", Int(1, 1024)),
    ("engine.arbiters", Int(0, 256)),
    ("engine.environment", Text(1, 100)),
    ("engine.max_pending_accepts", Int(1, 1_000_000)),
    ("engine.accept_timeout_ms", Int(100, 600_000)),
    ("engine.slots_per_partition", Int(1, 10_000)),
    ("engine.resident_runs_per_partition", Int(1, 1_000_000)),
    ("engine.limited_runs_per_partition", Int(1, 10_000_000)),
    ("engine.gathering_runs_per_partition", Int(1, 1_000_000)),
    ("engine.tenant_weights", Texts),
    ("engine.page_size", Int(1, 10_000)),
    ("engine.timer_horizon_ms", Int(1_000, DAY_MS)),
    ("engine.max_batch", Int(1, 10_000)),
    ("engine.max_batch_bytes", Int(1 << 20, 1 << 30)),
    ("engine.attempt_timeout_ms", Int(1, DAY_MS)),
    ("engine.poison_limit", Int(1, 100)),
    ("engine.stuck_after_ms", Int(1_000, 3_600_000)),
    ("engine.stalled_after_ms", Int(1_000, 3_600_000)),
    ("engine.statistics_interval_ms", Int(100, 60_000)),
    ("engine.idempotency_ttl_ms", Int(DAY_MS, 30 * DAY_MS)),
    ("engine.cached_plans", Int(1, 1_000_000)),
    ("engine.kept_deliveries", Int(1, 100_000)),
    ("engine.sweep_interval_ms", Int(1_000, 3_600_000)),
    ("engine.waiting_check_interval_ms", Int(1_000, DAY_MS)),
    ("engine.max_chain_depth", Int(1, 1_000)),
    ("engine.inline_result_bytes", Int(1024, 1 << 20)),
    ("engine.results_at_hand_bytes", Int(0, 1 << 30)),
    ("engine.results_at_once_bytes", Int(1 << 20, 1 << 30)),
    ("engine.max_result_bytes", Int(1 << 16, LARGEST_BYTES)),
    ("engine.decision_bytes", Int(1 << 16, LARGEST_BYTES)),
    ("engine.cached_results_per_flow", Int(1, 100_000)),
    ("engine.max_cached_result_bytes", Int(1024, LARGEST_BYTES)),
    ("engine.collect_interval_ms", Int(1_000, DAY_MS)),
    ("engine.watched_series", Int(1, 100_000)),
    ("engine.escalation_rules_per_tenant", Int(1, 100_000)),
    ("engine.ack_link_hours", Int(1, 8_760)),
    ("engine.recipients_per_message", Int(1, 10_000)),
    ("engine.approval_window_ms", Int(0, 3_600_000)),
    ("engine.users_per_tenant", Int(1, 100_000)),
    ("engine.contact_methods_per_user", Int(1, 100)),
    ("engine.contact_code_ms", Int(60_000, 86_400_000)),
    ("engine.contact_code_tries", Int(1, 100)),
    ("engine.contact_code_pause_ms", Int(0, 3_600_000)),
    ("engine.contact_codes", Int(1, 1_000)),
    ("engine.kept_events_ms", Int(1_000, 7 * DAY_MS)),
    ("engine.kept_events_per_subject", Int(1, 10_000)),
    ("engine.schedule_grace_ms", Int(1_000, 3_600_000)),
    ("engine.schedule_kept_instants", Int(1, 10_000)),
    ("engine.max_trigger_bytes", Int(1024, LARGEST_BYTES)),
    ("engine.max_reused_bytes", Int(1024, LARGEST_BYTES)),
    ("engine.max_steps", Int(1, 100_000)),
    ("engine.max_document_bytes", Int(1024, LARGEST_BYTES)),
    ("engine.integrations_per_tenant", Int(1, 10_000)),
    ("engine.secrets_per_tenant", Int(1, 10_000)),
    ("engine.max_secret_bytes", Int(64, 65_536)),
    ("engine.max_secret_overlap_seconds", Int(0, 31_536_000)),
    ("engine.action_limits.overall_concurrent", Int(0, 1_000_000)),
    ("engine.action_limits.overall_per_second", Int(0, 1_000_000)),
    ("engine.action_limits.per_tenant_concurrent", Int(0, 1_000_000)),
    ("engine.action_limits.per_tenant_per_second", Int(0, 1_000_000)),
    ("engine.action_limits.tenants", Texts),
    ("engine.retention.metrics_days", Int(0, 36_500)),
    ("engine.retention.archived_notifications_days", Int(0, 36_500)),
    ("engine.retention.idempotency_keys_days", Int(0, 36_500)),
    ("engine.dispatch.urgency_low_seconds", Int(0, 604_800)),
    ("engine.dispatch.urgency_medium_seconds", Int(0, 604_800)),
    ("engine.dispatch.urgency_high_seconds", Int(0, 604_800)),
    ("engine.dispatch.urgency_critical_seconds", Int(0, 604_800)),
    ("engine.dispatch.priority_step_seconds", Int(0, 86_400)),
    ("executors.http.connect_timeout_ms", Int(100, 600_000)),
    ("executors.http.max_redirects", Int(0, 20)),
    ("executors.http.max_request_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.http.max_response_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.http.max_headers", Int(1, 1_000)),
    ("executors.http.max_retry_after_ms", Int(0, DAY_MS)),
    ("executors.http.idle_connections_per_host", Int(0, 10_000)),
    ("executors.http.max_pages", Int(1, 10_000)),
    ("executors.http.idle_timeout_ms", Int(0, 3_600_000)),
    ("executors.outbound.allow_loopback", Flag),
    ("executors.outbound.allow_private", Flag),
    ("executors.outbound.allowed_schemes", Words(&["http", "https", "smtp", "smtps", "postgres"])),
    ("executors.outbound.allowed_hosts", Texts),
    ("executors.outbound.denied_hosts", Texts),
    ("executors.outbound.allowed_ports", Ports),
    ("executors.outbound.denied_ports", Ports),
    ("executors.commands.programs", Texts),
    ("executors.commands.tenants", Texts),
    ("executors.commands.allow_all_tenants", Flag),
    ("executors.commands.allowed_environment", Texts),
    ("executors.commands.pass_environment", Texts),
    ("executors.commands.directory", Text(1, 4_096)),
    ("executors.commands.max_running", Int(1, 10_000)),
    ("executors.commands.max_output_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.commands.max_input_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.ai.max_prompt_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.ai.max_tokens", Int(1, 10_000_000)),
    ("executors.ai.api_key", Secret),
    ("executors.ai.base_url", WebUrl),
    ("executors.ai.model", Text(0, 200)),
    ("executors.ai.tenants", Texts),
    ("executors.records.sqlite", Texts),
    ("executors.records.tables", Texts),
    ("executors.records.queries", Statements),
    ("executors.records.tenants", Texts),
    ("executors.records.allow_all_tenants", Flag),
    ("executors.sync.folders", Texts),
    ("executors.sync.tenants", Texts),
    ("executors.sync.allow_all_tenants", Flag),
    ("executors.sync.batch_rows", Int(1, 100_000)),
    ("executors.sync.batch_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.sync.max_row_bytes", Int(1024, LARGEST_BYTES)),
    ("executors.sync.max_syncs_per_tenant", Int(1, 1_000_000)),
    ("http.workers", Int(0, 256)),
    ("http.max_connections_per_worker", Int(1, 1_000_000)),
    ("http.keep_alive_seconds", Int(1, 3_600)),
    ("http.header_timeout_ms", Int(1_000, 600_000)),
    ("http.body_timeout_ms", Int(100, 600_000)),
    ("http.send_timeout_ms", Int(100, 600_000)),
    ("http.ready_timeout_ms", Int(10, 60_000)),
    ("http.drain_seconds", Int(0, 3_600)),
    ("http.max_body_bytes", Int(1024, LARGEST_BYTES)),
    ("http.max_json_depth", Int(1, 64)),
    ("http.default_page_items", Int(1, 500)),
    ("http.max_page_items", Int(1, 500)),
    ("http.max_replay_ms", Int(100, 60_000)),
    ("http.public_url", WebUrl),
    ("http.max_in_flight", Int(1, 1_000_000)),
    ("http.cors_origins", Texts),
    ("http.trusted_proxies", Networks),
    ("http.forwarded_by", Word(&["x-forwarded", "forwarded"])),
    ("http.metrics_public", Flag),
    ("http.rate_limit.per_second", Int(0, 1_000_000)),
    ("http.rate_limit.burst", Int(1, 1_000_000)),
    ("http.tls.certificate", Text(0, 4096)),
    ("http.tls.key", Text(0, 4096)),
    ("http.tls.reload_seconds", Int(1, 3_600)),
    ("http.tls.hsts_seconds", Int(0, 63_072_000)),
    ("http.stream.max_clients", Int(1, 1_000_000)),
    ("http.stream.max_clients_per_tenant", Int(1, 1_000_000)),
    ("http.stream.heartbeat_seconds", Int(1, 60)),
    ("http.stream.max_seconds", Int(1, 86_400)),
    ("auth.jwt_secret", Secret),
    ("auth.service_key", Secret),
    ("auth.jwt_leeway_seconds", Int(0, 300)),
    ("secrets.key", Secret),
    ("secrets.previous_key", Secret),
    ("auth.issuer", Text(0, 1_000)),
    ("auth.audience", Text(0, 1_000)),
    ("auth.jwks_url", WebUrl),
    ("auth.jwks_file", Text(0, 4_096)),
    ("auth.jwks_refresh_seconds", Int(10, 86_400)),
    ("auth.jwks_least_interval_seconds", Int(1, 3_600)),
    ("auth.jwks_timeout_ms", Int(100, 60_000)),
    ("auth.failed_attempts_burst", Int(1, 100_000)),
    ("auth.failed_attempts_per_minute", Int(1, 100_000)),
    ("log.filter", Text(1, 1000)),
    ("log.format", Word(&["text", "json"])),
    ("telemetry.otlp_endpoint", WebUrl),
    ("telemetry.queue_spans", Int(16, 1_000_000)),
    ("cluster.lease_ms", Int(2_000, 600_000)),
    ("cluster.node_name", Text(0, 100)),
    ("shutdown.grace_seconds", Int(0, 3_600)),
    ("shutdown.store_seconds", Int(1, 3_600)),
];

/// The rule of a key.
pub fn rule(key: &str) -> Option<&'static Rule> {
    RULES.iter().find(|(known, _)| *known == key).map(|(_, rule)| rule)
}

/// What to say of a key that does not exist: the keys of its section, or the sections.
pub fn unknown(key: &str) -> String {
    let section = key.rsplit_once('.').map_or("", |(section, _)| section);
    let siblings: Vec<&str> = RULES
        .iter()
        .filter_map(|(known, _)| {
            known.rsplit_once('.').filter(|(s, _)| *s == section || *s == key).map(|(_, name)| name)
        })
        .collect();
    if siblings.is_empty() {
        let mut sections: Vec<&str> = RULES.iter().filter_map(|(known, _)| Some(known.rsplit_once('.')?.0)).collect();
        sections.dedup();
        return format!("unknown key; sections are {}", sections.join(", "));
    }
    let section = if rule(&format!("{key}.{}", siblings[0])).is_some() { key } else { section };
    format!("unknown key; keys of [{section}] are {}", siblings.join(", "))
}

impl Rule {
    /// What is allowed, for messages.
    pub fn allowed(self) -> String {
        match self {
            Int(low, high) => format!("a whole number, {low} to {high}"),
            Flag => "true or false".to_owned(),
            Word(words) => format!("one of {}", words.join(", ")),
            Text(low, high) => format!("a text of {low} to {high} characters"),
            Secret => "a text".to_owned(),
            Address => "an address with a port, such as 127.0.0.1:3140 or [::1]:3140".to_owned(),
            DatabaseUrl => "sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, or empty".to_owned(),
            WebUrl => "http://…, https://…, or empty".to_owned(),
            Texts | Statements => "a list of texts".to_owned(),
            Words(words) => format!("a list of {}", words.join(", ")),
            Ports => "a list of port numbers, 1 to 65535".to_owned(),
            Networks => "a list of networks in CIDR notation, such as 10.0.0.0/8 or 127.0.0.1/32".to_owned(),
        }
    }

    /// Whether a value is allowed; else what is.
    pub fn check(self, value: &Value) -> Result<(), String> {
        let text = value.as_str();
        let is_right = match self {
            Int(low, high) => number(value).is_some_and(|n| (low..=high).contains(&n)),
            Flag => value.to_bool().is_some(),
            Word(words) => text.is_some_and(|text| words.contains(&text)),
            Text(low, high) => text.is_some_and(|text| (low..=high).contains(&text.chars().count())),
            Secret => text.is_some(),
            Address => text.is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            DatabaseUrl => text.is_some_and(is_database),
            WebUrl => text.is_some_and(|t| t.is_empty() || t.starts_with("http://") || t.starts_with("https://")),
            Texts | Statements => each(value, |item| item.as_str().is_some_and(|text| !text.is_empty())),
            Words(words) => each(value, |item| item.as_str().is_some_and(|text| words.contains(&text))),
            Ports => each(value, |item| number(item).is_some_and(|n| (1..=65_535).contains(&n))),
            Networks => each(value, |item| item.as_str().is_some_and(|text| text.parse::<IpNet>().is_ok())),
        };
        if is_right { Ok(()) } else { Err(format!("{}must be {}", self.found(value), self.allowed())) }
    }

    /// What text becomes under this rule.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let wrong = || format!("'{text}' must be {}", self.allowed());
        let mark = if self == Statements { ';' } else { ',' };
        let items = || text.split(mark).map(str::trim).filter(|item| !item.is_empty());
        match self {
            Int(..) => text.trim().parse::<i64>().map(Value::from).map_err(|_| wrong()),
            Flag => text.trim().parse::<bool>().map(Value::from).map_err(|_| wrong()),
            Texts | Statements | Words(_) | Networks => Ok(Value::from(items().map(Value::from).collect::<Vec<_>>())),
            Ports => {
                let ports: Result<Vec<u16>, _> = items().map(str::parse).collect();
                ports.map(Value::from).map_err(|_| wrong())
            }
            Word(_) | Text(..) | Secret | Address | DatabaseUrl | WebUrl => Ok(Value::from(text)),
        }
    }

    /// Whether the whole value is never shown.
    pub fn is_secret(self) -> bool {
        self == Secret
    }

    /// The value itself for a message, where it may be shown.
    fn found(self, value: &Value) -> String {
        match (self, value) {
            (Secret | DatabaseUrl, _) => String::new(),
            (_, Value::String(_, text)) => format!("'{text}' "),
            (_, Value::Num(_, Num::F32(_) | Num::F64(_))) => {
                value.to_f64().map_or_else(String::new, |n| format!("{n} "))
            }
            (_, Value::Num(..)) => number(value).map_or_else(String::new, |n| format!("{n} ")),
            (_, Value::Bool(_, flag)) => format!("{flag} "),
            _ => String::new(),
        }
    }
}

/// A whole number. The library knows signed and unsigned ones apart, and a file has only signed ones.
pub fn number(value: &Value) -> Option<i64> {
    let signed = value.to_i128().and_then(|n| i64::try_from(n).ok());
    signed.or_else(|| value.to_u128().and_then(|n| i64::try_from(n).ok()))
}

fn each(value: &Value, is_right: impl Fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|items| items.iter().all(is_right))
}

fn is_database(text: &str) -> bool {
    let path = text.strip_prefix("sqlite:");
    let server = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    text.is_empty() || path.or(server).is_some_and(|rest| !rest.is_empty())
}
