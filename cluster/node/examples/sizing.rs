//! Memory and disk of a signer per number of honest validators on Polkadot: the figures of `docs/reference/sizing.md`.
//!
//! `cargo run --release -p signonce-cluster --example sizing -- VALIDATORS DIR` sets up three nodes, stops one, and
//! puts into the stores of the others what that many `para` keys have after nine sessions of 12,000 candidates. Then
//! each of the three runs as a process of its own: two start from their stores, the third takes the state over from
//! their leader. The output is the most memory that each has used.

use parity_scale_codec::Encode as _;
use rand::RngExt as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rocksdb::{ColumnFamilyDescriptor, DB, IteratorMode, Options, WriteBatch};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use signonce_cluster::identity::{self, Identity};
use signonce_cluster::{Handle, Node, NodeConfig, Peer, PeerTls};
use signonce_core::replica::disk::AppliedRow;
use signonce_core::replica::hello::ClusterId;
use signonce_core::replica::hello::node_name;
use signonce_core::{
    Change, Claim, ClientId, Envelope, Floors, RestoreError, State, StateHash, Table, decode_record,
    encode_record, seal_record,
};
use signonce_protocol::{Carry, ChainId, Digest, KeyId, NodeId, Position, PublicKey, blake2_256};
use signonce_substrate::{
    CandidateHash, ChainFormat, ChainSettings, Duty, Limits, PARA, PARA_SIDE, SR25519, SessionIndex, Side,
};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const CHAIN: ChainId = ChainId([3; 32]);
const PATIENCE: Duration = Duration::from_secs(600);
/// Candidates of a session that a validator on Polkadot takes a side on.
const CANDIDATES: usize = 12_000;
const SESSIONS: u32 = 9;

fn main() {
    signonce_substrate::install();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match args[..] {
        ["node", dir, id] => runtime.block_on(run_node(Path::new(dir), id.parse().expect("a node's id"))),
        [validators, dir] => {
            let (validators, dir) = (validators.parse().expect("a number of validators"), Path::new(dir));
            runtime.block_on(set_up(dir, validators));
            drop(runtime);
            for id in [1, 2] {
                fill(&dir.join(format!("node-{id}/db")));
            }
            measure(dir, validators);
        }
        _ => panic!("usage: sizing VALIDATORS DIR"),
    }
}

// The small cluster that everything begins with.

fn make_certificates(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an issuer");
    write(&dir.join("ca"), issuer.der());
    for id in 1..=3 {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![node_name(&CLUSTER, NodeId(id))]).expect("a name");
        write(&dir.join(format!("cert-{id}")), params.signed_by(&key, &issuer).expect("a certificate").der());
        write(&dir.join(format!("key-{id}")), &key.serialize_der());
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("the directory can be written");
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(path).expect("it was written")
}

fn peers() -> Vec<Peer> {
    (1..=3).map(|id| Peer { id: NodeId(id), address: format!("127.0.0.1:{}", 27_800 + id) }).collect()
}

async fn start(dir: &Path, id: u64) -> Node {
    let config = NodeConfig {
        data_dir: dir.join(format!("node-{id}")),
        peers: peers(),
        listen: peers()[id as usize - 1].address.parse().expect("an address"),
        tls: PeerTls {
            ca: vec![CertificateDer::from(read(dir.join("ca")))],
            chain: vec![CertificateDer::from(read(dir.join(format!("cert-{id}"))))],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(read(dir.join(format!("key-{id}"))))),
        },
        tick: Duration::from_millis(50),
        log_bytes_max: 16 << 10,
        slot_tolerance: 3,
    };
    Node::start(config).await.expect("the node starts")
}

async fn ready(handle: &Handle) {
    let mut status = handle.status_watch();
    let ready = status.wait_for(|status| status.not_member.is_none() && status.leader.is_some());
    tokio::time::timeout(PATIENCE, ready).await.expect("in time").expect("the node runs");
}

fn para_key(n: u32) -> KeyId {
    let mut public = [9; 32];
    public[..4].copy_from_slice(&n.to_be_bytes());
    KeyId { key_type: PARA, public: PublicKey::try_from(&public[..]).expect("32 bytes") }
}

/// Sets up three nodes, the keys of the validators, and a log from which the third node, which is off, cannot catch up.
async fn set_up(dir: &Path, validators: u32) {
    std::fs::create_dir_all(dir).expect("the directory can be made");
    make_certificates(dir);
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        let identity = Identity {
            cluster: CLUSTER,
            node: NodeId(id),
            initial: (1..=3).map(NodeId).collect(),
            joined: false,
        };
        identity::create(&dir.join(format!("node-{id}")), &identity).expect("an empty directory");
        nodes.insert(id, start(dir, id).await);
    }
    let handle = nodes[&1].handle();
    ready(&handle).await;
    let change = async |change| {
        handle.change("sizing".into(), change, PATIENCE).await.expect("decided").expect("made");
    };
    let (format, limits) = (ChainFormat::default(), Limits::default());
    let settings = ChainSettings { format, slot_duration_ms: 6_000, limits };
    change(Change::AddChain(settings.chain(CHAIN, "polkadot"))).await;
    nodes.remove(&3).expect("it was started").stop().await;
    for n in 0..validators {
        let id = para_key(n);
        let sealed = Envelope::from(vec![1; 600]);
        let floor = Position::new(PARA_SIDE, &[1]).expect("a session");
        change(Change::RegisterKey { id, scheme: SR25519, chain: CHAIN, group: None, sealed }).await;
        change(Change::ArmKey { id, floors: Floors::from(floor) }).await;
    }
    for n in 0..1_200_u32 {
        let candidates = vec![CandidateHash(blake2_256(&n.to_be_bytes()))];
        let duty =
            Duty::ParaSide { session: SessionIndex(1), candidates, side: Side::Valid, statement: None };
        let (digest, client) = (Digest(blake2_256(&n.to_le_bytes())), ClientId(1));
        let claim = Claim {
            key: para_key(0),
            client,
            duty: duty.into(),
            digest,
            carry: Carry::default(),
            time_ms: 0,
        };
        handle.claim(claim, PATIENCE).await.expect("decided");
    }
    for node in nodes.into_values() {
        node.stop().await;
    }
}

// What nine sessions leave.

/// Puts the sides of every para key into a store, and the hash of the state with them.
fn fill(path: &Path) {
    let options = Options::default();
    let names = DB::list_cf(&options, path).expect("a store");
    let tables = names.iter().map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
    let db = DB::open_cf_descriptors(&options, path, tables).expect("a store that nobody has open");
    let table = |name| db.cf_handle(name).expect("every store has it");
    // The same on both nodes.
    let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(1);
    let keys: Vec<KeyId> = db
        .iterator_cf(table("ledger"), IteratorMode::Start)
        .map(|row| row.expect("it can be read").0)
        .filter(|key| key.len() == 38)
        .map(|key| parity_scale_codec::Decode::decode(&mut &key[..]).expect("a floor's key"))
        .collect();
    for key in keys {
        let prefix = (key, PARA_SIDE).encode();
        let mut batch = WriteBatch::default();
        for session in 2..=SESSIONS + 1 {
            let mut marks: Vec<[u8; 6]> = (0..CANDIDATES).map(|_| rng.random()).collect();
            marks.iter_mut().for_each(|mark| mark[5] &= !3);
            marks.sort_unstable();
            marks.dedup();
            for bucket in marks.chunk_by(|a, b| a[0] == b[0]) {
                let place = [&prefix[..], &[3], &session.to_be_bytes(), &[bucket[0][0]]].concat();
                batch.put_cf(table("ledger"), place, seal_record(1, bucket.as_flattened()));
            }
        }
        db.write(batch).expect("there is room");
    }
    let rows = |name, own| {
        let rows = db.iterator_cf(table(name), IteratorMode::Start);
        rows.map(move |row| {
            let (key, value) = row.expect("it can be read");
            (own, key.into_vec(), value.into_vec())
        })
    };
    let records = rows("keys", Table::Registry).chain(rows("ledger", Table::Ledger));
    let Err(RestoreError::Hash { found, .. }) = State::from_sorted(records, StateHash::default()) else {
        panic!("the records are sound, and their hash is not zero")
    };
    let applied = db.get_cf(table("meta"), b"applied").expect("it can be read").expect("a formed store");
    let applied: AppliedRow = decode_record(1, "applied position", &applied).expect("it is sound");
    let applied = encode_record(1, &AppliedRow { state_hash: found, ..applied });
    db.put_cf(table("meta"), b"applied", applied).expect("there is room");
    db.flush_wal(true).expect("there is room");
}

// What they need.

/// A node as a process of its own: says when it is ready and its store has as much as the leader's, and runs until it
/// is ended.
async fn run_node(dir: &Path, id: u64) {
    let node = start(dir, id).await;
    let handle = node.handle();
    ready(&handle).await;
    let bytes = || handle.read(|s| [Table::Registry, Table::Ledger].map(|table| s.size(table).bytes));
    while bytes().iter().sum::<u64>() < std::fs::metadata(dir.join("expected")).map_or(0, |m| m.len()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What was received lies here until it is in the store.
    let arriving = dir.join(format!("node-{id}/incoming"));
    while std::fs::read_dir(&arriving).is_ok_and(|mut files| files.next().is_some()) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{} {}", bytes().iter().sum::<u64>(), peak());
    std::future::pending::<()>().await;
}

/// The most memory this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn measure(dir: &Path, validators: u32) {
    let exe = std::env::current_exe().expect("this program");
    // A sparse file whose length is what a whole state has at least.
    let expected = std::fs::File::create(dir.join("expected")).expect("it can be written");
    let least = u64::from(validators) * u64::from(SESSIONS) * CANDIDATES as u64 * 6;
    expected.set_len(least).expect("it can be written");
    let mut children = Vec::new();
    let mut spawn = |id: u64| {
        let mut child = Command::new(&exe)
            .args(["node", &dir.to_string_lossy(), &id.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        children.push(child);
        out
    };
    let said = |mut out: BufReader<_>| {
        let mut line = String::new();
        out.read_line(&mut line).expect("the node says how it is");
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u64>().expect("a number"));
        [numbers.next(), numbers.next()].map(|n| n.expect("two numbers") >> 20)
    };
    // All at once: of three that restart, each waits for the word of both others.
    let began = std::time::Instant::now();
    let [one, two, three] = [1, 2, 3].map(&mut spawn);
    let [state, restart] = said(one);
    let [_, other] = said(two);
    let [_, joined] = said(three);
    let took = began.elapsed().as_secs();
    let leader = ["1", "2"].map(|id| peak_of(children[usize::from(id == "2")].id())).into_iter().max();
    println!(
        "{validators} validators: state {state} MiB; a node that starts has at most {} MiB, one that takes the state over \
         {joined} MiB ({took} s), the one that sends it {} MiB; disk {} MiB",
        restart.max(other),
        leader.unwrap_or_default() >> 20,
        size_of(&dir.join("node-3/db")) >> 20
    );
    for mut child in children {
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
}

fn peak_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    entries.map(|entry| entry.metadata().map_or(0, |m| m.len())).sum()
}
