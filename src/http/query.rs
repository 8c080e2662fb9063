//! Reading the parameters of a query as strictly as a body: an unknown one is an error that lists the known.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use actix_web::{HttpRequest, web};

use super::problem::{FieldError, Problem};

/// The parameters that have not been taken yet.
pub struct Query {
    left: BTreeMap<String, String>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Query {
    /// The parameters of this request.
    pub fn of(req: &HttpRequest) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(req.query_string())
            .map_err(|error| Problem::MalformedRequest(format!("the query cannot be read: {error}")))?;
        let mut query = Self { left: BTreeMap::new(), known: Vec::new(), errors: Vec::new() };
        for (name, value) in pairs.into_inner() {
            if value.contains('\0') {
                query.wrong(&name, "must not contain the NUL character");
            }
            if query.left.insert(name.clone(), value).is_some() {
                query.wrong(&name, "is given twice");
            }
        }
        Ok(query)
    }

    /// A parameter, parsed. Where it cannot be, the parser's words say why.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.known.push(name);
        let text = self.left.remove(name)?;
        text.parse().map_err(|error: T::Err| self.wrong(name, error.to_string())).ok()
    }

    /// A whole number from `least` to `most`.
    pub fn number(&mut self, name: &'static str, least: usize, most: usize) -> Option<usize> {
        self.known.push(name);
        let text = self.left.remove(name)?;
        let number = text.parse().ok().filter(|n| (least..=most).contains(n));
        if number.is_none() {
            self.wrong(name, format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// Adds what is wrong with a parameter.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::query(name, message));
    }

    /// Ends the reading.
    pub fn finish(mut self) -> Result<(), Problem> {
        let known = self.known.join(", ");
        for name in self.left.keys().take(20) {
            self.errors.push(FieldError::query(name, format!("is not known here; known are: {known}")));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::InvalidRequest(self.errors)) }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use core314_domain::words::RunStatus;

    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&TestRequest::with_uri(&format!("/x?{text}")).to_http_request()).expect("readable")
    }

    #[test]
    fn parameters_are_parsed_and_errors_name_them() {
        let mut good = query("run_status=failed&limit=7");
        assert_eq!(good.optional::<RunStatus>("run_status"), Some(RunStatus::Failed));
        assert_eq!(good.number("limit", 1, 500), Some(7));
        assert_eq!(good.finish(), Ok(()));
        for (text, words) in [
            ("run_status=fast", "parameter run_status: 'fast' is not one of: pending"),
            ("limit=0", "parameter limit: must be a whole number from 1 to 500"),
            ("limit=1e3", "parameter limit: must be a whole number from 1 to 500"),
            ("limit=99999999999999999999", "parameter limit"),
            ("speed=1", "parameter speed: is not known here; known are: run_status, limit"),
            ("limit=1&limit=2", "parameter limit: is given twice"),
            ("limit=%00", "parameter limit: must not contain the NUL character"),
        ] {
            let mut bad = query(text);
            let (_, _) = (bad.optional::<RunStatus>("run_status"), bad.number("limit", 1, 500));
            let problem = bad.finish().expect_err(text);
            assert!(problem.to_string().starts_with(words), "{text}: {problem}");
        }
    }

    #[test]
    fn invalid_percent_encoding_is_no_crash() {
        let mut odd = query("flow_name=%ff%zz&limit");
        assert!(odd.optional::<String>("flow_name").is_some());
        assert_eq!(odd.number("limit", 1, 500), None);
        assert!(odd.finish().is_err());
    }
}
