//! The corpus: small inputs that every target accepts, made by our own encoders from our own vectors.
//!
//! `cargo run --release -p signonce-fuzz` in the workspace writes them to `fuzz/corpus`; a test holds the two together.

use crate::world::{self, BEGIN, KEYS, World, claim, duty, floors, key};
use parity_scale_codec::Encode;
use signonce_core::replica::disk::{DiskOp, DiskTable};
use signonce_core::replica::hello::{ClusterId, Hello, HelloReply, Life, Witnessed};
use signonce_core::replica::wire::{DiskPosition, PeerMessage, Promise};
use signonce_core::replica::{KnownConfiguration, Output, Replica, ReplicaConfig};
use signonce_core::{
    Change, ClaimRequest, Command, Fingerprint, KeyAllowance, KeySelector, Member, RequestId, Right, Role,
};
use signonce_driver::frame::{Frame, Purpose};
use signonce_driver::{Decline, Request};
use signonce_keys::{NodeIdentity, SecretKey, SecretString, seal};
use signonce_protocol::{ChainId, HexArray, KeyId, LogIndex, NodeId, PayloadKind, RawPayload, Scheme};
use signonce_shared::backup::manifest::{Counts, FileEntry, Manifest};
use signonce_substrate::{
    AuraMode, ChainFormat, ChainSettings, Content, Kind, NumberWidth, payload::AuthorityRecord,
};
use signonce_substrate::{BABE, BABE_BLOCK, ECDSA, ED25519, GRANDPA, SR25519};
use std::collections::BTreeMap;

/// Made from fixed seeds with Substrate's own crates.
const VECTORS: &str = include_str!("../../integration/vectors/payloads.json");

/// Inputs of a target, by name. Those of `envelope` differ from run to run: sealing is random.
pub fn of(target: &str) -> BTreeMap<String, Vec<u8>> {
    let named = |inputs: Vec<Vec<u8>>| {
        inputs.into_iter().enumerate().map(|(n, bytes)| (format!("{n:02}"), bytes)).collect()
    };
    signonce_shared::families::install();
    match target {
        "payload" => payloads(),
        "comet" => crate::comet::payloads(),
        "privval" => named(crate::comet::messages()),
        "rpc" => named(bodies()),
        "change" => named(changes().iter().map(|change| serde_json::to_vec(change).expect("JSON")).collect()),
        "frame" => named(frames().iter().map(|frame| unsealed(&frame.to_bytes()[4..])).collect()),
        "raft" => named(messages().iter().map(|message| unsealed(&message.encode())).collect()),
        "entry" => named(entries()),
        "command" => named(commands().iter().map(|command| unsealed(&command.to_bytes())).collect()),
        "snapshot" => named(vec![unsealed(&World::new().state.snapshot())]),
        "disk" => named(vec![disk()]),
        "keystore" => named(keystores()),
        "envelope" => named(envelopes()),
        "config" => named(configs()),
        "interchange" => named(interchanges()),
        "backup" => named(manifests()),
        "ledger" => named(asks()),
        "driver" => named(befallen()),
        other => panic!("{other} has no seeds: add some"),
    }
}

/// A record without its checksum.
fn unsealed(record: &[u8]) -> Vec<u8> {
    record[..record.len() - 4].to_vec()
}

fn vectors() -> Vec<serde_json::Value> {
    let file: serde_json::Value = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    file["vectors"].as_array().expect("a list of vectors").clone()
}

fn payloads() -> BTreeMap<String, Vec<u8>> {
    let mut payloads: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |kind: PayloadKind, format: &ChainFormat, bytes: &[u8]| {
        let index =
            Kind::ALL.iter().position(|k| PayloadKind::from(*k) == kind).expect("every kind is in ALL");
        let wide = u8::from(format.number_width == NumberWidth::U64);
        let bits = wide + 2 * u8::from(format.aura_mode == AuraMode::Collator);
        payloads.entry(format!("{kind}-{bits}")).or_insert([&[index as u8, bits], bytes].concat());
    };
    for vector in vectors() {
        let format: ChainFormat = serde_json::from_value(vector["format"].clone()).expect("a format");
        let kind = vector["kind"].as_str().expect("a kind");
        let raw: RawPayload =
            serde_json::from_value(serde_json::json!({ kind: vector["payload"] })).expect("a payload");
        add(raw.kind(), &format, raw.bytes());
    }
    let format = ChainFormat::default();
    let address = b"\x04\x7f\x00\x00\x01\x06\x75\x30".to_vec();
    let record =
        AuthorityRecord { addresses: vec![address], creation_time_ns: Some(1_700_000_000_000_000_000) };
    add(Kind::AuthorityRecord.into(), &format, &Content::AuthorityRecord(record).encode(&format));
    payloads
}

fn bodies() -> Vec<Vec<u8>> {
    let body = |method: &str, params: serde_json::Value| {
        let body = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        serde_json::to_vec(&body).expect("JSON")
    };
    let chain = ChainId([1; 32]).to_string();
    let public = format!("0x{}", "01".repeat(32));
    let mut bodies = vec![
        body("signer_keys", serde_json::json!([])),
        body("signer_status", serde_json::json!([])),
        body("rpc_discover", serde_json::json!([])),
        body("signer_subscribeKeys", serde_json::json!([])),
        body("signer_generateKey", serde_json::json!({"chain": "relay", "type": "babe"})),
        body(
            "signer_vrf",
            serde_json::json!({"chain": chain, "key": public, "slot": 7, "epochIndex": 1,
            "randomness": format!("0x{}", "02".repeat(32))}),
        ),
    ];
    let mut kinds = Vec::new();
    for vector in vectors().iter().filter(|vector| vector["format"]["numberWidth"] != "u64") {
        let kind = vector["kind"].as_str().expect("a kind");
        let default: ChainFormat = serde_json::from_value(vector["format"].clone()).expect("a format");
        if default == ChainFormat::default() && !kinds.contains(&kind.to_owned()) {
            kinds.push(kind.to_owned());
            let params =
                serde_json::json!({"chain": "relay", "key": public, "payload": {kind: vector["payload"]}});
            bodies.push(body("signer_sign", params));
        }
    }
    bodies
}

fn changes() -> Vec<Change> {
    let (id, chain) = (key(0), ChainId([1; 32]));
    let right = Right { keys: KeySelector::Key(id), chain: Some(chain), classes: vec![BABE_BLOCK] };
    let member = Member {
        node: NodeId(1),
        recipient: "age1node".into(),
        peer_addr: "10.0.0.1:7300".into(),
        client_url: "https://10.0.0.1:7301".into(),
        supports: 2,
    };
    let allowance = KeyAllowance { group: "validator".into(), chain: None, limit: 4 };
    let public = [8; 32][..].try_into().expect("32 bytes are a public key");
    let fresh = KeyId { key_type: BABE, public };
    vec![
        Change::SetSettings { chain, settings: ChainSettings::of(&world::chain(0)).encode() },
        Change::RegisterKey {
            id: fresh,
            scheme: SR25519,
            chain,
            group: Some("validator".into()),
            sealed: vec![1; 20].into(),
        },
        Change::ResealKey { id, sealed: vec![2; 20].into() },
        Change::DisableKey { id },
        Change::RemoveKey { id },
        Change::RaiseWatermark { key: id, floors: floors(BABE, (200, 0)) },
        Change::RaiseWatermark { key: key(1), floors: floors(GRANDPA, (101, 5)) },
        Change::AddClient { name: "other".into(), spki: Fingerprint([3; 32]), rights: vec![right.clone()] },
        Change::UpdateClient {
            name: "validator".into(),
            spki: Some(Fingerprint([4; 32])),
            rights: Some(vec![right]),
        },
        Change::RemoveClient { name: "validator".into() },
        Change::AnnounceMember(member),
        Change::RemoveMember { node: NodeId(1) },
        Change::RaiseFeatureLevel { level: 2 },
        Change::SetKeyAllowance { name: "validator".into(), allowance: Some(allowance) },
        Change::PinOfficer {
            name: "alice".into(),
            certificate: Fingerprint([5; 32]),
            role: Some(Role::KeyOfficer),
        },
        Change::RotateOfficer { name: "alice".into(), certificate: Fingerprint([6; 32]) },
        Change::FinishOfficerRotation { name: "alice".into(), keep_new: true },
    ]
}

fn requests() -> Vec<ClaimRequest> {
    let request = |n: usize| RequestId { node: NodeId(1), boot: 1, seq: n as u64 };
    let claims = KEYS.iter().enumerate().map(|(n, (key_type, chain))| {
        let duty = duty(*key_type, BEGIN, 1, world::CHAINS[*chain].1).expect("a claimed class");
        ClaimRequest { request: request(n), claim: claim(key(n), duty, 1) }
    });
    claims.collect()
}

fn commands() -> Vec<Command> {
    let mut commands: Vec<Command> = changes().into_iter().map(World::command).collect();
    commands.push(Command::Claims(requests()));
    commands.push(Command::Checkpoint { at: LogIndex(1), hash: Default::default() });
    commands
}

fn messages() -> Vec<PeerMessage> {
    let (replica, outputs, _) = alone();
    drop(replica);
    // What a single node never sends, encoded as its own log entries would travel.
    let promise = Promise { term: 2, vote: 1, index: 6 };
    let lives =
        vec![(NodeId(1), Life { incarnation: 1, boot: 1 }), (NodeId(2), Life { incarnation: 3, boot: 9 })];
    let mut messages = Vec::new();
    for kind in 0..=18u8 {
        // As in `cluster/core/src/replica/wire.rs`: kind, to, from, term, log term, index, entries, commit, ...
        let entries: Vec<Entry> = vec![(0, 2, 6, commands()[0].to_bytes(), Vec::new())];
        let snapshot: Option<(Vec<u8>, Configuration, u64, u64)> =
            (kind == 7).then(|| (World::new().state.snapshot(), configuration(), 9, 2));
        let head = (kind, 2u64, 1u64, 2u64, 2u64, 5u64, entries, 5u64, 2u64);
        let body = (promise, &lives, head, snapshot, (0u64, false, 0u64, Vec::<u8>::new(), 0i64));
        let record = signonce_core::seal_record(2, &body.encode());
        messages.extend(PeerMessage::decode(&record));
    }
    messages.extend(outputs);
    messages
}

/// Kind, term, index, data, context.
type Entry = (u8, u64, u64, Vec<u8>, Vec<u8>);
/// Voters, learners, incoming voters and learners, and whether raft leaves a joint configuration by itself.
type Configuration = (Vec<u64>, Vec<u64>, Vec<u64>, Vec<u64>, bool);

fn configuration() -> Configuration {
    (vec![1, 2, 3], Vec::new(), Vec::new(), Vec::new(), false)
}

fn frames() -> Vec<Frame> {
    let disk = DiskPosition { term: 2, vote: 1, last_index: 6 };
    let life = Life { incarnation: 1, boot: 1 };
    let roll = KnownConfiguration {
        at: LogIndex(6),
        voters: vec![NodeId(1), NodeId(2), NodeId(3)],
        learners: vec![NodeId(9)],
        addresses: vec![(NodeId(2), "10.0.0.2:7300".into())],
    };
    let hello = Hello {
        cluster: ClusterId([7; 16]),
        node: NodeId(1),
        life,
        initial: vec![NodeId(1), NodeId(2), NodeId(3)],
        formed: true,
        joined: false,
        disk,
        log: (2, 6),
        roll: roll.clone(),
    };
    let welcome = HelloReply::Welcome {
        remembered: Some(Promise { term: 2, vote: 1, index: 6 }),
        formed: true,
        witnessed: Witnessed { term: 2, log: (2, 6) },
        life,
        disk,
        roll,
    };
    let mut forwarded: Vec<Request> = requests().into_iter().map(Request::Claim).collect();
    let ids: Vec<RequestId> = forwarded.iter().map(Request::id).collect();
    if let Command::Change { request, actor, time_ms, change } = World::command(changes().remove(0)) {
        forwarded.push(Request::Change { request, actor, time_ms, change });
    }
    vec![
        Frame::Hello(hello.clone(), Purpose::Messages),
        Frame::Hello(hello, Purpose::Snapshot),
        Frame::HelloReply(welcome),
        Frame::HelloReply(HelloReply::NoWitness),
        Frame::Raft(messages().remove(0).encode()),
        Frame::Forward(forwarded),
        Frame::Declined(ids.clone(), Decline::NotLeader(Some(NodeId(2)))),
        Frame::Declined(ids.clone(), Decline::Busy),
        Frame::Declined(ids, Decline::SlotOutOfRange { slot: 7, now: 9 }),
        Frame::Arrived,
    ]
}

/// A store that a single node has written: its rows by table and key.
type Rows = BTreeMap<(DiskTable, Vec<u8>), Vec<u8>>;

/// A cluster of one forms and commits something.
fn alone() -> (Replica, Vec<PeerMessage>, Rows) {
    let config = ReplicaConfig {
        node: NodeId(1),
        cluster: ClusterId([7; 16]),
        life: Life { incarnation: 1, boot: 1 },
        initial: vec![NodeId(1)],
        joined: false,
        election_ticks: 10,
        heartbeat_ticks: 2,
        seed: 1,
        log_bytes_max: 1 << 20,
    };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut replica =
        Replica::open(config, &Default::default(), None, logger).expect("an empty disk is sound");
    replica.pass_empty_fence();
    let (mut sent, mut rows) = (Vec::new(), Rows::new());
    for tick in 0..60 {
        replica.tick();
        if tick == 40 {
            commands().iter().take(4).for_each(|command| replica.propose(command).expect("it leads"));
        }
        loop {
            let outputs = replica.pump().expect("nothing fails here");
            if outputs.is_empty() {
                break;
            }
            for output in outputs {
                match output {
                    Output::Write { batch, .. } => batch.ops.into_iter().for_each(|op| write(&mut rows, op)),
                    Output::Sync { number, .. } => replica.persisted(number),
                    Output::Send(messages) => sent.extend(messages),
                    Output::Install { .. } | Output::Capture { .. } => {
                        unreachable!("no level, no such snapshot")
                    }
                    Output::Outcomes(_) | Output::Jumped => {}
                }
            }
        }
    }
    (replica, sent, rows)
}

fn write(rows: &mut Rows, op: DiskOp) {
    match op {
        DiskOp::Put(table, key, value) => drop(rows.insert((table, key), value)),
        DiskOp::Delete(table, key) => drop(rows.remove(&(table, key))),
        DiskOp::DeleteRange(table, from, to) => {
            rows.retain(|(t, key), _| {
                *t != table || !(from.as_slice()..to.as_slice()).contains(&key.as_slice())
            });
        }
        DiskOp::Clear(table) => rows.retain(|(t, _), _| *t != table),
    }
}

fn disk() -> Vec<u8> {
    let rows: Vec<(u8, Vec<u8>, Vec<u8>)> =
        alone().2.into_iter().map(|((table, key), value)| (table as u8, key, unsealed(&value))).collect();
    rows.encode()
}

fn entries() -> Vec<Vec<u8>> {
    let rows = alone().2;
    let log = rows.into_iter().filter(|((table, _), _)| *table == DiskTable::Log);
    // In front of each is the hash of the log up to it.
    log.map(|(_, value)| unsealed(&value[32..])).collect()
}

fn keystores() -> Vec<Vec<u8>> {
    let kinds = [("babe", SR25519), ("gran", ED25519), ("beef", ECDSA)];
    let file = |(key_type, scheme): (&str, Scheme), seed: u8| {
        let secret = SecretKey::from_seed(scheme, &[seed; 32]).expect("the seed is a sound one");
        let name = hex::encode([key_type.as_bytes(), secret.public().as_bytes()].concat());
        format!("{name}\n\"0x{}\"", hex::encode([seed; 32])).into_bytes()
    };
    let mut files: Vec<Vec<u8>> = kinds.into_iter().zip(1..).map(|(kind, seed)| file(kind, seed)).collect();
    let suri = SecretString::from("//Alice//stash/soft");
    let secret = SecretKey::from_suri(SR25519, &suri, None).expect("a sound secret");
    let name = hex::encode([&b"para"[..], secret.public().as_bytes()].concat());
    files.push(format!("{name}\n\"//Alice//stash/soft\"").into_bytes());
    files
}

fn envelopes() -> Vec<Vec<u8>> {
    let secret = SecretKey::from_seed(SR25519, &[1; 32]).expect("the seed is a sound one");
    let id = KeyId { key_type: BABE, public: secret.public() };
    let recipients = [NodeIdentity::generate().recipient(), NodeIdentity::generate().recipient()];
    let sealed = seal(&secret, &id, &ChainId([1; 32]), &recipients).expect("the key is sound");
    vec![sealed.into_bytes(), recipients[0].to_string().into_bytes()]
}

fn configs() -> Vec<Vec<u8>> {
    let small = r#"#!limits.tick_ms=20
[node]
id = 1
data_dir = "data"
[cluster]
id = "00112233445566778899aabbccddeeff"
[[cluster.members]]
id = 1
peer = "10.0.0.1:7300"
client_url = "https://10.0.0.1:7301"
[[cluster.members]]
id = 2
peer = "[::1]:7300"
client_url = "wss://two.example:7301"
[tls]
ca = "ca.pem"
cert = "cert.pem"
key = "/etc/key.pem"
"#;
    let all = format!(
        "{small}[listen]\npeer = \"0.0.0.0:7300\"\nclient = \"0.0.0.0:7301\"\nadmin = \"127.0.0.1:7302\"\n\
         admin_socket = \"admin.sock\"\nmetrics = \"127.0.0.1:7303\"\n[limits]\nrequest_timeout_ms = 1000\n\
         slot_tolerance = 2\n[log]\nformat = \"text\"\nlevel = \"info,signonce_core=debug\"\n"
    );
    vec![small.into(), all.into_bytes()]
}

/// The valid ones of the vectors that the product's own tests read.
fn interchanges() -> Vec<Vec<u8>> {
    [
        include_bytes!("../../signer/tests/vectors/watermarks/good-complete.json").to_vec(),
        include_bytes!("../../signer/tests/vectors/watermarks/good-empty.json").to_vec(),
        include_bytes!("../../signer/tests/vectors/watermarks/good-last-round.json").to_vec(),
        include_bytes!("../../signer/tests/vectors/watermarks/good-minimal.json").to_vec(),
    ]
    .into()
}

fn manifests() -> Vec<Vec<u8>> {
    let manifest = Manifest {
        format: "signonce-backup".into(),
        version: 2,
        cluster: "00112233445566778899aabbccddeeff".into(),
        node: NodeId(2),
        applied: LogIndex(1_234),
        state_hash: HexArray([7; 32]),
        feature_level: 2,
        created_ms: 1_700_000_000_000,
        software: "0.1.0".into(),
        slot_tolerance: 3,
        counts: Counts { chains: 1, keys: 5, clients: 2 },
        files: vec![FileEntry { name: "state".into(), bytes: 4_096, sha256: HexArray([9; 32]) }],
    };
    vec![serde_json::to_vec_pretty(&manifest).expect("plain data")]
}

/// Operations for the ledger: bytes without structure, but different.
fn asks() -> Vec<Vec<u8>> {
    [1, 7, 31, 101].map(|step| [line(step), line(step + 2)].concat()).to_vec()
}

fn befallen() -> Vec<Vec<u8>> {
    [3, 11, 43, 89, 127].map(|step| [1, 2, 4, 6].map(|more| line(step + more)).concat()).to_vec()
}

/// Bytes of every value, in an order of its own.
fn line(step: u8) -> Vec<u8> {
    (0..=255u8).map(|n| n.wrapping_mul(step).rotate_left(3) ^ n).collect()
}
