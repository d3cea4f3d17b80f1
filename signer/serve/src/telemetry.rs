//! Traces of sign requests, for OpenTelemetry collectors: `[telemetry] otlp` in the configuration. Without it nothing
//! is kept and nothing is sent.
//!
//! One request is one trace: a span `sign`, and under it one for each stage that the histograms have. The stages of the
//! request's own task (decode, rights, commit, sign, reply) are its own; those of the log (queue, append, sync,
//! replicate, apply) are what this node's log did while the request waited for it, for this request and those beside it
//! in the batch. Spans carry names, times, and what an operator may see anyway (client, key, class of work, outcome,
//! place in the log): no payload, no signature.
//!
//! They are sent as OTLP over HTTP in its JSON form
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): ids in hex, enums as numbers, 64-bit numbers
//! as text. Its protobuf form would take a dozen crates more into a program that holds keys.
//!
//! Sending never holds a request up: traces that a collector does not take in time are dropped, and the log says so.

use serde_json::{Value, json};
use signonce_cluster::{Moment, Moments, Stage};
use signonce_shared::{
    config::Collector,
    http::{HttpClient, Limits},
};
use std::{
    cell::RefCell,
    future::Future,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::mpsc;

/// The most traces that wait to be sent.
const WAITING: usize = 2_048;
/// The most traces in one request to the collector: some hundred kilobytes.
const TOGETHER: usize = 256;
/// How long traces gather before they are sent. By then the log's stages of all of them have ended.
const GATHER: Duration = Duration::from_secs(1);
/// The limits of a collector's answer.
const LIMITS: Limits = Limits { time: Duration::from_secs(5), bytes: 64 << 10 };

/// `SpanKind` and `StatusCode` of OTLP.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const FAILED: u8 = 2;

tokio::task_local! {
    /// The trace of the request that the current task serves.
    static TRACE: RefCell<Trace>;
}

/// What is known of a request while it is served.
#[derive(Debug, Default)]
pub struct Trace {
    stages: Vec<(Stage, Instant, Instant)>,
    facts: Vec<(&'static str, String)>,
}

/// A request that was answered.
struct Finished {
    trace: Trace,
    began: Instant,
    ended: Instant,
    /// The refusal's code.
    refused: Option<&'static str>,
}

/// The queue to the collector.
#[derive(Clone, Debug)]
pub struct Telemetry {
    finished: mpsc::Sender<Finished>,
}

/// The node that the spans are from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The cluster's id.
    pub cluster: String,
    /// The node.
    pub node: String,
}

/// Records that the current request was in `stage` until now. Does nothing without a trace.
pub fn note(stage: Stage, began: Instant) {
    let _ = TRACE.try_with(|trace| trace.borrow_mut().stages.push((stage, began, Instant::now())));
}

/// Records a fact about the current request.
pub fn fact(name: &'static str, value: impl ToString) {
    let _ = TRACE.try_with(|trace| trace.borrow_mut().facts.push((name, value.to_string())));
}

impl Telemetry {
    /// Sends to `collector` until the node ends.
    pub fn start(collector: Collector, origin: Origin, moments: Moments) -> Self {
        moments.keep();
        let (finished, waiting) = mpsc::channel(WAITING);
        tokio::spawn(send(waiting, collector, origin, moments));
        Self { finished }
    }

    /// Serves a request and traces it. `refused` gives the code, if it was refused.
    pub async fn traced<T>(
        &self,
        serve: impl Future<Output = T>,
        refused: impl FnOnce(&T) -> Option<&'static str>,
    ) -> T {
        let began = Instant::now();
        let whole = async {
            let answer = serve.await;
            (answer, TRACE.with(|trace| trace.take()))
        };
        let (answer, trace) = TRACE.scope(RefCell::default(), whole).await;
        let finished = Finished { trace, began, ended: Instant::now(), refused: refused(&answer) };
        // The queue is full: the collector is slow or away. Requests do not wait for it.
        let _ = self.finished.try_send(finished);
        answer
    }
}

/// Gathers what was finished, and sends it.
async fn send(mut waiting: mpsc::Receiver<Finished>, collector: Collector, origin: Origin, moments: Moments) {
    let (http, url) = (HttpClient::plain(), collector.url());
    let mut well = true;
    while let Some(first) = waiting.recv().await {
        // A busy node fills many batches.
        if waiting.len() < TOGETHER {
            tokio::time::sleep(GATHER).await;
        }
        let mut batch = vec![first];
        while batch.len() < TOGETHER
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        let count = batch.len();
        let body = export(batch, &origin, &moments).to_string().into_bytes();
        let sent = match http.post_json(&url, body, LIMITS).await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("it answered {}", answer.status())),
            Err(error) => Err(error.to_string()),
        };
        // Logged once when it begins and once when it ends.
        match (&sent, well) {
            (Err(why), true) => {
                tracing::warn!(
                    host = collector.host,
                    why,
                    count,
                    "traces are lost: the collector takes none"
                );
            }
            (Ok(()), false) => tracing::info!(host = collector.host, "the collector takes traces again"),
            _ => {}
        }
        well = sent.is_ok();
    }
}

/// The body of a request for a batch: `ExportTraceServiceRequest`.
fn export(batch: Vec<Finished>, origin: &Origin, moments: &Moments) -> Value {
    let clock = Clock::now();
    let spans: Vec<Value> = batch.into_iter().flat_map(|finished| spans(finished, &clock, moments)).collect();
    let attributes = [
        attribute("service.name", "signonce"),
        attribute("service.version", env!("CARGO_PKG_VERSION")),
        attribute("service.namespace", &origin.cluster),
        attribute("service.instance.id", &origin.node),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{ "scope": { "name": "signonce" }, "spans": spans }],
    }] })
}

/// The request's span, and those of its stages.
fn spans(finished: Finished, clock: &Clock, moments: &Moments) -> Vec<Value> {
    let Finished { trace: Trace { mut stages, facts }, began, ended, refused } = finished;
    // Only a request that went to the log waited for these stages.
    let waited = stages.iter().find(|(stage, ..)| *stage == Stage::Commit).copied();
    if let Some((_, from, to)) = waited {
        let log = moments.between(from, to);
        stages.extend(log.into_iter().map(|Moment { stage, began, ended }| (stage, began, ended)));
    }
    let (trace_id, root_id) =
        (hex::encode(rand::random::<[u8; 16]>()), hex::encode(rand::random::<[u8; 8]>()));
    let span = |id: &str, name: &str, kind: u8, began: Instant, ended: Instant| {
        json!({
            "traceId": trace_id,
            "spanId": id,
            "name": name,
            "kind": kind,
            "startTimeUnixNano": clock.nanos(began).to_string(),
            "endTimeUnixNano": clock.nanos(ended).to_string(),
        })
    };
    let mut root = span(&root_id, "sign", SERVER, began, ended);
    let attributes = facts.iter().map(|(name, value)| attribute(name, value));
    root["attributes"] = attributes.chain(refused.map(|code| attribute("signonce.refused", code))).collect();
    if let Some(code) = refused {
        root["status"] = json!({ "code": FAILED, "message": code });
    }
    let child = |(stage, began, ended): (Stage, Instant, Instant)| {
        let id = hex::encode(rand::random::<[u8; 8]>());
        let mut child = span(&id, stage.name(), INTERNAL, began, ended);
        child["parentSpanId"] = json!(root_id);
        child
    };
    std::iter::once(root).chain(stages.into_iter().map(child)).collect()
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// The wall clock at one instant.
struct Clock {
    at: Instant,
    wall: Duration,
}

impl Clock {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), wall }
    }

    fn nanos(&self, then: Instant) -> u64 {
        let wall = self.wall.saturating_sub(self.at.saturating_duration_since(then));
        u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX)
    }
}
