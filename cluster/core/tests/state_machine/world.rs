//! A small cluster's state to test on. Every command goes through its bytes, as in a real log.

use signonce_core::{
    Chain, Change, ChangeDone, ChangeError, Claim, ClaimRequest, ClientId, Command, Floors, Outcome,
    PlacementChange, Position, Refusal, RequestId, State, Table, Verdict, client_actor, node_actor,
};
use signonce_protocol::{
    Carry, ChainId, Digest, Duty, DutyClass, Family, Hash, KeyId, KeyType, LogIndex, NodeId, Slot,
};
use signonce_substrate::{
    AURA_BLOCK, AuraMode, BABE_BLOCK, BEEFY_VOTE, BlockNumber, CandidateHash, ChainFormat, ChainSettings,
    Duty as Typed, GRANDPA_VOTE, GrandpaStage, Limits, PARA_SIDE, Round, SessionIndex, SetId, Side,
    StatementKind,
};

pub const CHAIN: ChainId = ChainId([1; 32]);
pub const COLLATOR_CHAIN: ChainId = ChainId([2; 32]);

/// Substrate's family, and those of tests.
pub fn install() {
    static ALL: [&Family; 3] =
        [&signonce_substrate::FAMILY, &crate::made_up::FAMILY, &crate::made_up::later::FAMILY];
    signonce_protocol::install(&ALL);
}

pub struct World {
    pub state: State,
    pub at: u64,
}

impl World {
    /// Two chains: `relay`, and `para` whose AURA blocks are collations.
    pub fn new() -> Self {
        let mut world = Self::empty();
        world.change(Change::AddChain(chain(CHAIN, "relay", AuraMode::Slot))).unwrap();
        world.change(Change::AddChain(chain(COLLATOR_CHAIN, "para", AuraMode::Collator))).unwrap();
        world
    }

    /// Without anything.
    pub fn empty() -> Self {
        install();
        Self { state: State::new(), at: 0 }
    }

    /// Applies a command as the next log entry.
    pub fn apply(&mut self, command: &Command) -> Vec<(RequestId, Outcome)> {
        self.at += 1;
        let command = Command::from_bytes(&command.to_bytes()).unwrap();
        self.state.apply(LogIndex(self.at), command).unwrap()
    }

    /// A change by whoever has to make it: an operator, or the signer or client that it is about.
    pub fn change(&mut self, change: Change) -> Result<ChangeDone, ChangeError> {
        let actor = match &change {
            Change::AnnounceMember(member) | Change::JoinMember { member, .. } => node_actor(member.node),
            Change::Place(PlacementChange::Note { node, .. }) => node_actor(*node),
            Change::AddGeneratedKey { client, .. } => {
                let client = self.state.client(*client);
                client_actor(client.map_or("nobody", |client| &client.name))
            }
            change if change.least_role().is_none() => node_actor(request(0).node),
            _ => "operator".into(),
        };
        self.by(&actor, change)
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
    pub fn register(&mut self, id: KeyId, chain: ChainId) {
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

pub fn chain(genesis: ChainId, name: &str, aura_mode: AuraMode) -> Chain {
    chain_of(genesis, name, aura_mode, 6_000, Limits::default())
}

pub fn chain_of(
    genesis: ChainId,
    name: &str,
    aura_mode: AuraMode,
    slot_duration_ms: u64,
    limits: Limits,
) -> Chain {
    install();
    let format = ChainFormat { aura_mode, ..ChainFormat::default() };
    ChainSettings { format, slot_duration_ms, limits }.chain(genesis, name)
}

/// Gives [`CHAIN`] other limits.
pub fn set_limits(limits: Limits) -> Change {
    let settings = chain_of(CHAIN, "relay", AuraMode::Slot, 6_000, limits).settings;
    Change::SetSettings { chain: CHAIN, settings }
}

/// The `n`th key of a type; no two types share one.
pub fn key(key_type: KeyType, n: u8) -> KeyId {
    install();
    let mut public = vec![n; key_type.schemes()[0].public_len()];
    // Substrate's come first.
    let [family, own] = key_type.code().to_be_bytes();
    public[0] = own.wrapping_add((family - 1).wrapping_mul(16));
    KeyId { key_type, public: public.as_slice().try_into().unwrap() }
}

pub fn register(id: KeyId, chain: ChainId, group: Option<&str>) -> Change {
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
    let (client, digest, carry) = (ClientId(9), Digest([digest; 32]), Carry::default());
    Claim { key, client, duty, digest, carry, time_ms: 1_700_000_000_000 }
}

/// The verdict on what was signed there already.
pub fn repeated(at: LogIndex) -> Verdict {
    Verdict::Repeated { at, carry: Carry::default() }
}

pub fn babe(slot: u64) -> Duty {
    install();
    Typed::BabeBlock { slot: Slot(slot) }.into()
}

pub fn aura(slot: u64) -> Duty {
    Typed::AuraBlock { slot: Slot(slot), collation: None }.into()
}

pub fn collation(slot: u64, number: u64, parent: u8) -> Duty {
    Typed::AuraBlock { slot: Slot(slot), collation: Some((BlockNumber(number), Hash([parent; 32]))) }.into()
}

pub fn vote(set: u64, round: u64, stage: GrandpaStage) -> Duty {
    install();
    Typed::GrandpaVote { set_id: SetId(set), round: Round(round), stage, target: BlockNumber(1) }.into()
}

pub fn prevote(set: u64, round: u64) -> Duty {
    vote(set, round, GrandpaStage::Prevote)
}

pub fn precommit(set: u64, round: u64, target: u64) -> Duty {
    install();
    let (set_id, round, target) = (SetId(set), Round(round), BlockNumber(target));
    Typed::GrandpaVote { set_id, round, stage: GrandpaStage::Precommit, target }.into()
}

pub fn beefy(set: u64, block: u64) -> Duty {
    Typed::BeefyVote { set_id: SetId(set), block: BlockNumber(block) }.into()
}

pub fn side(session: u32, candidates: &[u8], side: Side) -> Duty {
    let candidates = candidates.iter().map(|c| CandidateHash([*c; 32])).collect();
    Typed::ParaSide { session: SessionIndex(session), candidates, side, statement: None }.into()
}

pub fn statement(session: u32, candidate: u8, statement: StatementKind) -> Duty {
    let (session, candidates) = (SessionIndex(session), vec![CandidateHash([candidate; 32])]);
    Typed::ParaSide { session, candidates, side: Side::Valid, statement: Some(statement) }.into()
}

/// The floor of a BABE key.
pub fn from_slot(slot: u64) -> Floors {
    at_slot(slot).into()
}

/// The floor of an AURA key.
pub fn from_aura_slot(slot: u64) -> Floors {
    at_aura_slot(slot).into()
}

pub fn from_round(set: u64, round: u64) -> Floors {
    at_round(set, round).into()
}

pub fn from_block(set: u64, block: u64) -> Floors {
    at_block(set, block).into()
}

pub fn from_session(session: u32) -> Floors {
    at_session(session).into()
}

fn at(class: DutyClass, parts: &[u64]) -> Position {
    install();
    Position::new(class, parts).unwrap()
}

pub fn at_slot(slot: u64) -> Position {
    at(BABE_BLOCK, &[slot])
}

pub fn at_aura_slot(slot: u64) -> Position {
    at(AURA_BLOCK, &[slot])
}

pub fn at_round(set: u64, round: u64) -> Position {
    at(GRANDPA_VOTE, &[set, round])
}

pub fn at_block(set: u64, block: u64) -> Position {
    at(BEEFY_VOTE, &[set, block])
}

pub fn at_session(session: u32) -> Position {
    at(PARA_SIDE, &[u64::from(session)])
}

/// Every class of Substrate's.
pub fn all_classes() -> Vec<DutyClass> {
    install();
    signonce_substrate::FAMILY.classes.iter().map(|class| class.id).collect()
}

/// The rows of a state but the head of the audit, which moves with whatever is asked.
pub fn rows_but_audit(state: &State) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
    state.records().filter(|(table, key, _)| !is_audit_head(*table, key)).collect()
}

/// Whether it is the row of the head of the audit.
pub fn is_audit_head(table: Table, key: &[u8]) -> bool {
    (table, key) == (Table::Registry, &[11][..])
}
