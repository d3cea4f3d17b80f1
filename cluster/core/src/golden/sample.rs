//! The values that the examples are made of. Numbers and bytes differ from field to field, so that two fields which
//! change places change the bytes.

use super::variants;
use crate::{
    BackupName, Barred, BarredPlace, Chain, ClientId, Envelope, Floors, KeyAllowance, Member, Position,
    RequestId,
};
use signonce_protocol::{
    Carry, ChainId, Claim, Digest, Duty, DutyClass, Family, Hash, HexArray, KeyId, KeyType, LogIndex, NodeId,
    PublicKey, Settings, Slot,
};
use signonce_substrate::{
    AURA_BLOCK, AuraMode, BABE, BABE_BLOCK, BEEFY_VOTE, BlockNumber, CandidateHash, ChainFormat,
    ChainSettings, Duty as Typed, GRANDPA_VOTE, GrandpaStage, Limits, NumberWidth, PARA_SIDE, Round,
    SessionIndex, SetId, Side, StatementKind,
};

/// Substrate's family, and those of tests.
pub(crate) fn install() {
    static ALL: [&Family; 3] =
        [&signonce_substrate::FAMILY, &crate::made_up::FAMILY, &crate::made_up::later::FAMILY];
    signonce_protocol::install(&ALL);
}

pub(crate) const CHAIN: ChainId = ChainId([0xc4; 32]);
pub(crate) const DIGEST: Digest = Digest([0xd1; 32]);
pub(crate) const AT: LogIndex = LogIndex(0x0a17);
pub(crate) const CLIENT: ClientId = ClientId(0xc11e);
pub(crate) const NODE: NodeId = NodeId(3);
pub(crate) const TIME_MS: u64 = 1_700_000_000_123;

pub(crate) fn key() -> KeyId {
    key_of(BABE)
}

pub(crate) fn key_of(key_type: KeyType) -> KeyId {
    install();
    let public = vec![0xe0 + key_type.code() as u8; key_type.schemes()[0].public_len()];
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
    install();
    let format = ChainFormat { number_width: NumberWidth::U64, aura_mode: AuraMode::Collator };
    ChainSettings { format, slot_duration_ms: 6_000, limits: limits() }.chain(CHAIN, "relay")
}

pub(crate) fn settings() -> Settings {
    chain().settings
}

pub(crate) fn floors() -> Floors {
    [at(BABE_BLOCK, &[7]), at(GRANDPA_VOTE, &[8, 9]), at(BEEFY_VOTE, &[10, 11]), at(PARA_SIDE, &[12])]
        .into_iter()
        .collect()
}

pub(crate) fn at(class: DutyClass, parts: &[u64]) -> Position {
    install();
    Position::new(class, parts).expect("a position of the class")
}

pub(crate) fn carry() -> Carry {
    Carry::new(vec![0xca, 0x44])
}

pub(crate) fn claim(key: KeyId, duty: Duty) -> Claim {
    Claim { key, client: CLIENT, duty, digest: DIGEST, carry: carry(), time_ms: TIME_MS }
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
    let place = BarredPlace { duty: duty(), digest: DIGEST, at: AT };
    Barred { key: key(), places: vec![place] }
}

variants! {
    fn typed_duties() -> Typed {
        BabeBlock => Typed::BabeBlock { slot: Slot(13) };
        AuraBlock =>
            Typed::AuraBlock { slot: Slot(14), collation: None },
            Typed::AuraBlock { slot: Slot(14), collation: Some((BlockNumber(15), Hash([0xbb; 32]))) };
        GrandpaVote => Typed::GrandpaVote {
            set_id: SetId(16),
            round: Round(17),
            stage: GrandpaStage::Precommit,
            target: BlockNumber(18),
        };
        BeefyVote => Typed::BeefyVote { set_id: SetId(19), block: BlockNumber(20) };
        ParaSide =>
            Typed::ParaSide {
                session: SessionIndex(21),
                candidates: vec![CandidateHash([0xca; 32]), CandidateHash([0xcb; 32])],
                side: Side::Invalid,
                statement: None,
            },
            Typed::ParaSide {
                session: SessionIndex(22),
                candidates: vec![CandidateHash([0xcc; 32])],
                side: Side::Valid,
                statement: Some(StatementKind::Seconded),
            };
    }
}

/// A duty of every kind.
pub(crate) fn duties() -> Vec<(String, Duty)> {
    install();
    typed_duties().into_iter().map(|(name, duty)| (name, duty.into())).collect()
}

/// A position of every class that has some.
pub(crate) fn positions() -> Vec<(String, Position)> {
    let all = [
        at(BABE_BLOCK, &[23]),
        at(AURA_BLOCK, &[23]),
        at(GRANDPA_VOTE, &[24, 25]),
        at(BEEFY_VOTE, &[26, 27]),
        at(PARA_SIDE, &[28]),
    ];
    let substrate = signonce_substrate::FAMILY.classes.iter().map(|class| class.id);
    assert!(substrate.filter(|class| class.is_claimed()).eq(all.iter().map(Position::class)));
    all.into_iter().map(|position| (position.class().to_string(), position)).collect()
}

pub(crate) fn duty() -> Duty {
    install();
    Typed::BabeBlock { slot: Slot(13) }.into()
}

pub(crate) fn position() -> Position {
    at(BABE_BLOCK, &[23])
}

pub(crate) fn higher() -> Position {
    at(BABE_BLOCK, &[29])
}
