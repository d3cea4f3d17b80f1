//! A small cluster's state: three chains, a key of every claimed class, a client.

use signonce_core::{
    Chain, Change, Claim, ClientId, Command, Fingerprint, Floors, KeyState, Outcome, RequestId, State, Table,
};
use signonce_protocol::{
    Carry, ChainId, Digest, Duty as AnyDuty, DutyClass, KeyId, KeyType, LogIndex, NodeId, Position, Slot,
};
use signonce_substrate::{
    AURA, AuraMode, BABE, BEEFY, BlockNumber, CandidateHash, ChainFormat, ChainSettings, Duty, GRANDPA,
    GrandpaStage, Limits, PARA, Round, SessionIndex, SetId, Side, StatementKind,
};
use std::collections::BTreeMap;

/// A chain whose AURA blocks are one per slot, and one of a collator.
pub(crate) const CHAINS: [(ChainId, AuraMode); 2] =
    [(ChainId([1; 32]), AuraMode::Slot), (ChainId([2; 32]), AuraMode::Collator)];

/// Keys of every claimed class, with the chain of each.
pub(crate) const KEYS: [(KeyType, usize); 6] =
    [(BABE, 0), (GRANDPA, 0), (BEEFY, 0), (PARA, 0), (AURA, 0), (AURA, 1)];

/// Where all floors begin: slot, or set and round or block, or session.
pub(crate) const BEGIN: (u64, u64) = (100, 100);

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) at: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        thread_local! {
            static WORLD: World = World::provisioned();
        }
        WORLD.with(World::clone)
    }

    fn provisioned() -> Self {
        signonce_shared::families::install();
        let mut world = Self { state: State::new(), at: 0 };
        for n in 0..CHAINS.len() {
            world.done(Change::AddChain(chain(n)));
        }
        for (i, (key_type, chain)) in KEYS.into_iter().enumerate() {
            let (id, scheme, chain) = (key(i), key_type.schemes()[0], CHAINS[chain].0);
            let sealed = vec![7; 64].into();
            world.done(Change::RegisterKey { id, scheme, chain, group: None, sealed });
            world.done(Change::ArmKey { id, floors: floors(key_type, BEGIN) });
        }
        world.done(Change::AddClient {
            name: "validator".into(),
            spki: Fingerprint([9; 32]),
            rights: Vec::new(),
        });
        world.state.take_changes();
        world
    }

    fn done(&mut self, change: Change) {
        let outcomes = self.apply(Self::command(change.clone()));
        assert!(matches!(&outcomes[..], [Outcome::Change(Ok(_))]), "{change:?}: {outcomes:?}");
    }

    pub(crate) fn command(change: Change) -> Command {
        let request = RequestId { node: NodeId(1), boot: 1, seq: 1 };
        Command::Change { request, actor: "operator".into(), time_ms: 1, change }
    }

    /// Applies a command as the next entry.
    pub(crate) fn log(&mut self, command: Command) -> Vec<Outcome> {
        self.at += 1;
        let outcomes = self.state.apply(LogIndex(self.at), command).unwrap_or_default();
        self.state.take_changes();
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Applies a command as the next entry, to two states, one of which is restored from its records each time.
    pub(crate) fn apply(&mut self, command: Command) -> Vec<Outcome> {
        self.at += 1;
        let mut other = self.state.clone();
        let mut records = records(&other);
        let again = other.apply(LogIndex(self.at), command.clone());
        for change in other.take_changes() {
            match change.value {
                Some(value) => records.insert((change.table, change.key), value),
                None => records.remove(&(change.table, change.key)),
            };
        }
        let outcomes = self.state.apply(LogIndex(self.at), command);
        assert_eq!(outcomes, again, "one log, one outcome");
        self.state.take_changes();
        assert_eq!(records, self::records(&self.state), "what was written is the state");
        let Ok(outcomes) = outcomes else { return Vec::new() };
        let rows = records.into_iter().map(|((table, key), value)| (table, key, value));
        if let Err(e) = State::from_records(rows, self.state.hash()) {
            panic!("the records of a state make it again: {e}");
        }
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Asks every key of a state something.
    pub(crate) fn ask_all(state: &State) {
        for key in state.keys() {
            let duty = duty(key.id.key_type, BEGIN, 0, AuraMode::Slot);
            let verdict = duty.map(|duty| state.check(&claim(key.id, duty, 1)).may_sign());
            assert!(verdict != Some(true) || key.state == KeyState::Armed);
            state.watermarks(&key.id);
        }
    }
}

fn records(state: &State) -> BTreeMap<(Table, Vec<u8>), Vec<u8>> {
    state.records().map(|(table, key, value)| ((table, key), value)).collect()
}

/// The `n`th of [`CHAINS`].
pub(crate) fn chain(n: usize) -> Chain {
    let (genesis, aura_mode) = CHAINS[n];
    let format = ChainFormat { aura_mode, ..ChainFormat::default() };
    let settings = ChainSettings { format, slot_duration_ms: 6_000, limits: Limits::default() };
    settings.chain(genesis, format!("chain-{n}"))
}

/// The `n`th of [`KEYS`].
pub(crate) fn key(n: usize) -> KeyId {
    let key_type = KEYS[n].0;
    let public = vec![n as u8 + 1; key_type.schemes()[0].public_len()];
    KeyId { key_type, public: public[..].try_into().expect("it has the scheme's length") }
}

pub(crate) fn claim(key: KeyId, duty: AnyDuty, digest: u8) -> Claim {
    let (digest, carry) = (Digest([digest; 32]), Carry::default());
    Claim { key, client: ClientId(1), duty, digest, carry, time_ms: 1 }
}

/// A duty of a claimed class at a place; `within` tells those at one place apart.
pub(crate) fn duty(
    key_type: KeyType,
    (major, minor): (u64, u64),
    within: u8,
    aura: AuraMode,
) -> Option<AnyDuty> {
    let stages = [GrandpaStage::Prevote, GrandpaStage::Precommit, GrandpaStage::PrimaryPropose];
    let duty = match key_type {
        BABE => Duty::BabeBlock { slot: Slot(major) },
        AURA => {
            let block = (BlockNumber(u64::from(within)), signonce_protocol::Hash([within; 32]));
            Duty::AuraBlock { slot: Slot(major), collation: (aura == AuraMode::Collator).then_some(block) }
        }
        GRANDPA => Duty::GrandpaVote {
            set_id: SetId(major),
            round: Round(minor),
            stage: stages[usize::from(within) % 3],
            target: BlockNumber(minor),
        },
        BEEFY => Duty::BeefyVote { set_id: SetId(major), block: BlockNumber(minor) },
        PARA => {
            let session = SessionIndex(u32::try_from(major).unwrap_or(u32::MAX));
            let candidate = |n| CandidateHash([within / 3 + n; 32]);
            let side = |side| {
                let candidates = (0..=within % 3).map(candidate).collect();
                Duty::ParaSide { session, candidates, side, statement: None }
            };
            let backed = |statement| {
                let (candidates, statement) = (vec![candidate(0)], Some(statement));
                Duty::ParaSide { session, candidates, side: Side::Valid, statement }
            };
            match minor % 4 {
                0 => side(Side::Valid),
                1 => side(Side::Invalid),
                2 => backed(StatementKind::Seconded),
                _ => backed(StatementKind::Valid),
            }
        }
        // All that the others do is free.
        _ => return None,
    };
    Some(duty.to_any())
}

/// The floor of a key's claimed work.
pub(crate) fn floors(key_type: KeyType, (major, minor): (u64, u64)) -> Floors {
    let floor = |class: DutyClass| {
        let parts = class.claim()?.parts.iter().zip([major, minor]);
        let numbers: Vec<u64> = parts.map(|(part, at)| at.min(part.max)).collect();
        Position::new(class, &numbers)
    };
    key_type.marks().filter_map(floor).collect()
}
