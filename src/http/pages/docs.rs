//! `GET /api/docs`: the description for people, as one page that needs nothing from elsewhere.
//!
//! It is made here, not by a script in the browser: the policy of content on every page forbids scripts.

use std::fmt::Write as _;
use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::Value;

use crate::http::openapi::{Access, Doc};

const HEAD: &str = include_str!("docs_head.html");

static PAGE: LazyLock<String> = LazyLock::new(|| page(&crate::http::routes().description()));

pub fn doc() -> Doc {
    Doc::new("The description of this API, for people.", Access::Open).text("text/html", "The page.")
}

pub async fn handle() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(PAGE.as_str())
}

fn page(description: &Value) -> String {
    let mut page = HEAD.to_owned();
    for (path, operations) in members(&description["paths"]) {
        for (method, operation) in members(operations) {
            operation_of(&mut page, method, path, operation);
        }
    }
    page.push_str("<h2>Types</h2>\n");
    for (name, schema) in members(&description["components"]["schemas"]) {
        let text = serde_json::to_string_pretty(schema).expect("a schema has text keys");
        let text = escaped(&text);
        page.extend(["<details id=\"", name, "\"><summary>", name, "</summary><pre>", &text, "</pre></details>\n"]);
    }
    page.push_str("</main></body></html>\n");
    page
}

fn operation_of(page: &mut String, method: &str, path: &str, operation: &Value) {
    let text = |value: &Value| escaped(value.as_str().unwrap_or_default());
    let summary = text(&operation["summary"]);
    let method = method.to_ascii_uppercase();
    let mut out = format!("<details><summary><b>{method}</b> <code>{}</code> {summary}</summary>\n", escaped(path));
    let _infallible = writeln!(out, "<p>{}</p>", text(&operation["description"]));
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        out.push_str("<table><tr><th>parameter<th>in<th>meaning</tr>\n");
        for parameter in parameters {
            let cells = ["name", "in", "description"].map(|key| text(&parameter[key]));
            let _infallible = writeln!(out, "<tr><td><code>{}</code><td>{}<td>{}</tr>", cells[0], cells[1], cells[2]);
        }
        out.push_str("</table>\n");
    }
    for (media_type, content) in members(&operation["requestBody"]["content"]) {
        let _infallible = writeln!(out, "<p>Body, {}: {}</p>", escaped(media_type), type_of(&content["schema"]));
    }
    for (status, response) in members(&operation["responses"]) {
        let of = members(&response["content"]).next().map(|(_, content)| type_of(&content["schema"]));
        let description = text(&response["description"]);
        let _infallible = writeln!(out, "<p><b>{status}</b> {description} {}</p>", of.unwrap_or_default());
    }
    out.push_str("</details>\n");
    page.push_str(&out);
}

/// A schema as a link to its type, or in full.
fn type_of(schema: &Value) -> String {
    match schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => format!("<a href=\"#{0}\">{0}</a>", escaped(name)),
        None => format!("<code>{}</code>", escaped(&schema.to_string())),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_endpoint_and_no_script() {
        let page = page(&crate::http::routes().description());
        for path in crate::http::routes().paths() {
            let plain = path.split(':').next().unwrap_or(path);
            assert!(page.contains(plain), "{path}");
        }
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    }
}
