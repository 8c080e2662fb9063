//! `core314 flow templates` and `core314 flow new`: flows made of the templates that come with the server.

use clap::Args;
use serde_json::{Map, Value, json};

use super::FLOWS;
use crate::cli::args::Query;
use crate::cli::outcome::{Exit, Failure};
use crate::cli::print::Columns;
use crate::cli::session::Session;

const TEMPLATES: Columns<'_> = &[("NAME", "name"), ("PARAMETERS", "asks"), ("DESCRIPTION", "description")];

#[derive(Debug, Args)]
pub struct NewArgs {
    /// The name of the new flow.
    flow_name: String,
    /// The template: of the gallery, or a flow of yours that is one.
    #[arg(long, value_name = "NAME")]
    template: String,
    /// A value for a parameter; JSON where it is no text. Repeat it for each.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
}

pub async fn list(session: &Session<'_>) -> Result<Exit, Failure> {
    let mut answer = session.client.get(&["templates"], &Query::new()).await?;
    let Value::Array(mut rows) = answer["items"].take() else {
        return Err(Failure::new(Exit::Failed, "the server's answer has no items: is it a Core314 server?"));
    };
    if session.printer.is_table() {
        for row in &mut rows {
            row["asks"] = asks(&row["parameters"]).into();
        }
    }
    session.printer.rows(TEMPLATES, &rows).map(|()| Exit::Done)
}

/// The names of parameters; those that need not be given stand in brackets.
fn asks(parameters: &Value) -> String {
    let name = |(name, parameter): (&String, &Value)| {
        let is_optional = !parameter["default"].is_null() || parameter["required"] == false;
        if is_optional { format!("[{name}]") } else { name.clone() }
    };
    parameters.as_object().into_iter().flatten().map(name).collect::<Vec<_>>().join(" ")
}

pub async fn new(session: &Session<'_>, args: &NewArgs) -> Result<Exit, Failure> {
    let body = json!({"flow_name": args.flow_name, "parameters": parameters(&args.parameters)?});
    match session.client.post(&["templates", &args.template, "instantiate"], &body).await {
        Ok(made) => session.outcome(&made, FLOWS),
        // Not in the gallery: then it is one of the tenant's own.
        Err(failure) if failure.exit == Exit::NotFound => {
            let id = session.flow_id(&args.template).await.map_err(|own| match own.exit {
                Exit::NotFound => Failure::new(Exit::NotFound, format!("there is no template '{}'", args.template))
                    .hint("`core314 flow templates` shows those of the gallery"),
                _ => own,
            })?;
            session.act(&["flows", &id, "instantiate"], &body, FLOWS).await
        }
        Err(failure) => Err(failure),
    }
}

fn parameters(given: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut found = Map::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            return Err(Failure::new(Exit::Usage, format!("--set '{text}' must be NAME=VALUE")));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if found.insert(name.to_owned(), value).is_some() {
            return Err(Failure::new(Exit::Usage, format!("--set {name} is given twice")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_json_or_texts() {
        let given = ["a=1", "b=x=y", "c=[1]", "d=\"2\""].map(str::to_owned);
        assert_eq!(Value::Object(parameters(&given).unwrap()), json!({"a": 1, "b": "x=y", "c": [1], "d": "2"}));
        assert!(parameters(&["a".to_owned()]).is_err() && parameters(&["a=1".to_owned(), "a=2".to_owned()]).is_err());
    }

    #[test]
    fn what_need_not_be_given_stands_in_brackets() {
        assert_eq!(asks(&json!({"url": {"type": "string"}, "cron": {"default": "x"}})), "[cron] url");
    }
}
