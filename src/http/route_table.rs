//! The list of endpoints, as the server is built from it: which method at which path calls which handler, and what the
//! endpoint says of itself.
//!
//! A path that exists answers any other method with 405 and names the possible ones, and OPTIONS with their names; GET
//! answers HEAD too.

use std::future::ready;
use std::sync::Arc;

use actix_web::guard::{self, Guard};
use actix_web::http::{Method, header};
use actix_web::web::ServiceConfig;
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, Route, web};
use core314_actors::ports::resource::Resource;

use serde_json::Value;

use super::openapi::{self, Doc};
use super::problem::Problem;
use super::resources;

/// Paths in the order in which they are tried, each with its endpoints.
#[derive(Default)]
pub struct RouteTable {
    paths: Vec<(&'static str, Vec<Endpoint>)>,
}

struct Endpoint {
    method: Method,
    route: Route,
    doc: Doc,
}

impl RouteTable {
    pub fn get<F, Args>(self, path: &'static str, handler: F, doc: Doc) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::GET, guard::Any(guard::Get()).or(guard::Head()), path, web::to(handler), doc)
    }

    pub fn post<F, Args>(self, path: &'static str, handler: F, doc: Doc) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::POST, guard::Post(), path, web::to(handler), doc)
    }

    pub fn patch<F, Args>(self, path: &'static str, handler: F, doc: Doc) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::PATCH, guard::Patch(), path, web::to(handler), doc)
    }

    pub fn delete<F, Args>(self, path: &'static str, handler: F, doc: Doc) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::DELETE, guard::Delete(), path, web::to(handler), doc)
    }

    fn add(mut self, method: Method, guard: impl Guard + 'static, path: &'static str, route: Route, doc: Doc) -> Self {
        let endpoint = Endpoint { method, route: route.guard(guard), doc };
        match self.paths.iter_mut().find(|(known, _)| *known == path) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => self.paths.push((path, vec![endpoint])),
        }
        self
    }

    /// A list of a resource's rows.
    pub fn list(self, path: &'static str, resource: Resource, summary: &'static str) -> Self {
        self.get(path, resources::list(resource), resources::list_doc(resource, summary))
    }

    /// One row of a resource.
    pub fn show(self, path: &'static str, resource: Resource, summary: &'static str) -> Self {
        self.get(path, resources::show(resource), resources::show_doc(resource, summary))
    }

    /// Every path, as written in the table.
    pub fn paths(&self) -> Vec<&'static str> {
        self.paths.iter().map(|(path, _)| *path).collect()
    }

    /// The description of all endpoints.
    pub fn description(&self) -> Value {
        let each = self.paths.iter().flat_map(|(path, endpoints)| {
            endpoints.iter().map(move |endpoint| (endpoint.method.as_str().to_ascii_lowercase(), *path, &endpoint.doc))
        });
        let each: Vec<_> = each.collect();
        openapi::document(each.iter().map(|(method, path, doc)| (method.as_str(), *path, *doc)))
    }

    /// Every endpoint: methods and path.
    pub fn endpoints(&self) -> Vec<String> {
        self.paths.iter().map(|(path, endpoints)| format!("{} {path}", allow(endpoints))).collect()
    }

    /// Puts the endpoints into a server.
    pub fn configure(self, app: &mut ServiceConfig) {
        for (path, endpoints) in self.paths {
            let allow: Arc<str> = format!("{}, OPTIONS", allow(&endpoints)).into();
            let mut resource = web::resource(path);
            for endpoint in endpoints {
                resource = resource.route(endpoint.route);
            }
            let other = move |req: HttpRequest| ready(other_method(&req, allow.clone()));
            app.service(resource.default_service(web::to(other)));
        }
    }
}

fn allow(endpoints: &[Endpoint]) -> Arc<str> {
    let mut methods: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.method.as_str()).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.sort_unstable();
    methods.join(", ").into()
}

fn other_method(req: &HttpRequest, allow: Arc<str>) -> Result<HttpResponse, Problem> {
    if req.method() == Method::OPTIONS {
        return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, &*allow)).finish());
    }
    Err(Problem::MethodNotAllowed { method: req.method().as_str().chars().take(20).collect(), allow })
}

/// What every path that is not in the table answers.
pub async fn nothing_here() -> Result<HttpResponse, Problem> {
    Err(Problem::NotFound("there is nothing at this path; GET /api/v1 lists what there is".to_owned()))
}
