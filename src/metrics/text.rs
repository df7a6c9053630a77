//! The metrics page: Prometheus text 0.0.4 and OpenMetrics 1.0.

use std::fmt::Write;

use super::histogram::{BOUNDS, Totals};
use super::names::{Kind, Metric};

/// The two ways to write a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: what everybody reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of a page.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What an `Accept` field asks for (RFC 9110, section 12.5.1): OpenMetrics where it is named and ranked no lower
    /// than text, else text.
    #[must_use]
    pub fn negotiate(accept: &str) -> Format {
        let (mut open_metrics, mut text) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let wanted = match parts.next() {
                Some("application/openmetrics-text") => &mut open_metrics,
                Some("text/plain" | "text/*") => &mut text,
                _ => continue,
            };
            let (mut rank, mut known) = (1.0, true);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", q)) => rank = q.parse().unwrap_or(0.0),
                    Some(("version", version)) => known = matches!(version, "1.0.0" | "0.0.4"),
                    _ => {}
                }
            }
            if known {
                *wanted = f64::max(*wanted, rank);
            }
        }
        if open_metrics > 0.0 && open_metrics >= text {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }
}

/// A page being written. Samples may come in any order; the page groups them by metric.
#[derive(Debug)]
pub struct Page {
    format: Format,
    /// The samples of each metric, by its number.
    samples: Vec<String>,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(format: Format) -> Page {
        Page {
            format,
            samples: vec![String::new(); Metric::ALL.len()],
        }
    }

    /// Writes one sample of a counter. `labels` are the values for [`Metric::labels`], in that order.
    pub fn count(&mut self, metric: Metric, labels: &[&str], count: u64) {
        self.begin(metric, "", labels, None);
        self.end(metric, itoa::Buffer::new().format(count));
    }

    /// Writes one sample of a gauge, of an info, or of a counter with fractions.
    pub fn value(&mut self, metric: Metric, labels: &[&str], value: f64) {
        self.begin(metric, "", labels, None);
        self.end(metric, &number(value));
    }

    /// Writes the samples of one histogram.
    pub fn histogram(&mut self, metric: Metric, labels: &[&str], totals: &Totals) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|&bound| self.bound(bound as f64 / 1e9));
        let bounds: Vec<String> = bounds.chain(["+Inf".to_owned()]).collect();
        for (bound, bucket) in bounds.iter().zip(totals.buckets) {
            count += bucket;
            self.begin(metric, "_bucket", labels, Some(bound));
            self.end(metric, itoa::Buffer::new().format(count));
        }
        self.begin(metric, "_sum", labels, None);
        self.end(metric, &number(totals.seconds));
        self.begin(metric, "_count", labels, None);
        self.end(metric, itoa::Buffer::new().format(count));
    }

    /// The whole page.
    #[must_use]
    pub fn finish(self) -> String {
        let mut page = String::with_capacity(self.samples.iter().map(|s| s.len() + 256).sum());
        for (metric, samples) in Metric::ALL.iter().zip(&self.samples) {
            if !samples.is_empty() {
                let (name, kind) = self.family(*metric);
                // Writing to a String cannot fail.
                let _ = writeln!(
                    page,
                    "# HELP {name} {}\n# TYPE {name} {kind}",
                    metric.help()
                );
                page.push_str(samples);
            }
        }
        if self.format == Format::OpenMetrics {
            page.push_str("# EOF\n");
        }
        page
    }

    /// OpenMetrics names a family without the ending that its samples carry.
    fn family(&self, metric: Metric) -> (&'static str, &'static str) {
        let name = metric.name();
        match (metric.kind(), self.format) {
            (Kind::Counter, Format::OpenMetrics) => (name.trim_end_matches("_total"), "counter"),
            (Kind::Info, Format::OpenMetrics) => (name.trim_end_matches("_info"), "info"),
            (Kind::Counter, Format::Text) => (name, "counter"),
            (Kind::Gauge, _) | (Kind::Info, Format::Text) => (name, "gauge"),
            (Kind::Histogram, _) => (name, "histogram"),
        }
    }

    /// OpenMetrics wants a bound to look like a float even if it is whole.
    fn bound(&self, seconds: f64) -> String {
        match self.format {
            Format::Text => format!("{seconds}"),
            Format::OpenMetrics => format!("{seconds:?}"),
        }
    }

    fn begin(&mut self, metric: Metric, suffix: &str, labels: &[&str], bound: Option<&str>) {
        debug_assert_eq!(labels.len(), metric.labels().len(), "labels of {metric:?}");
        let Some(out) = self.samples.get_mut(metric as usize) else {
            return;
        };
        out.push_str(metric.name());
        out.push_str(suffix);
        let given = metric.labels().iter().copied().zip(labels.iter().copied());
        let mut before = '{';
        for (name, value) in given.chain(bound.map(|bound| ("le", bound))) {
            out.push(before);
            out.push_str(name);
            out.push_str("=\"");
            escape(out, value);
            out.push('"');
            before = ',';
        }
        if before == ',' {
            out.push('}');
        }
        out.push(' ');
    }

    fn end(&mut self, metric: Metric, value: &str) {
        if let Some(out) = self.samples.get_mut(metric as usize) {
            out.push_str(value);
            out.push('\n');
        }
    }
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// A label's value as both formats want it.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
