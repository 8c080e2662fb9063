//! `GET /api/v1/integrations/templates`: integrations of well-known services, to be filled in with secrets of one's own.

use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::http::Shared;
use crate::http::auth::Role;
use crate::http::openapi::Doc;
use crate::http::problem::Problem;

/// A template: what is the same for everybody who uses the service.
struct Template {
    name: &'static str,
    about: &'static str,
    kind: &'static str,
    /// `None`: everybody has their own, or a credential is the address.
    endpoint: Option<&'static str>,
    settings: &'static [(&'static str, &'static str)],
    /// Credentials, and what their secrets are called.
    credentials: &'static [(&'static str, &'static str)],
    /// Settings that everybody has their own of.
    own: &'static [&'static str],
}

const BEARER: (&str, &str) = ("auth", "bearer");
const BASIC: (&str, &str) = ("auth", "basic");
const API_KEY: (&str, &str) = ("auth", "api_key");

const TEMPLATES: [Template; 25] = [
    Template {
        name: "cloudflare",
        about: "The API of Cloudflare, version 4, with an API token.",
        kind: "http",
        endpoint: Some("https://api.cloudflare.com/client/v4"),
        settings: &[BEARER, ("test_path", "user/tokens/verify")],
        credentials: &[("token", "CLOUDFLARE_TOKEN")],
        own: &[],
    },
    Template {
        name: "datadog",
        about: "The API of Datadog (US1), with an API key.",
        kind: "http",
        endpoint: Some("https://api.datadoghq.com/api"),
        settings: &[API_KEY, ("api_key_header", "DD-API-KEY"), ("test_path", "v1/validate")],
        credentials: &[("api_key", "DATADOG_API_KEY")],
        own: &[],
    },
    Template {
        name: "discord",
        about: "A channel of Discord, by a webhook.",
        kind: "discord",
        endpoint: None,
        settings: &[],
        credentials: &[("webhook_url", "DISCORD_WEBHOOK_URL")],
        own: &[],
    },
    Template {
        name: "github",
        about: "Issues of GitHub, for `create_task`, with a personal access token.",
        kind: "github",
        endpoint: Some("https://api.github.com"),
        settings: &[],
        credentials: &[("token", "GITHUB_TOKEN")],
        own: &[],
    },
    Template {
        name: "github-api",
        about: "The REST API of GitHub, for `api_call`, with a personal access token.",
        kind: "http",
        endpoint: Some("https://api.github.com"),
        settings: &[BEARER, ("test_path", "user")],
        credentials: &[("token", "GITHUB_TOKEN")],
        own: &[],
    },
    Template {
        name: "gitlab",
        about: "Issues of gitlab.com, for `create_task`, with an access token of the scope api.",
        kind: "gitlab",
        endpoint: Some("https://gitlab.com/api/v4"),
        settings: &[],
        credentials: &[("token", "GITLAB_TOKEN")],
        own: &[],
    },
    Template {
        name: "gitlab-api",
        about: "The REST API of gitlab.com, version 4, for `api_call`, with an access token.",
        kind: "http",
        endpoint: Some("https://gitlab.com/api/v4"),
        settings: &[API_KEY, ("api_key_header", "PRIVATE-TOKEN"), ("test_path", "user")],
        credentials: &[("api_key", "GITLAB_TOKEN")],
        own: &[],
    },
    Template {
        name: "google",
        about: "The APIs of Google, in the name of a person who consents: `core314 integration consent google` begins.",
        kind: "http",
        endpoint: Some("https://www.googleapis.com"),
        settings: &[
            ("auth", "oauth2"),
            ("authorization_url", "https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent"),
            ("token_url", "https://oauth2.googleapis.com/token"),
        ],
        credentials: &[("client_secret", "GOOGLE_CLIENT_SECRET"), ("refresh_token", "GOOGLE_REFRESH_TOKEN")],
        own: &["client_id", "scope"],
    },
    Template {
        name: "grafana",
        about: "The HTTP API of a Grafana, with a service account's token.",
        kind: "http",
        endpoint: None,
        settings: &[BEARER, ("test_path", "api/org")],
        credentials: &[("token", "GRAFANA_TOKEN")],
        own: &[],
    },
    Template {
        name: "jira",
        about: "Issues of a Jira Cloud site, for `create_task`, with an account's API token.",
        kind: "jira",
        endpoint: None,
        settings: &[],
        credentials: &[("token", "JIRA_TOKEN")],
        own: &["email"],
    },
    Template {
        name: "jira-api",
        about: "The REST API of a Jira Cloud site, version 3, for `api_call`, with an account's API token.",
        kind: "http",
        endpoint: None,
        settings: &[BASIC, ("test_path", "rest/api/3/myself")],
        credentials: &[("password", "JIRA_TOKEN")],
        own: &["username"],
    },
    Template {
        name: "linear",
        about: "Issues of Linear, for `create_task`, with a personal API key.",
        kind: "linear",
        endpoint: Some("https://api.linear.app/graphql"),
        settings: &[],
        credentials: &[("api_key", "LINEAR_API_KEY")],
        own: &[],
    },
    Template {
        name: "notion",
        about: "The API of Notion, with an internal integration's secret.",
        kind: "http",
        endpoint: Some("https://api.notion.com/v1"),
        settings: &[BEARER],
        credentials: &[("token", "NOTION_TOKEN")],
        own: &[],
    },
    Template {
        name: "openai",
        about: "The models of OpenAI, for `ask_ai`, with an API key.",
        kind: "openai",
        endpoint: Some("https://api.openai.com/v1"),
        settings: &[],
        credentials: &[("api_key", "OPENAI_API_KEY")],
        own: &[],
    },
    Template {
        name: "pagerduty",
        about: "Alerts of a service of PagerDuty, with its integration key (Events API v2).",
        kind: "pagerduty",
        endpoint: Some("https://events.pagerduty.com"),
        settings: &[],
        credentials: &[("routing_key", "PAGERDUTY_ROUTING_KEY")],
        own: &[],
    },
    Template {
        name: "postgres",
        about: "Rows of a PostgreSQL database, for `update_record` and `data_sync`.",
        kind: "postgres",
        endpoint: None,
        settings: &[],
        credentials: &[("password", "POSTGRES_PASSWORD")],
        own: &["username", "tables"],
    },
    Template {
        name: "sendgrid",
        about: "E-mail by SendGrid, with an API key that may send.",
        kind: "sendgrid",
        endpoint: Some("https://api.sendgrid.com"),
        settings: &[],
        credentials: &[("api_key", "SENDGRID_API_KEY")],
        own: &[],
    },
    Template {
        name: "slack",
        about: "A channel of Slack, by an incoming webhook.",
        kind: "slack",
        endpoint: None,
        settings: &[],
        credentials: &[("webhook_url", "SLACK_WEBHOOK_URL")],
        own: &[],
    },
    Template {
        name: "slack-bot",
        about: "Slack's channels and members, by a bot's token.",
        kind: "slack",
        endpoint: Some("https://slack.com/api"),
        settings: &[],
        credentials: &[("bot_token", "SLACK_BOT_TOKEN")],
        own: &[],
    },
    Template {
        name: "smtp",
        about: "E-mail by a server of SMTP that asks for a password.",
        kind: "smtp",
        endpoint: None,
        settings: &[],
        credentials: &[("password", "SMTP_PASSWORD")],
        own: &["from", "username"],
    },
    Template {
        name: "stripe",
        about: "The API of Stripe, with a secret or restricted key.",
        kind: "http",
        endpoint: Some("https://api.stripe.com/v1"),
        settings: &[BEARER, ("test_path", "balance")],
        credentials: &[("token", "STRIPE_KEY")],
        own: &[],
    },
    Template {
        name: "teams",
        about: "A channel of Microsoft Teams, by the webhook of a workflow.",
        kind: "teams",
        endpoint: None,
        settings: &[],
        credentials: &[("webhook_url", "TEAMS_WEBHOOK_URL")],
        own: &[],
    },
    Template {
        name: "twilio",
        about: "SMS by Twilio, with the account's token.",
        kind: "twilio",
        endpoint: Some("https://api.twilio.com"),
        settings: &[],
        credentials: &[("auth_token", "TWILIO_AUTH_TOKEN")],
        own: &["account_sid"],
    },
    Template {
        name: "webhook",
        about: "A receiver of messages as Standard Webhooks defines them.",
        kind: "webhook",
        endpoint: None,
        settings: &[],
        credentials: &[("signing_secret", "WEBHOOK_SECRET")],
        own: &[],
    },
    Template {
        name: "zendesk",
        about: "The API of a Zendesk, version 2, with an agent's API token (the username is the agent's address and `/token`).",
        kind: "http",
        endpoint: None,
        settings: &[BASIC, ("test_path", "users/me.json")],
        credentials: &[("password", "ZENDESK_TOKEN")],
        own: &["username"],
    },
];

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationTemplates")]
struct View {
    items: Vec<TemplateView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationTemplate")]
struct TemplateView {
    template: &'static str,
    about: &'static str,
    kind: &'static str,
    /// Null: it must be given, where the kind asks for one.
    endpoint: Option<&'static str>,
    settings: Map<String, Value>,
    /// Credentials, and the secrets that they are where nothing else is said.
    credentials: Map<String, Value>,
    /// Settings that must be given.
    own_settings: &'static [&'static str],
}

impl From<&'static Template> for TemplateView {
    fn from(of: &'static Template) -> Self {
        let secret = |(field, name): &(&str, &str)| ((*field).to_owned(), Value::from(format!("secrets.{name}")));
        Self {
            template: of.name,
            about: of.about,
            kind: of.kind,
            endpoint: of.endpoint,
            settings: of.settings.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect(),
            credentials: of.credentials.iter().map(secret).collect(),
            own_settings: of.own,
        }
    }
}

pub fn doc() -> Doc {
    Doc::role("Lists templates for integrations of well-known services.", Role::Viewer).ok::<View>("The templates.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.read(req.headers())?;
    Ok(HttpResponse::Ok().json(View { items: TEMPLATES.iter().map(TemplateView::from).collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own_and_names_secrets() {
        for pair in TEMPLATES.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} and {}", pair[0].name, pair[1].name);
        }
        for template in &TEMPLATES {
            for (_, secret) in template.credentials {
                assert_eq!(core314_domain::secret::name_problem(secret), None, "{secret}");
            }
        }
    }
}
