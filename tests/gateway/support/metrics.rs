//! The metrics page, read back: names, labels, values.

use std::collections::BTreeMap;

/// One line of the page.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// The name, with `_total`, `_bucket` and the like.
    pub(crate) name: String,
    /// The labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The value.
    pub(crate) value: f64,
}

/// All samples of a page.
#[derive(Clone, Debug)]
pub(crate) struct Samples(Vec<Sample>);

impl Samples {
    /// Reads a page in the Prometheus text format.
    pub(crate) fn parse(page: &str) -> Samples {
        let lines = page
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        Samples(lines.map(sample).collect())
    }

    /// Every sample.
    pub(crate) fn all(&self) -> &[Sample] {
        &self.0
    }

    /// The sum of the samples of `name` that have all of `labels`; `None` if there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &Sample| {
            labels
                .iter()
                .all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value))
        };
        let values = self
            .0
            .iter()
            .filter(|sample| sample.name == name && has(sample))
            .map(|sample| sample.value);
        values.reduce(|a, b| a + b)
    }

    /// Fails if any counter of `earlier` is lower here or gone.
    pub(crate) fn expect_not_below(&self, earlier: &Samples) {
        let counts = |name: &str| {
            ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        for before in earlier.0.iter().filter(|sample| counts(&sample.name)) {
            let same = |now: &&Sample| now.name == before.name && now.labels == before.labels;
            let now = self
                .0
                .iter()
                .find(same)
                .unwrap_or_else(|| panic!("{before:?} is gone"));
            assert!(
                now.value >= before.value,
                "{before:?} fell to {}",
                now.value
            );
        }
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line
        .rsplit_once(' ')
        .unwrap_or_else(|| panic!("not a sample: {line:?}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, pairs(rest.strip_suffix('}').expect("labels end"))),
        None => (series, BTreeMap::new()),
    };
    Sample {
        name: name.to_owned(),
        labels,
        value: value.parse().expect("a number"),
    }
}

/// Reads `a="x",b="y"`, with the escapes of the format.
fn pairs(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((key, rest)) = text.split_once("=\"") {
        let (mut value, mut escaped, mut end) = (String::new(), false, rest.len());
        for (at, letter) in rest.char_indices() {
            match letter {
                '\\' if !escaped => escaped = true,
                '"' if !escaped => {
                    end = at;
                    break;
                }
                'n' if escaped => (value, escaped) = (value + "\n", false),
                other => {
                    value.push(other);
                    escaped = false;
                }
            }
        }
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        text = &rest[end + 1..];
    }
    labels
}
