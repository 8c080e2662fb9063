//! Lists: which page a client wants, and a page as it is answered.
//!
//! A cursor is the id behind which the next page starts. It is encoded so that nobody builds one, and means the same on
//! every list: a page never moves when rows are added before it.

use actix_web::HttpResponse;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::ports::views::{Page, Paged};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::query::Query;
use super::settings::HttpSettings;

/// A page of a list.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct ListView<T> {
    pub items: Vec<T>,
    /// For `?cursor=`; null on the last page.
    pub next_cursor: Option<String>,
}

/// Takes `limit`, `cursor` and `sort` out of a query.
pub fn wanted(query: &mut Query, settings: &HttpSettings) -> Page {
    let limit = query.number("limit", 1, settings.max_page_items).unwrap_or(settings.default_page_items);
    let after = query.optional::<String>("cursor").and_then(|text| {
        let id = BASE64.decode(&text).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok());
        if id.is_none() {
            query.wrong("cursor", "is not a next_cursor of this server");
        }
        id
    });
    if query.optional::<String>("sort").is_some_and(|sort| sort != "-created_at") {
        query.wrong("sort", "must be -created_at");
    }
    Page { limit, after }
}

/// No page is larger, in bytes of JSON, unless its first item alone is: it ends early, and goes on by its cursor.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// The answer with a page of rows.
pub fn answer(page: Paged) -> HttpResponse {
    let page = bounded(page, MAX_PAGE_BYTES);
    let next_cursor = page.next.map(|id| BASE64.encode(id.as_bytes()));
    HttpResponse::Ok().json(ListView { items: page.items, next_cursor })
}

/// The page, cut where it would become too large.
fn bounded(mut page: Paged, max_bytes: usize) -> Paged {
    let mut bytes = 0;
    let fits = page.items.iter().take_while(|item| {
        bytes += item.to_string().len();
        bytes <= max_bytes
    });
    let keep = fits.count().max(1);
    let last = page.items.get(keep - 1).and_then(|item| item["id"].as_str()).and_then(|id| id.parse().ok());
    if keep < page.items.len() && last.is_some() {
        page.items.truncate(keep);
        page.next = last;
    }
    page
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::http::problem::Problem;

    fn page(text: &str) -> Result<Page, Problem> {
        let req = TestRequest::with_uri(&format!("/x?{text}")).to_http_request();
        let mut query = Query::of(&req)?;
        let page = wanted(&mut query, &HttpSettings::default());
        query.finish().map(|()| page)
    }

    #[test]
    fn a_cursor_leads_behind_the_last_row() {
        let id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        let cursor = BASE64.encode(id.as_bytes());
        assert_eq!(page(&format!("cursor={cursor}&limit=500")), Ok(Page { limit: 500, after: Some(id) }));
        assert_eq!(page("sort=-created_at"), Ok(Page { limit: 50, after: None }));
    }

    #[test]
    fn a_page_too_large_ends_early_and_goes_on() {
        let item = |n: u128| serde_json::json!({"id": Uuid::from_u128(n), "text": "x".repeat(100)});
        let page = Paged { items: (1..=5).map(item).collect(), next: None };
        let cut = bounded(page.clone(), 350);
        assert_eq!((cut.items.len(), cut.next), (2, Some(Uuid::from_u128(2))));
        assert_eq!(bounded(page.clone(), 10).items.len(), 1, "one item is always shown");
        assert_eq!(bounded(page.clone(), 10_000), page);
    }

    #[test]
    fn garbage_is_named() {
        for text in ["cursor=", "cursor=x", "cursor=AAAA", "cursor=%00", "limit=501", "limit=-1", "sort=created_at"] {
            let name = text.split('=').next().unwrap();
            let problem = page(text).expect_err(text);
            assert!(problem.to_string().starts_with(&format!("parameter {name}: ")), "{text}: {problem}");
        }
    }
}
