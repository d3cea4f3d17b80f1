//! Traces: a small collector receives the spans of one request, and nothing that is secret.

use crate::common::{PATIENCE, World, until};
use axum::{Router, body::Bytes, extract::State, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use signonce::{cli::demo::chain, dev::Signal};
use signonce_protocol::{GrandpaStage, KeyType, Round, SetId};
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
    let take = async |State(taken): State<Taken>, body: Bytes| taken.lock().unwrap().push(body);
    let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&taken));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let collector = tokio::spawn(async move { axum::serve(listener, router).await });
    (url, taken, collector)
}

fn spans(taken: &Taken) -> Vec<Span> {
    let taken = taken.lock().unwrap();
    let messages = taken.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let resources = messages.flat_map(|message| message.resource_spans);
    resources.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
}

fn text<'a>(span: &'a Span, name: &str) -> Option<&'a str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
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
    let params = world.params(KeyType::Grandpa, &vote);
    let signed = world.client_of("v1", node).sign(&params).await.unwrap();
    let other = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(1));
    let refused = world.params(KeyType::Grandpa, &other);
    world.client_of("v1", node).sign(&refused).await.unwrap_err();

    let roots = until("the spans of both requests are there", async || {
        let roots: Vec<Span> = spans(&taken).into_iter().filter(|span| span.name == "sign").collect();
        (roots.len() >= 2).then_some(roots)
    })
    .await;
    let root = roots.iter().find(|span| span.status.is_none()).unwrap();
    assert_eq!(text(root, "signonce.client"), Some("v1"));
    assert_eq!(text(root, "signonce.class"), Some("grandpaVote"));
    assert_eq!(text(root, "signonce.log_index"), signed.log_index.map(|at| at.to_string()).as_deref());
    let all = spans(&taken);
    let children: Vec<&Span> = all.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    let names: BTreeSet<&str> = children.iter().map(|span| span.name.as_str()).collect();
    for stage in
        ["decode", "rights", "queue", "append", "sync", "replicate", "commit", "apply", "sign", "reply"]
    {
        assert!(names.contains(stage), "{stage} is missing of {names:?}");
    }
    for child in children {
        assert_eq!(child.trace_id, root.trace_id);
        assert!(child.start_time_unix_nano <= child.end_time_unix_nano);
        assert!(child.start_time_unix_nano >= root.start_time_unix_nano, "{}", child.name);
    }
    let refused = roots.iter().find(|span| span.status.is_some()).unwrap();
    assert_eq!(text(refused, "signonce.refused"), Some("equivocation"));

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
        let asked = world.params(KeyType::Grandpa, &vote);
        world.client_of("v1", node).sign(&asked).await.expect("a collector that is away holds nothing up");
    }
}
