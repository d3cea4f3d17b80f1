//! The answers to probes and scrapes: `/livez`, `/readyz` and `/metrics`.

use crate::{metrics::Metrics, readiness::Gate};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use std::sync::Arc;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the answers are made from.
#[derive(Clone)]
struct Probes {
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
}

/// `/livez`, `/readyz` and `/metrics` of a node.
pub fn routes(gate: Arc<Gate>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(Probes { gate, metrics })
}

async fn readyz(State(probes): State<Probes>) -> impl IntoResponse {
    let readiness = probes.gate.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = if readiness.ready { "ready".to_owned() } else { readiness.reasons.join("\n") };
    (status, format!("{text}\n"))
}

async fn scrape(State(probes): State<Probes>, headers: HeaderMap) -> impl IntoResponse {
    let accepted: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    match (probes.metrics.scrape(&probes.gate), wants_plain(&accepted.join(","))) {
        (Ok(text), false) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        (Ok(text), true) => (StatusCode::OK, [(header::CONTENT_TYPE, PLAIN)], plain(&text)),
        (Err(_), _) => {
            let text = "a metric cannot be written\n".into();
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}

/// Whether a scraper with this `Accept` header prefers the plain text format to OpenMetrics. One that accepts anything,
/// or sends no such header, gets OpenMetrics.
fn wants_plain(accept: &str) -> bool {
    let weight = |wanted: &[&str]| {
        let mut most: f64 = 0.0;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            if wanted.iter().any(|wanted| kind.eq_ignore_ascii_case(wanted)) {
                let q = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok());
                most = most.max(q.unwrap_or(1.0));
            }
        }
        most
    };
    weight(&["text/plain", "text/*"]) > weight(&["application/openmetrics-text"])
}

/// Converts OpenMetrics 1.0 to the Prometheus text format 0.0.4: a counter's type is declared under the name of its
/// samples, and there are no units and no end mark. (Exemplars would not be allowed either, but no metric of ours has
/// one.)
fn plain(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // Help comes before the type, which says under which name it belongs.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), said) => help = Some((name, said.unwrap_or_default())),
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (end, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    known => ("", known),
                };
                if let Some((_, said)) = help.take().filter(|(of, _)| *of == name) {
                    // Quotes are escaped in OpenMetrics alone.
                    text.push_str(&format!("# HELP {name}{end} {}\n", said.replace("\\\"", "\"")));
                }
                text.push_str(&format!("# TYPE {name}{end} {kind}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{
        encoding::text::encode,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
        registry::{Registry, Unit},
    };

    #[test]
    fn a_scraper_gets_the_format_that_it_asks_for() {
        for (accept, plain) in [
            ("", false),
            ("*/*", false),
            ("application/openmetrics-text", false),
            ("text/plain", true),
            ("text/plain;version=0.0.4", true),
            ("text/plain; version=0.0.4; charset=utf-8, */*;q=0.1", true),
            ("text/*", true),
            // What Prometheus sends, before and after it knew OpenMetrics.
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                false,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
                true,
            ),
            ("application/openmetrics-text;q=0.3,text/plain;q=0.9", true),
            ("text/plain;q=0", false),
        ] {
            assert_eq!(wants_plain(accept), plain, "{accept:?}");
        }
    }

    #[test]
    fn the_text_format_has_its_own_names_of_types_and_no_end_mark() {
        let mut registry = Registry::with_prefix("signonce");
        let counter: Family<Vec<(String, String)>, Counter> = Family::default();
        counter.get_or_create(&vec![("why".into(), "a # {b".into())]).inc();
        registry.register("refused", "Says \"no\"", counter);
        registry.register("ready", "1 while it serves", Gauge::<i64>::default());
        let histogram = Histogram::new([1.0]);
        histogram.observe(0.5);
        registry.register_with_unit("took", "How long", Unit::Seconds, histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let expected = "\
# HELP signonce_refused_total Says \"no\".
# TYPE signonce_refused_total counter
signonce_refused_total{why=\"a # {b\"} 1
# HELP signonce_ready 1 while it serves.
# TYPE signonce_ready gauge
signonce_ready 0
# HELP signonce_took_seconds How long.
# TYPE signonce_took_seconds histogram
signonce_took_seconds_sum 0.5
signonce_took_seconds_count 1
signonce_took_seconds_bucket{le=\"1.0\"} 1
signonce_took_seconds_bucket{le=\"+Inf\"} 1
";
        assert_eq!(plain(&text), expected, "{text}");
    }
}
