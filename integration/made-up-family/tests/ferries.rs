//! The made-up family through the ordinary program: its RPC, its command line, its metrics, its files.

use serde_json::Value;
use signonce_cli::dev::{LocalCluster, LocalOptions, Signal};
use signonce_made_up_family::{
    CROSSING_KIND, FERRIES, LANTERN, MANIFEST_KIND, crossing_bytes, manifest_bytes,
};
use signonce_protocol::{
    ChainId, Family, PublicKey, RawPayload, ToSign,
    client::{ClientConfig, ClientError, SignerClient, Timeouts, TlsSource},
    rpc::{ChainRef, ErrorCode, SignParams, SignReply, SignVerdict},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

static FAMILIES: [&Family; 2] = [&signonce_substrate::FAMILY, &FERRIES];

const BINARY: &str = env!("CARGO_BIN_EXE_signonce-with-ferries");
const PATIENCE: Duration = Duration::from_secs(60);
const RIVER: ChainId = ChainId([0x52; 32]);

struct World {
    cluster: LocalCluster,
    ferries: Vec<PublicKey>,
    dir: tempfile::TempDir,
}

impl World {
    /// Three signers with a river, two ferries of one fleet, and a client that may do everything.
    async fn start() -> Self {
        signonce_protocol::install(&FAMILIES);
        let dir = tempfile::tempdir().unwrap();
        let options = LocalOptions { binary: Some(BINARY.into()), ..LocalOptions::default() };
        let mut cluster = LocalCluster::create(&dir.path().join("cluster"), options).unwrap();
        cluster.start_all().unwrap();
        cluster.wait_ready(PATIENCE).await.unwrap();
        cluster.provision().await.unwrap();
        let mut world = Self { cluster, ferries: Vec::new(), dir };
        let genesis = RIVER.to_string();
        let settings = r#"{"ahead":5}"#;
        world.cli(&[
            "chains",
            "add",
            "river",
            "--family",
            "ferries",
            "--genesis",
            &genesis,
            "--settings",
            settings,
            "--yes",
        ]);
        for _ in 0..2 {
            let made = world.cli(&[
                "keys", "generate", "--chain", "river", "--group", "fleet", "--types", "ferr", "--yes",
            ]);
            world.ferries.push(made["keys"][0]["public"].as_str().unwrap().parse().unwrap());
        }
        world
    }

    /// Runs the program against node 1 and reads the JSON that it prints.
    fn cli(&self, arguments: &[&str]) -> Value {
        let admin = format!("unix:{}", self.cluster.admin_socket(1).display());
        let output =
            Command::new(BINARY).args(arguments).args(["--admin", &admin, "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// A client of one node only, which thus has to answer itself.
    fn client(&self, node: usize) -> SignerClient {
        let files = self.cluster.client_tls("validator");
        let tls = TlsSource::Files { ca: files.ca, cert: files.cert, key: files.key };
        let urls = vec![self.cluster.urls()[node].clone()];
        let timeouts = Timeouts { deadline: PATIENCE, ..Timeouts::default() };
        SignerClient::new(ClientConfig { urls, tls, timeouts }).unwrap()
    }

    async fn ask(&self, node: usize, ferry: usize, payload: RawPayload) -> Result<SignReply, ClientError> {
        let params = SignParams { chain: ChainRef::Id(RIVER), key: self.ferries[ferry], payload };
        self.client(node).sign(&params).await
    }

    fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.cluster.metrics_address(1)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

fn crossing(voyage: u64, harbour: u8, departure: u64) -> RawPayload {
    RawPayload::new(CROSSING_KIND, crossing_bytes(voyage, [harbour; 32], departure))
}

fn manifest(voyage: u64, deck: u8, cargo: u8) -> RawPayload {
    RawPayload::new(MANIFEST_KIND, manifest_bytes(voyage, deck, [cargo; 32]))
}

fn code(answer: Result<SignReply, ClientError>) -> ErrorCode {
    match answer {
        Err(ClientError::Refused(refusal)) => refusal.code,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

#[tokio::test]
async fn a_family_that_nothing_else_knows_is_registered_signs_refuses_and_is_told_of() {
    let mut world = World::start().await;

    // A crossing is signed once. Asked again with another departure, it is signed with the first one.
    let first = world.ask(0, 0, crossing(10, 1, 1_000)).await.unwrap();
    assert_eq!(first.verdict, SignVerdict::Granted);
    let signed = crossing_bytes(10, [1; 32], 1_000);
    assert!(signonce_keys::verify(LANTERN, &world.ferries[0], ToSign::Message(&signed), &first.signature.0));
    for node in [0, 1, 2] {
        let again = world.ask(node, 0, crossing(10, 1, 2_000)).await.unwrap();
        assert_eq!(again.verdict, SignVerdict::Repeated, "node {node}");
        assert_eq!(again.signature, first.signature, "the very bytes of the first time");
        assert_eq!(
            again.carry.unwrap().0,
            1_000u64.to_le_bytes(),
            "and what was signed beside the statement"
        );
    }
    assert_eq!(code(world.ask(1, 0, crossing(10, 2, 1_000)).await), ErrorCode::Equivocation);
    assert_eq!(code(world.ask(2, 0, crossing(9, 1, 1_000)).await), ErrorCode::BelowWatermark);

    // The family's own watermark, beside that of crossings.
    for deck in [1, 2, 3] {
        assert_eq!(world.ask(0, 0, manifest(10, deck, 7)).await.unwrap().verdict, SignVerdict::Granted);
    }
    assert_eq!(world.ask(1, 0, manifest(10, 2, 7)).await.unwrap().verdict, SignVerdict::Repeated);
    assert_eq!(code(world.ask(1, 0, manifest(10, 2, 8)).await), ErrorCode::Equivocation);
    assert_eq!(code(world.ask(0, 0, manifest(10, 4, 7)).await), ErrorCode::RateLimited, "its own refusal");

    // The hook: no ferry far ahead of the rest of its fleet.
    assert_eq!(code(world.ask(0, 1, crossing(16, 1, 1)).await), ErrorCode::AheadOfGroup);
    assert_eq!(world.ask(0, 1, crossing(15, 1, 1)).await.unwrap().verdict, SignVerdict::Granted);

    // What is not a ferry's, and what is not on a river.
    assert_eq!(
        code(world.ask(0, 0, RawPayload::new(CROSSING_KIND, b"FRYX".to_vec())).await),
        ErrorCode::MalformedPayload
    );
    let elsewhere = SignParams {
        chain: ChainRef::Id(world.cluster.genesis()),
        key: world.ferries[0],
        payload: crossing(11, 1, 1),
    };
    assert_eq!(code(world.client(0).sign(&elsewhere).await), ErrorCode::MalformedPayload);

    // A member that comes back knows all of it.
    world.cluster.signal(2, Signal::Kill).unwrap();
    world.cluster.wait_exit(2, PATIENCE).unwrap();
    world.cluster.start_node(2).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let again = world.ask(1, 0, crossing(10, 1, 3_000)).await.unwrap();
    assert_eq!((again.verdict, again.signature), (SignVerdict::Repeated, first.signature));

    shown(&world);
    exported_and_imported(&world).await;
}

/// In the audit, in `keys list`, in the metrics.
fn shown(world: &World) {
    let lines = world.cli(&["audit", "explain", "--at", "voyage=10"]);
    let said: Vec<_> = lines.as_array().unwrap().iter().map(|line| line["says"].as_str().unwrap()).collect();
    assert!(
        said.iter()
            .any(|line| line.contains("the crossing voyage 10 with ferr:") && line.contains(": granted")),
        "{said:?}"
    );
    assert!(said.iter().any(|line| line.contains("manifest voyage 10 of deck 2")), "{said:?}");
    let keys = world.cli(&["keys", "list", "--chain", "river"]);
    let marks: Vec<_> = keys[0]["watermarks"].as_array().unwrap().iter().map(|mark| &mark["class"]).collect();
    assert_eq!(marks, ["crossing", "manifest"]);
    let metrics = world.metrics();
    assert!(metrics.contains(r#"class="crossing",part="voyage""#), "{metrics}");
    assert!(metrics.contains(r#"method="sign",class="manifest",outcome="granted""#), "{metrics}");
}

/// As a file, and back: nothing that was signed can be signed again.
async fn exported_and_imported(world: &World) {
    let file = world.dir.path().join("river.json");
    let path = Path::to_str(&file).unwrap();
    world.cli(&["watermarks", "export", "--chain", "river", "--out", path]);
    let text: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let listed: Vec<_> = text["keys"].as_array().unwrap().iter().map(|marks| &marks["class"]).collect();
    assert_eq!(listed.iter().filter(|class| **class == "crossing").count(), 2, "{text}");
    assert_eq!(listed.iter().filter(|class| **class == "manifest").count(), 2, "{text}");
    world.cli(&["watermarks", "import", path, "--yes"]);
    assert_eq!(code(world.ask(0, 0, crossing(10, 1, 1_000)).await), ErrorCode::BelowWatermark);
    assert_eq!(code(world.ask(0, 0, manifest(10, 2, 7)).await), ErrorCode::BelowWatermark);
    assert_eq!(world.ask(0, 0, crossing(11, 1, 5)).await.unwrap().verdict, SignVerdict::Granted);
}
