//! Comparing a value with a form.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Form, Format, MAX_PROBLEMS, Others, Type, at, escaped};
use crate::plan::Problem;

impl Form {
    /// Notes what is wrong with a value, up to a few faults more than are told.
    pub(super) fn check(&self, value: &Value, pointer: &str, problems: &mut Vec<Problem>) {
        if problems.len() > MAX_PROBLEMS {
            return;
        }
        if !self.types.is_empty() && !self.types.iter().any(|wanted| wanted.is_of(value)) {
            let wanted: Vec<&str> = self.types.iter().map(|wanted| wanted.as_str()).collect();
            problems.push(at(pointer, format!("must be of type {}", wanted.join(" or "))));
            return;
        }
        if let Some(allowed) = &self.allowed
            && !allowed.contains(value)
        {
            let shown: Vec<String> = allowed.iter().take(20).map(Value::to_string).collect();
            problems.push(at(pointer, format!("must be one of: {}", shown.join(", "))));
        }
        match value {
            Value::Object(members) => self.object(members, pointer, problems),
            Value::Array(items) => self.array(items, pointer, problems),
            Value::String(text) => self.text(text, pointer, problems),
            Value::Number(number) => self.number(number.as_f64().unwrap_or(f64::NAN), pointer, problems),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&self, members: &Map<String, Value>, pointer: &str, problems: &mut Vec<Problem>) {
        self.size(members.len(), ["minProperties", "maxProperties"], "members", pointer, problems);
        for name in self.required.iter().filter(|name| !members.contains_key(*name)) {
            problems.push(at(&format!("{pointer}/{}", escaped(name)), "is required"));
        }
        for (name, member) in members {
            let place = format!("{pointer}/{}", escaped(name));
            match (self.properties.get(name), &self.others) {
                (Some(form), _) => form.check(member, &place, problems),
                (None, Others::Anything) => {}
                (None, Others::Nothing) => problems.push(at(&place, "is not known here")),
                (None, Others::Like(form)) => form.check(member, &place, problems),
            }
        }
    }

    fn array(&self, items: &[Value], pointer: &str, problems: &mut Vec<Problem>) {
        self.size(items.len(), ["minItems", "maxItems"], "items", pointer, problems);
        if self.unique {
            let mut seen = BTreeSet::new();
            if let Some(twice) = items.iter().position(|item| !seen.insert(item.to_string())) {
                problems.push(at(pointer, format!("has item {twice} twice")));
            }
        }
        if let Some(form) = &self.items {
            for (no, item) in items.iter().enumerate() {
                form.check(item, &format!("{pointer}/{no}"), problems);
            }
        }
    }

    fn text(&self, text: &str, pointer: &str, problems: &mut Vec<Problem>) {
        self.size(text.chars().count(), ["minLength", "maxLength"], "characters", pointer, problems);
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
            problems.push(at(pointer, format!("does not match the pattern {pattern}")));
        }
        match self.format {
            Some(Format::DateTime) if chrono::DateTime::parse_from_rfc3339(text).is_err() => {
                problems.push(at(pointer, "must be an RFC 3339 time, such as 2030-01-31T08:00:00Z"));
            }
            Some(Format::Uuid) if text.parse::<uuid::Uuid>().is_err() => problems.push(at(pointer, "must be a UUID")),
            Some(Format::DateTime | Format::Uuid) | None => {}
        }
    }

    fn number(&self, number: f64, pointer: &str, problems: &mut Vec<Problem>) {
        for (keyword, bound) in &self.bounds {
            let (holds, words) = match *keyword {
                "minimum" => (number >= *bound, "must be at least"),
                "maximum" => (number <= *bound, "must be at most"),
                "exclusiveMinimum" => (number > *bound, "must be more than"),
                "exclusiveMaximum" => (number < *bound, "must be less than"),
                _ => (is_multiple(number, *bound), "must be a multiple of"),
            };
            if !holds {
                problems.push(at(pointer, format!("{words} {bound}")));
            }
        }
    }

    fn size(&self, found: usize, bounds: [&str; 2], what: &str, pointer: &str, problems: &mut Vec<Problem>) {
        let [least, most] = bounds.map(|keyword| self.sizes.get(keyword).copied());
        let found = found as u64;
        if let Some(least) = least.filter(|least| found < *least) {
            problems.push(at(pointer, format!("must have at least {least} {what}")));
        }
        if let Some(most) = most.filter(|most| found > *most) {
            problems.push(at(pointer, format!("must have at most {most} {what}")));
        }
    }
}

/// As near as numbers with a floating point can tell: 0.3 is a multiple of 0.1.
fn is_multiple(number: f64, of: f64) -> bool {
    let times = number / of;
    (times - times.round()).abs() <= times.abs().max(1.0) * 1e-9
}

impl Type {
    fn is_of(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Null, Value::Null)
            | (Self::Boolean, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Text, Value::String(_))
            | (Self::Array, Value::Array(_))
            | (Self::Object, Value::Object(_)) => true,
            // A whole number may be written with a point, as in JSON Schema: 1.0.
            (Self::Integer, Value::Number(number)) => {
                number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_found_in_spite_of_rounding() {
        assert!(is_multiple(0.3, 0.1) && is_multiple(-6.0, 3.0) && is_multiple(0.0, 7.0));
        assert!(!is_multiple(0.35, 0.1) && !is_multiple(7.0, 3.0));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        let integer = |text: &str| Type::Integer.is_of(&serde_json::from_str(text).expect("a number"));
        assert!(integer("1") && integer("1.0") && integer("18446744073709551615"));
        assert!(!integer("1.5"));
    }
}
