//! The values that the examples are made of. Numbers and bytes differ from field to field, so that two fields which
//! change places change the bytes.

use super::variants;
use crate::{
    BackupName, Barred, BarredPlace, Chain, ClientId, Envelope, Floors, KeyAllowance, Limits, Member,
    Position, RequestId,
};
use signonce_protocol::{
    AuraMode, BlockNumber, CandidateHash, ChainFormat, Digest, Duty, GenesisHash, GrandpaStage, Hash,
    HexArray, KeyId, KeyType, LogIndex, NodeId, NumberWidth, PublicKey, Round, SessionIndex, SetId, Side,
    Slot, StatementKind,
};

pub(crate) const CHAIN: GenesisHash = GenesisHash([0xc4; 32]);
pub(crate) const DIGEST: Digest = Digest([0xd1; 32]);
pub(crate) const AT: LogIndex = LogIndex(0x0a17);
pub(crate) const CLIENT: ClientId = ClientId(0xc11e);
pub(crate) const NODE: NodeId = NodeId(3);
pub(crate) const TIME_MS: u64 = 1_700_000_000_123;

pub(crate) fn key() -> KeyId {
    key_of(KeyType::Babe)
}

pub(crate) fn key_of(key_type: KeyType) -> KeyId {
    let public = vec![0xe0 + key_type as u8; key_type.schemes()[0].public_len()];
    KeyId { key_type, public: PublicKey::try_from(&public[..]).expect("a public key") }
}

pub(crate) fn request() -> RequestId {
    RequestId { node: NODE, boot: 0xb007, seq: 0x5e9 }
}

pub(crate) fn name() -> String {
    "alice".into()
}

pub(crate) fn envelope() -> Envelope {
    vec![0x5e, 0xa1, 0xed].into()
}

pub(crate) fn limits() -> Limits {
    Limits {
        grandpa_rounds: 1,
        grandpa_sets: 2,
        beefy_blocks: 3,
        beefy_sets: 4,
        para_sessions: 5,
        beefy_shield: Some(6),
    }
}

pub(crate) fn chain() -> Chain {
    let format = ChainFormat { number_width: NumberWidth::U64, aura_mode: AuraMode::Collator };
    Chain { genesis: CHAIN, name: "relay".into(), format, slot_duration_ms: 6_000, limits: limits() }
}

pub(crate) fn floors() -> Floors {
    Floors {
        slot: Some(Slot(7)),
        grandpa: Some((SetId(8), Round(9))),
        beefy: Some((SetId(10), BlockNumber(11))),
        para: Some(SessionIndex(12)),
    }
}

pub(crate) fn member() -> Member {
    Member {
        node: NODE,
        recipient: "age1recipient".into(),
        peer_addr: "peer:1".into(),
        client_url: "https://client:2".into(),
        supports: 4,
    }
}

pub(crate) fn allowance() -> KeyAllowance {
    KeyAllowance { group: "validator-1".into(), chain: Some(CHAIN), limit: 64 }
}

pub(crate) fn backup() -> BackupName {
    BackupName { cluster: HexArray([0xc1; 16]), node: NODE, applied: AT, manifest: HexArray([0x3a; 32]) }
}

pub(crate) fn barred() -> Barred {
    let place = BarredPlace { duty: Duty::BabeBlock { slot: Slot(13) }, digest: DIGEST, at: AT };
    Barred { key: key(), places: vec![place] }
}

variants! {
    pub(crate) fn duties() -> Duty {
        BabeBlock => Duty::BabeBlock { slot: Slot(13) };
        AuraBlock =>
            Duty::AuraBlock { slot: Slot(14), collation: None },
            Duty::AuraBlock { slot: Slot(14), collation: Some((BlockNumber(15), Hash([0xbb; 32]))) };
        GrandpaVote => Duty::GrandpaVote {
            set_id: SetId(16),
            round: Round(17),
            stage: GrandpaStage::Precommit,
            target: BlockNumber(18),
        };
        BeefyVote => Duty::BeefyVote { set_id: SetId(19), block: BlockNumber(20) };
        ParaSide => Duty::ParaSide {
            session: SessionIndex(21),
            candidates: vec![CandidateHash([0xca; 32]), CandidateHash([0xcb; 32])],
            side: Side::Invalid,
        };
        ParaStatement => Duty::ParaStatement {
            session: SessionIndex(22),
            candidate: CandidateHash([0xcc; 32]),
            statement: StatementKind::Seconded,
        };
    }
}

variants! {
    pub(crate) fn positions() -> Position {
        Slot => Position::Slot { slot: Slot(23) };
        Grandpa => Position::Grandpa { set_id: SetId(24), round: Round(25) };
        Beefy => Position::Beefy { set_id: SetId(26), block: BlockNumber(27) };
        Para => Position::Para { session: SessionIndex(28) };
    }
}

pub(crate) fn duty() -> Duty {
    Duty::BabeBlock { slot: Slot(13) }
}

pub(crate) fn position() -> Position {
    Position::Slot { slot: Slot(23) }
}

pub(crate) fn higher() -> Position {
    Position::Slot { slot: Slot(29) }
}
