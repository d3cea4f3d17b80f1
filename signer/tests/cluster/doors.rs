//! Strangers at the doors, and clients who want more than their share: others notice nothing, and everybody who asks
//! gets an answer.

use crate::common::{World, client, code, get, post, run, run_program, until};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use signonce_cli::{
    commands::demo::chain::{self, Flavour},
    dev::ClientFiles,
};
use signonce_core::{Change, ClientLimits};
use signonce_protocol::{
    RawPayload,
    client::tls_from_pem,
    rpc::{ErrorCode, SignVerdict},
};
use signonce_shared::certs::{Authority, Subject};
use signonce_substrate::{GRANDPA, GrandpaStage, Round, SetId};
use soketto::{Receiver, Sender, handshake::Client};
use std::{fs, net::SocketAddr, path::Path, sync::Arc};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

fn vote(round: u64) -> RawPayload {
    chain::vote(SetId(1), Round(round), GrandpaStage::Prevote, round, Flavour(0))
}

fn tls(files: &ClientFiles) -> rustls::ClientConfig {
    let [ca, cert, key] = [&files.ca, &files.cert, &files.key].map(|path| fs::read(path).unwrap());
    tls_from_pem(&ca, &cert, &key).unwrap()
}

/// Connections that say nothing, until they are dropped; those that are hung up on come again.
async fn silent(address: SocketAddr, count: usize) -> JoinSet<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let enough = maximum.map_or(8_192, |maximum| maximum.min(8_192));
    let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(enough), maximum });
    let mut flood = JoinSet::new();
    let (connected, mut all) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..count {
        let connected = connected.clone();
        flood.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    let _ = connected.send(());
                    let _ = stream.read(&mut [0]).await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
        });
    }
    for _ in 0..count {
        all.recv().await.unwrap();
    }
    flood
}

/// A sample's value.
async fn sample(world: &World, node: u64, series: &str) -> Option<u64> {
    let (_, text) = get(world.cluster.metrics_address(node), "/metrics").await?;
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_keep_nobody_from_the_client_port_or_the_metrics() {
    let mut world = World::start(&["v1", "v2"]).await;
    let before = world.client_of("v2", 1);
    before.sign(&world.params(GRANDPA, &vote(1))).await.unwrap();
    let port: SocketAddr = world.cluster.urls()[0].strip_prefix("https://").unwrap().parse().unwrap();
    let flood = silent(port, 1_200).await;
    let probes = silent(world.cluster.metrics_address(1), 100).await;
    let fresh = world.client_of("v1", 1);
    let reply = fresh.sign(&world.params(GRANDPA, &vote(2))).await.unwrap();
    assert_eq!(reply.verdict, SignVerdict::Granted, "a new connection");
    before.sign(&world.params(GRANDPA, &vote(3))).await.expect("an old one");
    for (port, least) in [("client", 900), ("metrics", 50)] {
        let series = format!("signonce_connections_dropped_total{{port=\"{port}\",reason=\"crowded\"}}");
        let gave_way = async || sample(&world, 1, &series).await.filter(|count| *count >= least);
        until("strangers have given way, and a scrape gets through", gave_way).await;
    }
    let displaced = "signonce_connections_dropped_total{port=\"client\",reason=\"displaced\"}";
    assert_eq!(sample(&world, 1, displaced).await, Some(0), "nobody who is known has");
    drop((flood, probes));

    world.cluster.stop_all(crate::common::PATIENCE);
    let script = format!(
        "ulimit -n 256; exec {} start --config {}",
        crate::common::BINARY,
        world.cluster.config_path(1).display()
    );
    let refused = run_program(Path::new("sh"), &["-c", &script]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("LimitNOFILE"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_counts_and_a_client_follows_its_keys_on_a_few_connections() {
    let world = World::start(&["v1", "v2"]).await;
    let url = &world.cluster.urls()[1];
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": "signer_subscribeKeys"}).to_string();
    let mut open = Vec::new();
    let refused = loop {
        let mut socket = Socket::open(url, tls(&world.cluster.client_tls("v1"))).await;
        let answer = socket.ask(&subscribe).await.unwrap();
        if answer["error"].is_object() {
            break answer;
        }
        let event = socket.next().await.unwrap();
        assert_eq!(event["params"]["result"]["event"], "all", "{event}");
        open.push(socket);
        assert!(open.len() < 32, "a client follows its keys on as many connections as it likes");
    };
    assert_eq!(refused["error"]["code"], ErrorCode::RateLimited.json_rpc_code(), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("subscriptions"), "{refused}");
    let second = open[0].ask(&subscribe).await.unwrap();
    assert_eq!(second["error"]["code"], -32006, "one on a connection: {second}");
    drop(open);
    until("places are free again", async || {
        let mut socket = Socket::open(url, tls(&world.cluster.client_tls("v1"))).await;
        socket.ask(&subscribe).await.filter(|answer| answer["result"].is_number())
    })
    .await;

    let limits = Some(ClientLimits { per_second: 1, burst: 3, in_flight: 4 });
    let change = Change::SetClientLimits { name: Some("v1".into()), limits };
    world.cluster.admin(1).change(&change).await.unwrap();
    for method in ["signer_status", "signer_keys", "signer_nonsense", "rpc_discover"] {
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {}}).to_string();
        let ask = async |name: &str| {
            let tls = tls(&world.cluster.client_tls(name));
            let (_, answer) = post(url, tls, body.clone().into_bytes()).await.unwrap();
            serde_json::from_str::<Value>(&answer).unwrap()
        };
        until(method, async || {
            let answer = ask("v1").await;
            (answer["error"]["data"]["code"] == "rateLimited").then_some(())
        })
        .await;
        let other = ask("v2").await;
        assert_ne!(other["error"]["data"]["code"], "rateLimited", "{method}: {other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_has_an_id_gets_an_answer_over_https_and_on_a_websocket() {
    let world = World::start(&["v1"]).await;
    let url = &world.cluster.urls()[0];
    let files = world.cluster.client_tls("v1");
    let body = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"signer_status","params":{{}}}}"#);
    let mut socket = Socket::open(url, tls(&files)).await;
    for (id, taken) in [
        ("1", true),
        ("null", true),
        ("\"abc\"", true),
        ("18446744073709551615", true),
        ("-1", false),
        ("1.0", false),
        ("1e3", false),
        ("18446744073709551616", false),
        ("{}", false),
        ("[1]", false),
    ] {
        let (status, answer) = post(url, tls(&files), body(id).into_bytes()).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(status, 200, "{id}: {answer}");
        for answer in [answer, socket.ask(&body(id)).await.unwrap()] {
            if taken {
                assert!(answer["result"].is_object(), "{id}: {answer}");
                assert_eq!(answer["id"].to_string(), id);
            } else {
                assert_eq!(answer["error"]["code"], -32600, "{id}: {answer}");
                assert!(answer["error"]["message"].as_str().unwrap().contains("whole number"), "{answer}");
            }
        }
    }
    let notification = r#"{"jsonrpc":"2.0","method":"signer_status","params":{}}"#;
    let (status, answer) = post(url, tls(&files), notification.into()).await.unwrap();
    assert_eq!((status, answer.as_str()), (204, ""));
    socket.say(notification).await;
    let answer = socket.ask(&body("99")).await.unwrap();
    assert_eq!(answer["id"], 99, "nothing was said to the notification");

    // The limit holds whether a length was announced or not.
    let large = format!("{}{}", " ".repeat(1 << 20), body("1"));
    assert_eq!(post(url, tls(&files), large.clone().into_bytes()).await.unwrap().0, 413);
    assert_eq!(post_in_pieces(url, tls(&files), large.clone()).await.0, 413);
    assert_eq!(post_in_pieces(url, tls(&files), body("1")).await.0, 200);
    let answer = socket.ask(&large).await.unwrap();
    assert_eq!(answer["error"]["code"], -32007, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_to_join_a_hundred_times_writes_a_few_lines_and_is_sent_away() {
    let world = World::start(&["v1"]).await;
    let url = &world.cluster.urls()[0];
    let member =
        json!({"node": 77, "recipient": "age1x", "peerAddr": "x:1", "clientUrl": "https://x", "supports": 4});
    let join = json!({"jsonrpc": "2.0", "id": 1, "method": "admin_join", "params": {"member": member, "token": "00".repeat(32)}});
    let mut codes = Vec::new();
    for _ in 0..100 {
        let (_, answer) =
            post(url, tls(&world.cluster.client_tls("v1")), join.to_string().into_bytes()).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        codes.push(answer["error"]["data"]["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned());
    }
    assert_eq!(codes[0], "forbidden");
    assert!(codes.iter().any(|code| code == "notReady"), "{codes:?}");
    let log = fs::read_to_string(world.cluster.log_path(1)).unwrap();
    let lines = log.lines().filter(|line| line.contains("wants to join")).count();
    assert!((1..50).contains(&lines), "{lines} lines");

    // A certificate of the authority that is not a client's.
    let authority = Authority::open(&world.scratch("cluster/certs")).unwrap();
    let issued = authority.issue(&world.scratch("strangers"), &Subject::Client("v9".into()), 1).unwrap();
    let ca = world.cluster.client_tls("v1").ca;
    let stranger = ClientFiles { ca, cert: issued.cert, key: issued.key };
    let forbidden = client(&stranger, vec![url.clone()]).sign(&world.params(GRANDPA, &vote(1))).await;
    assert_eq!(code(&forbidden), ErrorCode::Forbidden);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "signer_keys"}).to_string();
    let batch = format!("[{}]", vec![body; 64].join(","));
    let (_, answer) = post(url, tls(&stranger), batch.into_bytes()).await.unwrap();
    assert!(answer.contains("forbidden") && answer.contains("rateLimited"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scraper_gets_the_format_that_it_asks_for() {
    let world = World::start(&[]).await;
    let address = world.cluster.metrics_address(1);
    for (accept, kind, end) in [
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/metrics").header("host", "localhost").header("accept", accept);
        let answer = sender.send_request(request.body(Full::<Bytes>::default()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()["content-type"], kind);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(text.contains("# EOF"), end, "{text}");
        assert_eq!(text.contains("# TYPE signonce_raft_leader_changes_total counter"), !end, "{text}");
        assert!(text.contains("\nsignonce_raft_leader_changes_total "), "{text}");
    }
    let output = run(&["status", "--admin", &format!("unix:{}", world.cluster.admin_socket(1).display())]);
    assert!(output.status.success(), "the socket has places too");
}

/// A request whose length is not announced.
async fn post_in_pieces(url: &str, tls: rustls::ClientConfig, body: String) -> (u16, String) {
    let stream = connect(url, tls).await;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let frame = Ok::<_, std::io::Error>(hyper::body::Frame::data(Bytes::from(body)));
    let body = http_body_util::StreamBody::new(futures::stream::iter([frame]));
    let request = Request::post("/").header("host", "localhost").header("content-type", "application/json");
    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn connect(url: &str, tls: rustls::ClientConfig) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(url.strip_prefix("https://").unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap()
}

/// A WebSocket without a library's opinion of what may be sent.
struct Socket {
    sender: Sender<Compat<TlsStream<TcpStream>>>,
    receiver: Receiver<Compat<TlsStream<TcpStream>>>,
}

impl Socket {
    async fn open(url: &str, tls: rustls::ClientConfig) -> Self {
        let stream = connect(url, tls).await.compat();
        let mut client = Client::new(stream, "localhost", "/");
        let agreed = client.handshake().await.unwrap();
        assert!(matches!(agreed, soketto::handshake::ServerResponse::Accepted { .. }), "{agreed:?}");
        let (sender, receiver) = client.into_builder().finish();
        Self { sender, receiver }
    }

    async fn say(&mut self, message: &str) {
        self.sender.send_text(message).await.unwrap();
        self.sender.flush().await.unwrap();
    }

    async fn next(&mut self) -> Option<Value> {
        let mut data = Vec::new();
        let next = tokio::time::timeout(crate::common::PATIENCE, self.receiver.receive_data(&mut data));
        next.await.expect("an answer comes").ok()?;
        Some(serde_json::from_slice(&data).unwrap())
    }

    /// The next message that is not an event.
    async fn ask(&mut self, message: &str) -> Option<Value> {
        self.say(message).await;
        loop {
            let answer = self.next().await?;
            if answer.get("id").is_some() {
                return Some(answer);
            }
        }
    }
}
