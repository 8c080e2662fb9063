//! The models that the server's configuration names, for flows whose tenant has no integration for it.
//!
//! The key is the server's: it stands in memory alone, no tenant can read it, and it is hidden in whatever comes back like a
//! tenant's own. What is asked is paid by whoever runs the server, who says which tenants may.

use std::collections::BTreeMap;
use std::sync::Arc;

use core314_actors::ports::executor::Connection;
use core314_domain::ids::TenantId;
use core314_domain::log::Failure;
use reqwest::Url;
use serde_json::{Map, Value};

use super::{API_KEY, AiSettings, KIND, MODEL};
use crate::executors::failure::Code;
use crate::executors::tenants::Tenants;

/// The `action_target` that stands for it; so does none.
const WORD: &str = "openai";

/// The configuration of the server's own models cannot be: stop the start and say so.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    #[error("executors.ai.tenants: '{0}' is neither `*` nor an id")]
    Tenants(String),
    /// The URL may hold a secret, so it is not repeated.
    #[error("executors.ai.base_url is no URL: {0}")]
    BaseUrl(String),
}

/// A service of models, and who may ask it.
#[derive(Debug)]
pub struct OwnModels {
    connection: Arc<Connection>,
    tenants: Tenants,
}

impl OwnModels {
    /// Those of the configuration; `None` where it names neither a key nor a place.
    pub fn new(settings: &AiSettings) -> Result<Option<Self>, ModelsError> {
        let tenants = Tenants::new(&settings.tenants).map_err(ModelsError::Tenants)?;
        let (key, base_url) = (settings.api_key.trim(), settings.base_url.trim());
        if key.is_empty() && base_url.is_empty() {
            return Ok(None);
        }
        if !base_url.is_empty() {
            let url = Url::parse(base_url).map_err(|error| ModelsError::BaseUrl(error.to_string()))?;
            if !["http", "https"].contains(&url.scheme()) {
                return Err(ModelsError::BaseUrl("it must begin with http:// or https://".to_owned()));
            }
        }
        let said = |name: &str, text: &str| (!text.is_empty()).then(|| (name.to_owned(), text.to_owned()));
        let credentials: BTreeMap<String, String> = said(API_KEY, key).into_iter().collect();
        let model = said(MODEL, settings.model.trim()).map(|(name, text)| (name, Value::String(text)));
        let endpoint = Some(base_url).filter(|url| !url.is_empty());
        let settings: Map<String, Value> = model.into_iter().collect();
        let connection = Arc::new(Connection::of_server(WORD, &KIND, endpoint, settings, credentials));
        Ok(Some(Self { connection, tenants }))
    }

    /// Whether an `action_target` without an integration stands for them.
    pub fn is_named(word: &str) -> bool {
        word.is_empty() || word == WORD
    }

    /// What is said where a payload says nothing.
    pub fn settings(&self) -> &Map<String, Value> {
        &self.connection.settings
    }

    /// How they are reached, for this tenant.
    pub fn connection(&self, tenant: TenantId) -> Result<&Connection, Failure> {
        if self.tenants.has(tenant) {
            return Ok(&self.connection);
        }
        Err(Code::Refused.failure("executors.ai.tenants of this server's configuration does not name this tenant"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(key: &str, base_url: &str, tenants: &str) -> AiSettings {
        AiSettings {
            max_prompt_bytes: 100,
            max_tokens: 500,
            api_key: key.to_owned(),
            base_url: base_url.to_owned(),
            model: "small".to_owned(),
            tenants: vec![tenants.to_owned()],
        }
    }

    #[test]
    fn a_key_or_a_place_makes_them_and_tenants_are_named() {
        let tenant: TenantId = "0190a000-0000-7000-8000-000000000007".parse().expect("an id");
        assert!(OwnModels::new(&settings("", "", "*")).expect("good").is_none());
        let by_key = OwnModels::new(&settings("sk-planted-1", "", "*")).expect("good").expect("they are there");
        let connection = by_key.connection(tenant).expect("for all");
        assert_eq!(connection.endpoint.as_deref(), Some("https://api.openai.com/v1"));
        assert_eq!((connection.credential(API_KEY), connection.text(MODEL)), (Some("sk-planted-1"), Some("small")));
        assert!(!format!("{by_key:?} {:?}", settings("sk-planted-1", "", "*")).contains("planted"));
        let local = settings("", "http://127.0.0.1:11434/v1", "0190a000-0000-7000-8000-000000000008");
        let local = OwnModels::new(&local).expect("good").expect("they are there");
        assert_eq!(local.connection(tenant).expect_err("another's").code, "refused");
        for (wrong, said) in [
            (settings("sk-planted-1", "http://", "*"), "executors.ai.base_url is no URL"),
            (settings("sk-planted-1", "mailto:planted", "*"), "executors.ai.base_url is no URL"),
            (settings("", "", "everybody"), "executors.ai.tenants: 'everybody'"),
        ] {
            let error = OwnModels::new(&wrong).expect_err(said).to_string();
            assert!(error.starts_with(said) && !error.contains("planted"), "{error}");
        }
    }
}
