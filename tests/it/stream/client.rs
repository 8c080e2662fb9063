//! A client of the event stream.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;

use crate::support::{SERVICE_KEY, Server};

/// Nothing that is awaited here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream under way.
pub struct Events {
    body: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    text: String,
    last_id: String,
    heartbeats: usize,
}

/// One event.
#[derive(Debug)]
pub struct Event {
    pub name: String,
    data: Value,
}

impl Event {
    /// What it says has changed.
    pub fn changes(&self) -> Vec<Value> {
        self.data["changes"].as_array().expect("an event has changes").clone()
    }
}

impl Events {
    /// Opens the stream with the service key, for a user or as the platform, and reads where it stands.
    pub async fn open(server: &Server, user: Option<&str>, query: &str, last: Option<&str>) -> Self {
        let mut request = server.http.get(format!("{}/api/v1/stream{query}", server.url)).bearer_auth(SERVICE_KEY);
        if let Some(user) = user {
            request = request.header("X-User-Id", user);
        }
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        Self::of(request).await
    }

    /// Opens it with a user's token.
    pub async fn with_token(server: &Server, token: &str) -> Self {
        Self::of(server.http.get(format!("{}/api/v1/stream", server.url)).bearer_auth(token)).await
    }

    async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.bytes_stream().map(|chunk| chunk.map(Vec::from)).boxed();
        Self { body, text: String::new(), last_id: String::new(), heartbeats: 0 }
    }

    /// The id that a client would come back with.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// How many comments came.
    pub fn heartbeats(&self) -> usize {
        self.heartbeats
    }

    /// Whether it goes on: another heartbeat comes.
    pub async fn is_open(&mut self) -> bool {
        let before = self.heartbeats;
        while let Some(block) = self.block().await {
            self.take(&block);
            if self.heartbeats > before {
                return true;
            }
        }
        false
    }

    /// The next event; `None` when the stream has ended in order.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if let Some(event) = self.take(&block) {
                return Some(event);
            }
        }
    }

    fn take(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = (String::new(), None);
        for line in block.trim_end().lines() {
            match line.split_once(": ") {
                Some(("event", word)) => word.clone_into(&mut name),
                Some(("id", id)) => id.clone_into(&mut self.last_id),
                Some(("data", text)) => data = Some(serde_json::from_str(text).expect("data is JSON")),
                Some(("", _)) => self.heartbeats += 1,
                Some(("retry", _)) => {}
                other => panic!("not a line of an event stream: {other:?} in {block:?}"),
            }
        }
        data.map(|data| Event { name, data })
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return Some(std::mem::replace(&mut self.text, rest));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("something comes");
            let chunk = chunk?.expect("the stream does not break off");
            self.text.push_str(std::str::from_utf8(&chunk).expect("chunks are whole blocks of text"));
        }
    }
}
