//! Golden bytes of what members send each other, and of the rows in which a member keeps where it stands.

use super::{
    disk::{
        AppliedRow, DiskBatch, DiskOp, DiskTable, HardStateRow, HighWater, LogPoint, meta_key, read_meta,
    },
    fence::Quarantine,
    hello::{ClusterId, Hello, HelloRefusal, HelloReply, Life, Witnessed},
    members::{KnownConfiguration, Step},
    memory::Remembered,
    wire::{Beside, DiskPosition, PeerMessage, Promise, TRAVELS, decode_entry, encode_entry},
};
use crate::{
    golden::{File, sample::*, variants},
    model::Configuration,
    records::StateHash,
};
use parity_scale_codec::{Decode, Encode};
use raft::eraftpb::{Entry, EntryType, Message, MessageType, Snapshot};
use signonce_protocol::NodeId;
use std::fmt::Debug;

const PROMISE: Promise = Promise { term: 5, vote: 2, index: 10 };
const LIFE: Life = Life { incarnation: 3, boot: 9 };
const DISK: DiskPosition = DiskPosition { term: 6, vote: 1, last_index: 11 };

fn roll() -> KnownConfiguration {
    KnownConfiguration {
        at: AT,
        voters: vec![NODE, NodeId(4)],
        learners: vec![NodeId(5)],
        addresses: vec![(NODE, "peer:1".into())],
    }
}

fn configuration() -> Configuration {
    Configuration { voters: vec![1, 2, 3], learners: vec![4], ..Configuration::default() }
}

variants! {
    fn steps() -> Step {
        AddLearner => Step::AddLearner(4);
        Promote => Step::Promote(4);
        Remove => Step::Remove(4);
    }
}

variants! {
    fn replies() -> HelloReply {
        Welcome => HelloReply::Welcome {
            remembered: Some(PROMISE),
            formed: true,
            witnessed: Witnessed { term: 7, log: (6, 12) },
            life: LIFE,
            disk: DISK,
            roll: roll(),
        };
        Refused => HelloReply::Refused(HelloRefusal::OtherMembers);
        NoWitness => HelloReply::NoWitness;
    }
}

variants! {
    fn refusals() -> HelloRefusal {
        OtherCluster => HelloRefusal::OtherCluster { theirs: ClusterId([0xc1; 16]), ours: ClusterId([0xc2; 16]) };
        OtherMembers => HelloRefusal::OtherMembers;
        NotAMember => HelloRefusal::NotAMember(NODE);
        Superseded => HelloRefusal::Superseded { met: 4, yours: 3 };
        Removed => HelloRefusal::Removed(NODE);
    }
}

variants! {
    fn tables() -> DiskTable {
        Log => DiskTable::Log;
        Meta => DiskTable::Meta;
        Ledger => DiskTable::Ledger;
        Registry => DiskTable::Registry;
        Audit => DiskTable::Audit;
    }
}

variants! {
    fn operations() -> DiskOp {
        Put => DiskOp::Put(DiskTable::Log, vec![1], vec![2]);
        Delete => DiskOp::Delete(DiskTable::Meta, vec![3]);
        DeleteRange => DiskOp::DeleteRange(DiskTable::Ledger, vec![4], vec![5]);
        Clear => DiskOp::Clear(DiskTable::Registry);
    }
}

variants! {
    fn entry_types() -> EntryType {
        EntryNormal => EntryType::EntryNormal;
        EntryConfChange => EntryType::EntryConfChange;
        EntryConfChangeV2 => EntryType::EntryConfChangeV2;
    }
}

fn entry(kind: EntryType) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(kind);
    (entry.term, entry.index) = (7, 42);
    (entry.data, entry.context) = (vec![0xda, 0x7a].into(), vec![0xc0].into());
    entry
}

/// A message with every field set to another value.
fn message(kind: MessageType) -> PeerMessage {
    let mut message = Message::default();
    message.set_msg_type(kind);
    (message.to, message.from, message.term, message.log_term) = (2, 1, 7, 6);
    (message.index, message.commit, message.commit_term) = (41, 40, 5);
    (message.request_snapshot, message.reject, message.reject_hint) = (39, true, 38);
    (message.context, message.priority) = (vec![0xc7].into(), -1);
    message.entries = vec![entry(EntryType::EntryNormal)].into();
    if kind == MessageType::MsgSnapshot {
        let mut snapshot = Snapshot { data: vec![0x57, 0xa7].into(), ..Snapshot::default() };
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (37, 4);
        meta.set_conf_state(configuration().into());
        message.set_snapshot(snapshot);
    }
    PeerMessage { promise: PROMISE, lives: vec![(NodeId(2), LIFE)], message, records: Beside::default() }
}

#[test]
fn every_peer_message_has_the_bytes_it_always_had() {
    let mut file = File::new("peers");
    for kind in TRAVELS {
        let sent = message(kind);
        let bytes = sent.encode();
        assert_eq!(PeerMessage::decode(&bytes), Ok(sent), "{kind:?} is read back");
        file.bytes(format!("PeerMessage/{kind:?}"), &bytes);
    }
    let hello = Hello {
        cluster: ClusterId([0xc1; 16]),
        node: NODE,
        life: LIFE,
        initial: vec![NODE, NodeId(4)],
        joined: true,
        formed: true,
        disk: DISK,
        log: (6, 11),
        roll: roll(),
    };
    file.values("Hello", [("all".to_owned(), hello)]);
    file.values("HelloReply", replies());
    file.values("HelloRefusal", refusals());
    file.check();
}

#[test]
fn every_row_of_log_and_meta_has_the_bytes_it_always_had() {
    let mut file = File::new("replica");
    for (name, kind) in entry_types() {
        let bytes = encode_entry(&entry(kind));
        assert_eq!(decode_entry(&bytes), Ok(entry(kind)), "{name} is read back");
        file.bytes(format!("log/{name}"), &bytes);
    }
    file.values("Step", steps());
    let point = LogPoint { index: 36, term: 4, chain: [0xcc; 32] };
    let hash = StateHash::from_bytes([0x5a; 32]);
    let memory = [meta_key::MEMORY, &NODE.0.to_be_bytes()].concat();
    let applied = AppliedRow { index: 40, configuration: configuration(), state_hash: hash };
    let written = [
        meta(&mut file, "hard-state", meta_key::HARD_STATE, &HardStateRow { term: 5, vote: 2, commit: 40 }),
        meta(&mut file, "applied", meta_key::APPLIED, &applied),
        meta(&mut file, "truncated", meta_key::TRUNCATED, &point),
        meta(&mut file, "configured", meta_key::CONFIGURED, &30_u64),
        meta(&mut file, "memory", &memory, &Remembered { life: LIFE, promise: Some(PROMISE) }),
    ];
    for known in meta_key::ALL {
        assert!(written.iter().any(|key| key.starts_with(known)), "no example under {known:?}");
    }
    let mark = HighWater { sequence: 8, promise: PROMISE, applied: point };
    assert_eq!(HighWater::decode(&mark.encode()), Ok(mark));
    file.bytes("high-water", &mark.encode());
    file.values("DiskTable", tables());
    file.values("DiskOp", operations());
    file.check();
}

/// A row of the meta table, written and read as the replica does. Gives the key back.
fn meta<T: Encode + Decode + PartialEq + Debug>(
    file: &mut File,
    name: &str,
    key: &[u8],
    value: &T,
) -> Vec<u8> {
    let mut batch = DiskBatch::default();
    batch.put_meta(key, value);
    let Some(DiskOp::Put(DiskTable::Meta, key, bytes)) = batch.ops.pop() else { panic!("one row is put") };
    assert_eq!(read_meta::<T>(&bytes).as_ref(), Ok(value), "{name} is read back");
    file.bytes(format!("meta/{name}/key"), &key);
    file.bytes(format!("meta/{name}/value"), &bytes);
    key
}

/// As with errors of the log: what goes from node to node, or is shown of it, says what happened.
#[test]
fn no_refusal_and_no_quarantine_says_what_to_type() {
    let lost = Quarantine::LostMemory { peer: NODE, promise: PROMISE, disk: DISK };
    let refused = refusals().into_iter().map(|(_, refusal)| Quarantine::Refused { peer: NODE, refusal });
    for reason in [lost, Quarantine::Removed].into_iter().chain(refused) {
        let text = reason.to_string();
        assert!(!text.contains('`') && !text.contains("signonce "), "{text}");
    }
}
