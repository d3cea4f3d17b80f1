//! Prometheus' text form, as far as signers and validators use it.

use crate::http;
use anyhow::ensure;
use std::{collections::BTreeMap, net::SocketAddr};

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(Vec<Sample>);

#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Asks a process.
    ///
    /// # Errors
    /// If it does not answer with metrics.
    pub async fn scrape(address: SocketAddr) -> anyhow::Result<Self> {
        let (status, text) = http::get(address, "/metrics").await?;
        ensure!(status == 200, "{address} answers {status} to a scrape");
        Ok(Self::parse(&text))
    }

    /// Lines that are no samples are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The sum of a metric's series that have all of these labels; none if there is no such series.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted = |sample: &&Sample| {
            sample.name == name
                && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|v| v == value))
        };
        let mut found = self.0.iter().filter(wanted).map(|sample| sample.value).peekable();
        found.peek()?;
        Some(found.sum())
    }

    /// The sums of a metric's series, by the value of one label.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.0.iter().filter(|sample| sample.name == name) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_insert(0.0) += sample.value;
            }
        }
        sums
    }

    /// Several scrapes as one, so that sums go over all of them.
    pub fn together(scrapes: impl IntoIterator<Item = Self>) -> Self {
        Self(scrapes.into_iter().flat_map(|scrape| scrape.0).collect())
    }
}

/// `name{label="value",…} value [timestamp]`
fn sample(line: &str) -> Option<Sample> {
    let (head, labels, tail) = match line.split_once('{') {
        Some((name, rest)) => {
            let end = end_of_labels(rest)?;
            (name, labels(&rest[..end])?, &rest[end + 1..])
        }
        None => {
            let (name, tail) = line.split_once(' ')?;
            (name, BTreeMap::new(), tail)
        }
    };
    let value = tail.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: head.trim().to_owned(), labels, value })
}

/// Where the closing brace is: not inside quotes.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn labels(text: &str) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start_matches(',').trim();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let (value, length) = quoted(after)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after[length..].trim_start_matches(',').trim();
    }
    Some(labels)
}

/// A value up to its closing quote, and how many bytes it took with that quote.
fn quoted(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP signonce_requests Sign and VRF requests by outcome.
# TYPE signonce_requests counter
signonce_requests_total{method="sign",class="babeBlock",outcome="granted"} 17
signonce_requests_total{method="sign",class="babeBlock",outcome="repeated"} 2
signonce_requests_total{method="vrf",class="babeVrf",outcome="free"} 40 1700000000000
signonce_ready 1
substrate_block_height{status="best",chain="a \"}, b"} 1.5e3
# EOF
"#;

    #[test]
    fn series_are_summed_by_their_labels() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.sum("signonce_requests_total", &[]), Some(59.0));
        assert_eq!(metrics.sum("signonce_requests_total", &[("class", "babeBlock")]), Some(19.0));
        let granted = [("class", "babeBlock"), ("outcome", "granted")];
        assert_eq!(metrics.sum("signonce_requests_total", &granted), Some(17.0));
        assert_eq!(metrics.sum("signonce_requests_total", &[("class", "para")]), None);
        assert_eq!(metrics.sum("signonce_ready", &[]), Some(1.0));
        let by_class = metrics.by_label("signonce_requests_total", "class");
        assert_eq!(by_class, [("babeBlock".to_owned(), 19.0), ("babeVrf".to_owned(), 40.0)].into());
    }

    #[test]
    fn a_label_may_hold_quotes_and_braces() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.sum("substrate_block_height", &[("chain", r#"a "}, b"#)]), Some(1_500.0));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        for line in ["", "name", "name{a=\"b\" 1", "name{a=\"b\"} x", "name{a} 1", "{"] {
            assert_eq!(Metrics::parse(line), Metrics::default(), "{line}");
        }
    }

    #[test]
    fn scrapes_of_several_signers_add_up() {
        let both = Metrics::together([Metrics::parse(TEXT), Metrics::parse(TEXT)]);
        assert_eq!(both.sum("signonce_requests_total", &[]), Some(118.0));
    }
}
