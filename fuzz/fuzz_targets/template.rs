//! A payload's text with `{{ … }}` in it: parsed, checked, rendered.
#![no_main]

use core314_domain::expr::Template;
use core314_fuzz::{let_caught_panics_pass, names, scope};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(init: let_caught_panics_pass(), |text: &str| {
    for document in [json!({"text": text}), json!(format!("{{{{{text}}}}}"))] {
        if let Ok(template) = Template::parse(&document, &names()) {
            let first = template.render(&scope());
            assert_eq!(first, template.render(&scope()), "the same template gives the same value");
        }
    }
});
