//! A small cluster's state to test on. Every command goes through its bytes, as in a real log.

use signonce_core::{Chain, Change, ChangeDone, ChangeError, Claim, ClaimRequest, ClientId, Command, Floors, GUARDED_LEVEL, Outcome, Position, Refusal, RequestId, State, Verdict};
use signonce_substrate::{Limits};
use signonce_protocol::{Digest, GenesisHash, Hash, KeyId, KeyType, LogIndex, NodeId, Slot};
use signonce_substrate::{AuraMode, BlockNumber, CandidateHash, ChainFormat, Duty, GrandpaStage, Round, SessionIndex, SetId, Side, StatementKind};

pub const CHAIN: GenesisHash = GenesisHash([1; 32]);
pub const COLLATOR_CHAIN: GenesisHash = GenesisHash([2; 32]);

pub struct World {
    pub state: State,
    pub at: u64,
}

impl World {
    /// Two chains: `relay`, and `para` whose AURA blocks are collations.
    pub fn new() -> Self {
        let mut world = Self { state: State::new(), at: 0 };
        world.change(Change::AddChain(chain(CHAIN, "relay", AuraMode::Slot))).unwrap();
        world.change(Change::AddChain(chain(COLLATOR_CHAIN, "para", AuraMode::Collator))).unwrap();
        world
    }

    /// The same at [`GUARDED_LEVEL`].
    pub fn guarded() -> Self {
        let mut world = Self::new();
        world.guard();
        world
    }

    /// Every member supports [`GUARDED_LEVEL`], and the level rises to it.
    pub fn guard(&mut self) {
        self.change(Change::RaiseFeatureLevel { level: GUARDED_LEVEL }).unwrap();
    }

    /// Applies a command as the next log entry.
    pub fn apply(&mut self, command: &Command) -> Vec<(RequestId, Outcome)> {
        self.at += 1;
        let command = Command::from_bytes(&command.to_bytes()).unwrap();
        self.state.apply(LogIndex(self.at), command).unwrap()
    }

    pub fn change(&mut self, change: Change) -> Result<ChangeDone, ChangeError> {
        self.by("operator", change)
    }

    /// A change that `actor` wants.
    pub fn by(&mut self, actor: &str, change: Change) -> Result<ChangeDone, ChangeError> {
        let command = Command::Change { request: request(0), actor: actor.into(), time_ms: 1, change };
        let outcomes = self.apply(&command);
        match outcomes.as_slice() {
            [(id, Outcome::Change(result))] if *id == request(0) => result.clone(),
            other => panic!("one change, one outcome, not {other:?}"),
        }
    }

    pub fn claim(&mut self, key: KeyId, duty: Duty, digest: u8) -> Verdict {
        let claim = claim(key, duty, digest);
        let preview = self.state.check(&claim);
        let outcomes = self.apply(&Command::Claims(vec![ClaimRequest { request: request(0), claim }]));
        match outcomes.as_slice() {
            [(id, Outcome::Verdict(verdict))] if *id == request(0) => {
                assert_eq!(preview, *verdict, "a preview and the verdict are one");
                verdict.clone()
            }
            other => panic!("one claim, one outcome, not {other:?}"),
        }
    }

    pub fn refusal(&mut self, key: KeyId, duty: Duty, digest: u8) -> Refusal {
        match self.claim(key, duty.clone(), digest) {
            Verdict::Refused(refusal) => refusal,
            verdict => panic!("{duty} should be refused, not {verdict:?}"),
        }
    }

    /// Registers a key of group `validator-1` on `chain`.
    pub fn register(&mut self, id: KeyId, chain: GenesisHash) {
        self.change(register(id, chain, Some("validator-1"))).unwrap();
    }

    /// Registers and arms a key, on the chain its type goes with here.
    pub fn armed(&mut self, key_type: KeyType, floors: Floors) -> KeyId {
        let id = key(key_type, 1);
        self.register(id, CHAIN);
        self.change(Change::ArmKey { id, floors }).unwrap();
        id
    }

    pub fn raise(&mut self, key: KeyId, floors: Floors) -> Result<ChangeDone, ChangeError> {
        self.change(Change::RaiseWatermark { key, floors })
    }

    pub fn floor(&self, key: KeyId) -> Position {
        self.state.watermarks(&key)[0].floor
    }
}

pub fn chain(genesis: GenesisHash, name: &str, aura_mode: AuraMode) -> Chain {
    let format = ChainFormat { aura_mode, ..ChainFormat::default() };
    Chain { genesis, name: name.into(), format, slot_duration_ms: 6_000, limits: Limits::default() }
}

/// The `n`th key of a type; no two types share one.
pub fn key(key_type: KeyType, n: u8) -> KeyId {
    let mut public = vec![n; key_type.schemes()[0].public_len()];
    public[0] = key_type as u8;
    KeyId { key_type, public: public.as_slice().try_into().unwrap() }
}

pub fn register(id: KeyId, chain: GenesisHash, group: Option<&str>) -> Change {
    let scheme = id.key_type.schemes()[0];
    Change::RegisterKey { id, scheme, chain, group: group.map(str::to_owned), sealed: vec![7; 200].into() }
}

pub fn request(seq: u64) -> RequestId {
    RequestId { node: NodeId(3), boot: 1, seq }
}

pub fn change_command(change: Change) -> Command {
    Command::Change { request: request(0), actor: "operator".into(), time_ms: 1, change }
}

pub fn claim(key: KeyId, duty: Duty, digest: u8) -> Claim {
    Claim { key, client: ClientId(9), duty, digest: Digest([digest; 32]), time_ms: 1_700_000_000_000 }
}

pub fn babe(slot: u64) -> Duty {
    Duty::BabeBlock { slot: Slot(slot) }
}

pub fn aura(slot: u64) -> Duty {
    Duty::AuraBlock { slot: Slot(slot), collation: None }
}

pub fn collation(slot: u64, number: u64, parent: u8) -> Duty {
    Duty::AuraBlock { slot: Slot(slot), collation: Some((BlockNumber(number), Hash([parent; 32]))) }
}

pub fn vote(set: u64, round: u64, stage: GrandpaStage) -> Duty {
    Duty::GrandpaVote { set_id: SetId(set), round: Round(round), stage, target: BlockNumber(1) }
}

pub fn prevote(set: u64, round: u64) -> Duty {
    vote(set, round, GrandpaStage::Prevote)
}

pub fn precommit(set: u64, round: u64, target: u64) -> Duty {
    let (set_id, round, target) = (SetId(set), Round(round), BlockNumber(target));
    Duty::GrandpaVote { set_id, round, stage: GrandpaStage::Precommit, target }
}

pub fn beefy(set: u64, block: u64) -> Duty {
    Duty::BeefyVote { set_id: SetId(set), block: BlockNumber(block) }
}

pub fn side(session: u32, candidates: &[u8], side: Side) -> Duty {
    let candidates = candidates.iter().map(|c| CandidateHash([*c; 32])).collect();
    Duty::ParaSide { session: SessionIndex(session), candidates, side }
}

pub fn statement(session: u32, candidate: u8, statement: StatementKind) -> Duty {
    let (session, candidate) = (SessionIndex(session), CandidateHash([candidate; 32]));
    Duty::ParaStatement { session, candidate, statement }
}

pub fn from_slot(slot: u64) -> Floors {
    Floors { slot: Some(Slot(slot)), ..Floors::default() }
}

pub fn from_round(set: u64, round: u64) -> Floors {
    Floors { grandpa: Some((SetId(set), Round(round))), ..Floors::default() }
}

pub fn from_block(set: u64, block: u64) -> Floors {
    Floors { beefy: Some((SetId(set), BlockNumber(block))), ..Floors::default() }
}

pub fn from_session(session: u32) -> Floors {
    Floors { para: Some(SessionIndex(session)), ..Floors::default() }
}

pub fn at_slot(slot: u64) -> Position {
    Position::Slot { slot: Slot(slot) }
}

pub fn at_round(set: u64, round: u64) -> Position {
    Position::Grandpa { set_id: SetId(set), round: Round(round) }
}

pub fn at_block(set: u64, block: u64) -> Position {
    Position::Beefy { set_id: SetId(set), block: BlockNumber(block) }
}

pub fn at_session(session: u32) -> Position {
    Position::Para { session: SessionIndex(session) }
}
