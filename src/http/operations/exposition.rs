//! The Prometheus text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>), as much of it as is needed:
//! counters, gauges and histograms.

use std::fmt::Write;

use core314_actors::histogram::Counted;

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
            self.line(format_args!("{name}{} {value}\n", written(&labels)));
        }
    }

    /// A histogram for each set of labels. `per` is how many of the counted units make one of the metric's: 1e6 where
    /// microseconds were counted and seconds are told.
    pub fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        per: f64,
        series: impl IntoIterator<Item = (Vec<(&'a str, &'a str)>, Counted)>,
    ) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} histogram\n"));
        for (labels, counted) in series {
            let plain = written(&labels);
            let bounds = counted.buckets.iter().map(|(bound, count)| ((*bound as f64 / per).to_string(), *count));
            for (bound, count) in bounds.chain([("+Inf".to_owned(), counted.count)]) {
                let mut with_bound = labels.clone();
                with_bound.push(("le", &bound));
                self.line(format_args!("{name}_bucket{} {count}\n", written(&with_bound)));
            }
            let sum = counted.sum as f64 / per;
            self.line(format_args!("{name}_sum{plain} {sum}\n{name}_count{plain} {}\n", counted.count));
        }
    }

    pub fn finish(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a String takes whatever is written");
    }
}

fn written(labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, text)| format!("{key}=\"{}\"", escaped(text))).collect();
    if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_told_in_its_unit_and_cumulative() {
        let mut page = Exposition::default();
        let counted = Counted { buckets: vec![(50, 1), (2_500, 3)], count: 4, sum: 1_000_000 };
        page.histograms("took_seconds", "How long.", 1e6, [(vec![("route", "/a")], counted)]);
        assert_eq!(
            page.finish(),
            "# HELP took_seconds How long.\n# TYPE took_seconds histogram\n\
             took_seconds_bucket{route=\"/a\",le=\"0.00005\"} 1\ntook_seconds_bucket{route=\"/a\",le=\"0.0025\"} 3\n\
             took_seconds_bucket{route=\"/a\",le=\"+Inf\"} 4\n\
             took_seconds_sum{route=\"/a\"} 1\ntook_seconds_count{route=\"/a\"} 4\n"
        );
    }

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
