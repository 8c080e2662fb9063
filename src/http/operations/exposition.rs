//! The Prometheus text format, as much of it as is needed: counters and gauges.

use std::fmt::Write;

/// A page of metrics being written.
#[derive(Default)]
pub struct Exposition {
    text: String,
}

/// How a metric changes.
#[derive(Clone, Copy)]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Exposition {
    /// A metric without labels.
    pub fn single(&mut self, kind: Type, name: &str, help: &str, value: f64) {
        self.family(kind, name, help, [(Vec::new(), value)]);
    }

    /// A metric with a sample for each set of labels. Label values are words of this program, never of a client.
    pub fn family<'a>(
        &mut self,
        kind: Type,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, f64)>,
    ) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value) in samples {
            let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            self.line(format_args!("{name}{labels} {value}\n"));
        }
    }

    pub fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a String takes whatever is written");
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let mut page = Exposition::default();
        page.single(Type::Gauge, "depth", "How deep.", 3.0);
        page.family(Type::Counter, "hits_total", "Hits.", [(vec![("route", "/a\"b"), ("class", "2xx")], 1.5)]);
        assert_eq!(
            page.finish(),
            "# HELP depth How deep.\n# TYPE depth gauge\ndepth 3\n\
             # HELP hits_total Hits.\n# TYPE hits_total counter\nhits_total{route=\"/a\\\"b\",class=\"2xx\"} 1.5\n"
        );
    }
}
