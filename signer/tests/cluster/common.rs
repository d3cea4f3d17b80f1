//! A cluster in a temporary directory, clients of all its nodes or of one, and waiting with a deadline.

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use signonce_cli::{
    commands::demo::checker::Receipt,
    dev::{ClientFiles, DevKey, LocalCluster, LocalOptions},
};
use signonce_protocol::{
    KeyType, RawPayload, Slot,
    client::{ClientConfig, ClientError, SignerClient, Timeouts, TlsSource},
    rpc::{ChainRef, ErrorCode, SignParams, SignReply},
};
use signonce_shared::families;
use signonce_substrate::{ChainFormat, Kind, Payload};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// How long anything may take that must come about. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_signonce");

/// A provisioned three-node cluster that is stopped when it goes out of scope.
pub struct World {
    pub cluster: LocalCluster,
    pub keys: Vec<DevKey>,
    // After the cluster: its processes end before their files do.
    _dir: TempDir,
}

impl World {
    /// With clients of these names, each with every right.
    pub async fn start(clients: &[&str]) -> Self {
        Self::with(LocalOptions {
            clients: clients.iter().map(|name| (*name).to_owned()).collect(),
            ..LocalOptions::default()
        })
        .await
    }

    pub async fn with(options: LocalOptions) -> Self {
        families::install();
        let dir = tempfile::tempdir().unwrap();
        let binary = options.binary.clone().or_else(|| Some(BINARY.into()));
        let options = LocalOptions { binary, ..options };
        let cluster = LocalCluster::create(&dir.path().join("cluster"), options).unwrap();
        Self::up(dir, cluster).await
    }

    /// Laid out and filled by another program, which runs the nodes from then on.
    pub async fn made_by(program: &Path, clients: &[&str]) -> Self {
        families::install();
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("cluster");
        let mut dev = Command::new(program);
        dev.args(["dev", "--json", "--dir", home.to_str().unwrap()]).stdin(Stdio::null());
        dev.args(clients.iter().flat_map(|client| ["--client", client]));
        let mut dev = dev.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(dev.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.contains("\"keys\""), "it says what it made once it is ready: {ready:?}");
        let pid = rustix::process::Pid::from_child(&dev);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(dev.wait().unwrap().success());
        let mut cluster = LocalCluster::open(&home).unwrap();
        cluster.set_binary(program.to_owned());
        cluster.start_all().unwrap();
        cluster.wait_ready(PATIENCE).await.unwrap();
        // What its admin API says of chains and keys may be of another format.
        let said: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let key = |key: &serde_json::Value| DevKey {
            key_type: serde_json::from_value(key["type"].clone()).unwrap(),
            scheme: serde_json::from_value(key["scheme"].clone()).unwrap(),
            public: serde_json::from_value(key["public"].clone()).unwrap(),
            group: "validator-1".into(),
        };
        let keys = said["keys"].as_array().unwrap().iter().map(key).collect();
        Self { cluster, keys, _dir: dir }
    }

    async fn up(dir: TempDir, mut cluster: LocalCluster) -> Self {
        cluster.start_all().unwrap();
        cluster.wait_ready(PATIENCE).await.unwrap();
        let keys = cluster.provision().await.unwrap();
        Self { cluster, keys, _dir: dir }
    }

    /// A directory beside the cluster's.
    pub fn scratch(&self, name: &str) -> std::path::PathBuf {
        self._dir.path().join(name)
    }

    pub fn key(&self, key_type: KeyType) -> &DevKey {
        self.keys.iter().find(|key| key.key_type == key_type).unwrap()
    }

    pub fn params(&self, key_type: KeyType, payload: &RawPayload) -> SignParams {
        SignParams {
            chain: ChainRef::Id(self.cluster.genesis()),
            key: self.key(key_type).public,
            payload: payload.clone(),
        }
    }

    /// A client of every node.
    pub fn client(&self, name: &str) -> SignerClient {
        client(&self.cluster.client_tls(name), self.cluster.urls())
    }

    /// A client of one node only, which thus has to answer itself.
    pub fn client_of(&self, name: &str, node: u64) -> SignerClient {
        let at = self.cluster.node_ids().iter().position(|id| *id == node).unwrap();
        client(&self.cluster.client_tls(name), vec![self.cluster.urls()[at].clone()])
    }

    /// The next slot: the first that keys armed in the present one may sign, and well inside the fence.
    pub fn next_slot(&self) -> Slot {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        Slot(now / self.cluster.options().slot_duration_ms + 1)
    }

    /// Waits for a leader other than `old`.
    pub async fn leader_other_than(&self, old: Option<u64>) -> u64 {
        until("a leader is elected", async || self.cluster.leader().await.filter(|new| Some(*new) != old))
            .await
    }

    /// What `/readyz` of a node says: status and reasons.
    pub async fn readyz(&self, node: u64) -> Option<(u16, String)> {
        readyz(self.cluster.metrics_address(node)).await
    }
}

pub async fn readyz(address: SocketAddr) -> Option<(u16, String)> {
    get(address, "/readyz").await
}

/// Status and body of a plain HTTP request.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let get = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        tokio::spawn(connection);
        let request = Request::get(path).header("host", "localhost").body(Full::<Bytes>::default()).unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(Duration::from_secs(2), get).await.ok().flatten()
}

pub fn client(files: &ClientFiles, urls: Vec<String>) -> SignerClient {
    let ClientFiles { ca, cert, key } = files.clone();
    let tls = TlsSource::Files { ca, cert, key };
    let timeouts = Timeouts { deadline: PATIENCE, ..Timeouts::default() };
    SignerClient::new(ClientConfig { urls, tls, timeouts }).unwrap()
}

/// Polls until `look` finds something.
///
/// # Panics
/// After [`PATIENCE`].
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a signer said about one payload.
pub type Answer = Result<SignReply, ClientError>;

/// The code of a refusal; anything else is a failed test.
pub fn code(answer: &Answer) -> ErrorCode {
    match answer {
        Err(ClientError::Refused(refusal)) => refusal.code,
        other => panic!("a refusal was expected, not {other:?}"),
    }
}

/// The code of a refusal, if the error is one.
pub fn code_of(error: &ClientError) -> Option<ErrorCode> {
    match error {
        ClientError::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

/// A payload as the test chain's nodes read it.
pub fn decoded(payload: &RawPayload) -> Payload {
    let kind = Kind::try_from(payload.kind()).unwrap();
    Payload::decode(kind, payload.bytes(), &ChainFormat::default()).unwrap()
}

/// The receipt of an answer that is a signature.
pub fn receipt(client: &str, key: &DevKey, payload: &RawPayload, reply: &SignReply) -> Receipt {
    Receipt {
        client: client.into(),
        scheme: key.scheme,
        public: key.public,
        kind: Kind::try_from(payload.kind()).unwrap(),
        payload: payload.bytes().to_vec(),
        signature: reply.signature.0.clone(),
    }
}

/// A request over HTTPS as it stands: status and body. Fails where the handshake does.
pub async fn post(url: &str, tls: rustls::ClientConfig, body: Vec<u8>) -> std::io::Result<(u16, String)> {
    let address = url.strip_prefix("https://").unwrap();
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await?;
    let other = std::io::Error::other;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    tokio::spawn(connection);
    let request = Request::post("/")
        .header("host", address)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let answer = sender.send_request(request).await.map_err(other)?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(other)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Runs the program, which must end by itself.
pub fn run(arguments: &[&str]) -> Output {
    run_program(BINARY.as_ref(), arguments)
}

/// Runs a program, which must end by itself.
pub fn run_program(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut ended = true;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= deadline {
            child.kill().unwrap();
            ended = false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended, "{arguments:?} runs on: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs `signonce start` where it must fail; what it said.
pub fn start_fails(config: &Path) -> String {
    start_of_program_fails(BINARY.as_ref(), config)
}

/// The same for another program.
pub fn start_of_program_fails(program: &Path, config: &Path) -> String {
    let output = run_program(program, &["start", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {said}");
    said
}

/// A signer started by hand; killed when it goes out of scope.
pub struct Stray(Child);

impl Stray {
    pub fn start(config: &Path) -> Self {
        let mut command = Command::new(BINARY);
        command.arg("start").arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address on loopback that nobody listens on, below the ephemeral ports that outgoing connections take.
pub fn free_address() -> SocketAddr {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let port = std::iter::repeat_with(|| rand::random_range(12_000..32_000)).take(1_000).find(free);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap()))
}

/// Copies a directory and all that is in it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
