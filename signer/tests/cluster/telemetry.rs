//! Traces: a small collector receives the spans of one request, and nothing that is secret.

use crate::common::{PATIENCE, World, until};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, header::HOST},
    routing::post,
};
use serde_json::Value;
use signonce_cli::{commands::demo::chain, dev::Signal};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use std::{
    collections::BTreeSet,
    fs,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Every body that was posted.
type Taken = Arc<Mutex<Vec<Bytes>>>;

/// A collector; its URL, what it has taken, and itself.
async fn collector() -> (String, Taken, JoinHandle<std::io::Result<()>>) {
    let taken = Taken::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let url = format!("http://{at}");
    let take = async move |State(taken): State<Taken>, headers: HeaderMap, body: Bytes| {
        // As a proxy in front of it would: what is for another place is not taken.
        if headers.get(HOST).is_some_and(|host| host.as_bytes() == at.as_bytes()) {
            taken.lock().unwrap().push(body);
        }
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&taken));
    let collector = tokio::spawn(async move { axum::serve(listener, router).await });
    (url, taken, collector)
}

/// Every span, as OTLP says that it must look: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
fn spans(taken: &Taken) -> Vec<Value> {
    let list = |of: &Value| of.as_array().unwrap().clone();
    let bodies = taken
        .lock()
        .unwrap()
        .iter()
        .map(|body| serde_json::from_slice(body).unwrap())
        .collect::<Vec<Value>>();
    let resources = bodies.iter().flat_map(|body| list(&body["resourceSpans"]));
    let scopes = resources.flat_map(|resource| {
        assert_eq!(text(&resource["resource"], "service.name").as_deref(), Some("signonce"));
        list(&resource["scopeSpans"])
    });
    let spans: Vec<Value> = scopes.flat_map(|scope| list(&scope["spans"])).collect();
    for span in &spans {
        let is_hex = |field: &str, digits: usize| {
            let id = span[field].as_str().unwrap();
            assert!(id.len() == digits && id.bytes().all(|b| b.is_ascii_hexdigit()), "{span}");
        };
        is_hex("traceId", 32);
        is_hex("spanId", 16);
        assert!((1..=5).contains(&span["kind"].as_u64().unwrap()), "{span}");
        assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"), "{span}");
    }
    spans
}

/// 64-bit numbers are text in JSON.
fn nanos(span: &Value, field: &str) -> u64 {
    span[field].as_str().unwrap().parse().unwrap()
}

fn text(of: &Value, name: &str) -> Option<String> {
    let found = of["attributes"].as_array()?.iter().find(|attribute| attribute["key"] == name)?;
    found["value"]["stringValue"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_stages_of_a_request_and_no_secret() {
    let mut world = World::start(&["v1"]).await;
    let (url, taken, collector) = collector().await;
    // The leader writes and syncs what it is asked.
    let node = world.leader_other_than(None).await;
    world.cluster.signal(node, Signal::Term).unwrap();
    world.cluster.wait_exit(node, PATIENCE).unwrap();
    let leader = world.leader_other_than(Some(node)).await;
    let config = world.cluster.config_path(node);
    let text_of_config = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text_of_config}\n[telemetry]\notlp = \"{url}\"\n")).unwrap();
    world.cluster.start_node(node).unwrap();
    world.cluster.wait_ready_nodes(&[node], PATIENCE).await.unwrap();
    until("it leads again", async || {
        let _ = world.cluster.admin(leader).transfer_leadership(Some(node.into())).await;
        let status = world.cluster.admin(node).status().await.ok()?;
        (status.leader == Some(status.node)).then_some(())
    })
    .await;

    let vote = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(0));
    let params = world.params(GRANDPA, &vote);
    let signed = world.client_of("v1", node).sign(&params).await.unwrap();
    let other = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(1));
    let refused = world.params(GRANDPA, &other);
    world.client_of("v1", node).sign(&refused).await.unwrap_err();

    let roots = until("the spans of both requests are there", async || {
        let roots: Vec<Value> = spans(&taken).into_iter().filter(|span| span["name"] == "sign").collect();
        (roots.len() >= 2).then_some(roots)
    })
    .await;
    let root = roots.iter().find(|span| span["status"].is_null()).unwrap();
    assert_eq!(text(root, "signonce.client").as_deref(), Some("v1"));
    assert_eq!(text(root, "signonce.class").as_deref(), Some("grandpaVote"));
    assert_eq!(text(root, "signonce.log_index"), signed.log_index.map(|at| at.to_string()));
    let all = spans(&taken);
    let children: Vec<&Value> = all.iter().filter(|span| span["parentSpanId"] == root["spanId"]).collect();
    let names: BTreeSet<&str> = children.iter().map(|span| span["name"].as_str().unwrap()).collect();
    for stage in
        ["decode", "rights", "queue", "append", "sync", "replicate", "commit", "apply", "sign", "reply"]
    {
        assert!(names.contains(stage), "{stage} is missing of {names:?}");
    }
    for child in children {
        assert_eq!(child["traceId"], root["traceId"]);
        assert!(nanos(child, "startTimeUnixNano") >= nanos(root, "startTimeUnixNano"), "{child}");
    }
    let refused = roots.iter().find(|span| !span["status"].is_null()).unwrap();
    assert_eq!(text(refused, "signonce.refused").as_deref(), Some("equivocation"));
    assert_eq!(refused["status"]["code"], 2);

    // Neither what was signed, nor the signature, nor a key's secret.
    let sent: Vec<u8> = taken.lock().unwrap().concat();
    let text = String::from_utf8_lossy(&sent).into_owned();
    let signature = &signed.signature.0;
    assert!(!sent.windows(signature.len()).any(|bytes| bytes == signature.as_slice()));
    assert!(!text.contains(&hex::encode(signature)));
    assert!(!text.contains("AGE-SECRET-KEY") && !text.contains("BEGIN"), "{text}");

    collector.abort();
    for round in 2..6 {
        let vote = chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, 1, chain::Flavour(0));
        let asked = world.params(GRANDPA, &vote);
        world.client_of("v1", node).sign(&asked).await.expect("a collector that is away holds nothing up");
    }
}
