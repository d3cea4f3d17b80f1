//! `audit watch` against a made-up chain that shows what it is told to: signatures that the cluster granted, and
//! those of a copy of a key.

use crate::common::{BINARY, PATIENCE, World, decoded, free_address, run, until};
use axum::{Router, extract::State, routing::post};
use jsonrpsee::{
    RpcModule,
    server::{Server, ServerHandle, SubscriptionMessage},
};
use parity_scale_codec::Encode as _;
use serde_json::{Value, json};
use signonce_cli::commands::demo::chain::{self, Flavour};
use signonce_keys::{Keyring, ReleaseToken, SecretKey, SecretString};
use signonce_protocol::{
    Carry, Digest, KeyId, RawPayload,
    rpc::{ChainRef, SignParams},
};
use signonce_substrate::{
    BABE, Content, GRANDPA, GrandpaStage, Payload, Round, SR25519, SetId, payload::DigestItem,
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
};
use tokio::{net::TcpListener, sync::broadcast};

/// What a node of the chain answers and tells.
#[derive(Clone)]
struct Fake {
    genesis: String,
    set: Arc<Mutex<u64>>,
    best: Arc<Mutex<Value>>,
    heads: broadcast::Sender<Value>,
    grandpa: broadcast::Sender<Value>,
}

impl Fake {
    fn new(genesis: impl ToString) -> Self {
        let (heads, grandpa) = (broadcast::channel(16).0, broadcast::channel(16).0);
        Self { genesis: genesis.to_string(), set: Arc::default(), best: Arc::default(), heads, grandpa }
    }

    fn module(self) -> RpcModule<Self> {
        let mut module = RpcModule::new(self);
        module.register_method("chain_getBlockHash", |_, fake, _| fake.genesis.clone()).unwrap();
        module.register_method("chain_getFinalizedHead", |_, fake, _| fake.genesis.clone()).unwrap();
        module.register_method("chain_getBlock", |_, _, _| json!({ "justifications": null })).unwrap();
        module.register_method("chain_getHeader", |_, fake, _| fake.best.lock().unwrap().clone()).unwrap();
        let set = |fake: &Self| format!("0x{}", hex::encode(fake.set.lock().unwrap().to_le_bytes()));
        module.register_method("state_call", move |_, fake, _| set(fake)).unwrap();
        for (subscribe, told, end, heads) in [
            ("chain_subscribeAllHeads", "chain_allHead", "chain_unsubscribeAllHeads", true),
            (
                "grandpa_subscribeJustifications",
                "grandpa_justifications",
                "grandpa_unsubscribeJustifications",
                false,
            ),
        ] {
            module
                .register_subscription(subscribe, told, end, move |_, pending, fake, _| async move {
                    let mut news = if heads { fake.heads.subscribe() } else { fake.grandpa.subscribe() };
                    let sink = pending.accept().await?;
                    while let Ok(one) = news.recv().await {
                        let raw = serde_json::value::to_raw_value(&one)?;
                        if sink.send(SubscriptionMessage::from(raw)).await.is_err() {
                            break;
                        }
                    }
                    Ok(())
                })
                .unwrap();
        }
        module
    }

    async fn serve(&self, at: SocketAddr) -> ServerHandle {
        let server = Server::builder().build(at).await.unwrap();
        server.start(self.clone().module())
    }

    /// Shows a block with this seal.
    fn show(&self, header: &Payload, seal: &[u8]) {
        let header = sealed(header, seal);
        *self.best.lock().unwrap() = header.clone();
        self.heads.send(header).unwrap();
    }
}

/// A sealed header as nodes write it.
pub fn sealed(payload: &Payload, seal: &[u8]) -> Value {
    let Content::BabeHeader(babe) = payload.content() else { panic!("{payload:?}") };
    let header = &babe.header;
    let item = |item: &DigestItem| match item {
        DigestItem::PreRuntime(engine, data) => (6u8, engine, data).encode(),
        other => panic!("{other:?}"),
    };
    let mut logs: Vec<Vec<u8>> = header.digest.iter().map(item).collect();
    logs.push((5u8, *b"BABE", seal.to_vec()).encode());
    let logs: Vec<String> = logs.iter().map(|log| format!("0x{}", hex::encode(log))).collect();
    json!({
        "parentHash": header.parent,
        "number": format!("{:#x}", header.number.0),
        "stateRoot": header.state_root,
        "extrinsicsRoot": header.extrinsics_root,
        "digest": { "logs": logs },
    })
}

/// A copy of the key that the cluster has as well: what nobody should have.
pub struct Copied {
    pub id: KeyId,
    ring: Keyring,
}

struct AnyWay;

impl ReleaseToken for AnyWay {
    fn covers(&self, _: &KeyId, _: &Digest, _: &Carry) -> bool {
        true
    }
}

impl Copied {
    pub fn alice() -> Self {
        let secret = SecretKey::from_suri(SR25519, &SecretString::from("//Alice"), None).unwrap();
        let id = KeyId { key_type: BABE, public: secret.public() };
        let ring = Keyring::new();
        ring.insert(id, secret).unwrap();
        Self { id, ring }
    }

    pub fn sign(&self, payload: &Payload) -> Vec<u8> {
        let signed = self.ring.sign(&self.id, &payload.clone().into()).unwrap().release(AnyWay);
        signed.signature.as_bytes().to_vec()
    }

    /// Takes the key into the cluster.
    fn import(&self, world: &World) {
        let keystore = world.scratch("keystore");
        fs::create_dir(&keystore).unwrap();
        let name = format!("62616265{}", hex::encode(self.id.public.as_bytes()));
        fs::write(keystore.join(name), "\"//Alice\"").unwrap();
        let admin = format!("unix:{}", world.cluster.admin_socket(1).display());
        let arguments = ["keys", "import", "--chain", "dev", "--group", "alice", "--yes", "--admin", &admin];
        let output = run(&[&arguments[..], &[keystore.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A running watch and the lines it has printed.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(world: &World, chain: &str, more: &[&str]) -> Self {
        let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
        let fixed =
            ["audit", "watch", "--chain", chain, "--admin", &admin, "--json", "--verbose", "--grace", "3"];
        let mut command = Command::new(BINARY);
        command.args(fixed).args(more).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    /// The next event of this name.
    fn next(&self, name: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {name} was told"));
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
            assert_ne!(event["event"], "alarm", "{event}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a webhook was sent.
async fn webhook() -> (SocketAddr, mpsc::Receiver<String>) {
    let (send, received) = mpsc::channel();
    let take = async |State(send): State<mpsc::Sender<String>>, body: String| {
        send.send(body).unwrap();
    };
    let router = Router::new().route("/alarm", post(take)).with_state(send);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

pub fn header(slot: signonce_protocol::Slot, view: u64) -> RawPayload {
    chain::header(slot, &[1; 32], &[2; 64], Flavour(view))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_granted_is_known_and_a_signature_of_a_copied_key_raises_the_alarm() {
    let world = World::start(&["v1"]).await;
    let copied = Copied::alice();
    copied.import(&world);
    let fake = Fake::new(world.cluster.genesis());
    let _server = fake.serve("127.0.0.1:0".parse().unwrap()).await;
    let at = free_address();
    let _served = fake.serve(at).await;
    let (hook, received) = webhook().await;
    let hook = format!("http://{hook}/alarm");
    let mut watch = Watch::start(&world, &format!("ws://{at}"), &["--exit-on-alarm", "--webhook", &hook]);
    let watching = watch.next("watching");
    assert_eq!(watching["missing"], json!(["BEEFY justifications (but those in blocks)"]));

    // A block that v1 had sealed by the cluster.
    let client = world.client("v1");
    let slot = world.next_slot();
    let raw = header(slot, 0);
    let chain = ChainRef::Id(world.cluster.genesis());
    let params = SignParams { chain, key: copied.id.public, payload: raw.clone() };
    let reply = client.sign(&params).await.unwrap();
    fake.show(&decoded(&raw), &reply.signature.0);
    let known = watch.next("known");
    assert_eq!(known["sighting"]["duty"]["slot"], json!(slot));

    // A precommit of the validator's GRANDPA key, in a set that only its signature and the runtime tell.
    *fake.set.lock().unwrap() = 41;
    let vote = chain::vote(SetId(40), Round(3), GrandpaStage::Precommit, 6, Flavour(0));
    let gran = world.key(GRANDPA);
    let reply = client.sign(&world.params(GRANDPA, &vote)).await.unwrap();
    let Content::GrandpaVote(content) = decoded(&vote).content().clone() else { panic!() };
    let target = (content.target_hash, 6u32);
    let precommit =
        (target, <[u8; 64]>::try_from(reply.signature.0).unwrap(), gran.public.as_bytes()[..32].to_vec());
    let (target, signature, voter) = precommit;
    let voter: [u8; 32] = voter.try_into().unwrap();
    let justification = (3u64, target, vec![(target, signature, voter)], 0u8).encode();
    fake.grandpa.send(json!(format!("0x{}", hex::encode(justification)))).unwrap();
    assert_eq!(watch.next("known")["sighting"]["duty"]["setId"], 40);

    // The same slot, other bytes, signed elsewhere: the cluster would never have done that.
    let forged = decoded(&header(slot, 1));
    fake.show(&forged, &copied.sign(&forged));
    let alarm = watch.next("alarm");
    assert_eq!(alarm["sighting"]["digest"], json!(forged.digest()));
    assert_eq!(alarm["sighting"]["key"], json!(copied.id));
    assert_eq!(alarm["doubt"], Value::Null);
    let posted: Value = serde_json::from_str(&received.recv_timeout(PATIENCE).unwrap()).unwrap();
    assert_eq!(posted, alarm);
    assert_eq!(watch.child.wait().unwrap().code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_goes_away_makes_it_blind_and_what_was_shown_meanwhile_is_caught_up() {
    let world = World::start(&["v1"]).await;
    let copied = Copied::alice();
    copied.import(&world);
    let fake = Fake::new(world.cluster.genesis());
    let at = free_address();
    let metrics = free_address();
    let watch = Watch::start(&world, &format!("ws://{at}"), &["--metrics", &metrics.to_string()]);
    let blind = watch.next("blind");
    assert_eq!(blind["what"], "the chain");
    assert!(blind["why"].as_str().unwrap().contains(&at.to_string()), "{blind}");
    let served = fake.serve(at).await;
    watch.next("watching");
    served.stop().unwrap();
    served.stopped().await;
    assert!(watch.next("blind")["sinceMs"].as_u64().unwrap() >= blind["sinceMs"].as_u64().unwrap());
    let _served = fake.serve(at).await;
    watch.next("watching");
    let slot = world.next_slot();
    let forged = decoded(&header(slot, 1));
    fake.show(&forged, &copied.sign(&forged));
    watch.next("alarm");
    let scraped = until("the metrics are served", async || {
        let stream = tokio::net::TcpStream::connect(metrics).await.ok()?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let body = http_body_util::Full::<hyper::body::Bytes>::default();
        let request = hyper::Request::get("/metrics").header("host", "localhost").body(body).unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let bytes = http_body_util::BodyExt::collect(answer.into_body()).await.ok()?.to_bytes();
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })
    .await;
    assert!(scraped.contains("signonce_watch_alarms_total 1"), "{scraped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_it_polls_and_the_wrong_chain_or_no_chain_is_told_at_once() {
    let world = World::start(&["v1"]).await;
    let copied = Copied::alice();
    copied.import(&world);
    let fake = Fake::new(world.cluster.genesis());
    let at = free_address();
    let slot = world.next_slot();
    let forged = decoded(&header(slot, 1));
    *fake.best.lock().unwrap() = sealed(&forged, &copied.sign(&forged));
    let _served = fake.serve(at).await;
    let mut watch = Watch::start(&world, &format!("http://{at}"), &["--exit-on-alarm"]);
    watch.next("alarm");
    assert_eq!(watch.child.wait().unwrap().code(), Some(1));

    // Without a cluster, keys that must be silent.
    let keys = world.scratch("keys.txt");
    fs::write(&keys, format!("# moved\n{}\n", copied.id)).unwrap();
    let silent = ["--silent", "--keys", keys.to_str().unwrap(), "--exit-on-alarm"];
    let output = run(&[&["audit", "watch", "--chain", &format!("http://{at}")], &silent[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("ALARM"));

    let admin = format!("unix:{}", world.cluster.admin_socket(2).display());
    let other = Fake::new(format!("0x{}", "07".repeat(32)));
    let elsewhere = free_address();
    let _other = other.serve(elsewhere).await;
    let url = format!("ws://{elsewhere}");
    let output = run(&["audit", "watch", "--chain", &url, "--admin", &admin]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("is it the right chain?"), "{said}");

    let nobody = format!("ws://{}", free_address());
    let output = run(&["audit", "watch", "--chain", &nobody, "--admin", &admin, "--watch-for", "2"]);
    assert_eq!(output.status.code(), Some(4), "the chain was never seen");
    assert!(String::from_utf8_lossy(&output.stdout).contains("BLIND for the chain since"));
    let output = run(&["audit", "watch", "--chain", "ftp://x", "--admin", &admin]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shows_old_blocks_leaves_the_watch_blind() {
    let world = World::start(&["v1"]).await;
    let fake = Fake::new(world.cluster.genesis());
    let at = free_address();
    let old = header(signonce_protocol::Slot(world.next_slot().0 - 14_400), 0);
    let old = decoded(&old);
    *fake.best.lock().unwrap() = sealed(&old, &[0; 64]);
    let _served = fake.serve(at).await;
    let watch = Watch::start(&world, &format!("ws://{at}"), &[]);
    let blind = watch.next("blind");
    assert!(blind["why"].as_str().unwrap().contains("the node is behind"), "{blind}");
    // It sees again once the node is where the chain is.
    let now = decoded(&header(world.next_slot(), 0));
    *fake.best.lock().unwrap() = sealed(&now, &[0; 64]);
    watch.next("watching");
}
