//! The floors from which the keys of a backup sign in the new cluster.
//!
//! The backup knows what was signed until it was made, but the old cluster went on. For slots the clock bounds how far:
//! no signer accepted a slot further from its clock than its tolerance. For votes nothing here does, so the operator
//! gives the bound, from the chain.

use super::KeyLine;
use crate::commands::{common::Usage, keys::floors::of_class, watermarks};
use serde::Serialize;
use signonce_core::{Chain, Floors, Key, KeyState, LeftKey, Position, State, WatermarkView};
use signonce_protocol::DutyClass;
use signonce_shared::admin::api::KeyRow;
use signonce_substrate::{BEEFY_VOTE, GRANDPA_VOTE, PARA_SIDE};
use std::fmt;

/// How far, in milliseconds, the clocks of the old cluster may have been ahead of those that are asked now. Signers
/// have no bound on how wrong their clocks are, only on jumps; a machine with a time service is well within this.
const CLOCKS_MS: u64 = 60_000;

/// What bounds the slots that the old cluster can have signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The present time, by the clock that is furthest ahead.
    pub now_ms: u64,
    /// How many slots from its clock the old cluster accepted.
    pub tolerance: u64,
}

/// The floors that no clock tells. CHAIN= can be left out if the backup has one chain.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FloorArgs {
    /// How many slots after now BABE and AURA keys begin to sign, if more than the old cluster's tolerance and a minute
    /// for its clocks: give more if its clocks may have been further ahead.
    #[arg(long, value_name = "SLOTS", default_value_t = 0)]
    slot_margin: u64,
    /// For gran keys: the first set and round to vote in. With the old cluster stopped, take the set that the chain is
    /// in, and give the NEXT one with round 0.
    #[arg(long, value_name = "[CHAIN=]SET:ROUND")]
    grandpa_floor: Vec<String>,
    /// For beef keys: the first set and block to vote for: the NEXT set, and a block above the best one.
    #[arg(long, value_name = "[CHAIN=]SET:BLOCK")]
    beefy_floor: Vec<String>,
    /// For para keys: the first session to take sides in: the NEXT one.
    #[arg(long, value_name = "[CHAIN=]SESSION")]
    para_floor: Vec<String>,
    /// For keys of any family: the first position of a class of duty that no clock tells.
    #[arg(long = "floor", value_name = "[CHAIN=]CLASS=POSITION")]
    floors: Vec<String>,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    /// It signs.
    Armed,
    /// It will sign once the operator arms it with a floor.
    Disarmed,
    /// It was disabled, and stays so.
    Disabled,
    /// It was never armed, and is not now.
    Registered,
    /// It was removed, and stays so.
    Removed,
    /// An earlier run of the command armed it.
    ArmedBefore,
    /// It signs once another key officer agrees.
    Proposed,
    /// It would sign if this were no drill.
    Rehearsed,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Armed => "armed",
            Self::Disarmed => "DISARMED",
            Self::Disabled => "disabled",
            Self::Registered => "registered",
            Self::Removed => "removed",
            Self::ArmedBefore => "armed before",
            Self::Proposed => "PROPOSED",
            Self::Rehearsed => "armed, were it no drill",
        })
    }
}

/// What will be done with all keys.
pub(super) struct Plan {
    pub keys: Vec<PlannedKey>,
    pub members: usize,
}

/// What will be done with one key.
pub(super) struct PlannedKey {
    pub line: KeyLine,
    /// Its secret, sealed to the new members; none for a removed key, and for one that is in the cluster already.
    pub sealed: Option<Vec<u8>>,
    /// Whether an earlier run has registered it.
    pub is_there: bool,
    /// What the new cluster is told that the backup knows of it. None for keys without floors, and for slot keys that
    /// are armed at once.
    pub left: Option<LeftKey>,
}

impl PlannedKey {
    /// The same for a drill: nothing is armed.
    pub fn rehearse(&mut self) {
        if self.line.outcome == Outcome::Armed {
            self.line.outcome = Outcome::Rehearsed;
        }
    }
}

impl FloorArgs {
    /// What happens to every key of `state`. `there` is what the new cluster has already.
    ///
    /// A floor need not suit every key of its chain: a key that has voted further, by the backup, is left for an
    /// individual floor and keeps no other key from being restored.
    ///
    /// # Errors
    /// If a floor cannot be read, belongs to no chain, or is not past what any of its keys is known to have signed.
    pub fn plan(&self, state: &State, there: &[KeyRow], bounds: Bounds) -> Result<Vec<PlannedKey>, Usage> {
        let given = self.read(state)?;
        let keys = state.keys().map(|key| {
            let chain = state.registry().chain(&key.chain).expect("a state has the chains of its keys");
            let row = there.iter().find(|row| row.id == key.id);
            let line = self.line(state, key, chain, &given, row, bounds)?;
            let left = self.left(state, key, chain, &line, bounds);
            Ok(PlannedKey { line, sealed: None, is_there: row.is_some(), left })
        });
        let keys = keys.collect::<Result<Vec<_>, Usage>>()?;
        for (chain, floor) in &given {
            let meant = |line: &&KeyLine| {
                let waits = matches!(line.outcome, Outcome::Armed | Outcome::Disarmed);
                waits && line.chain == *chain && line.key.key_type.marks().any(|mark| mark == floor.class())
            };
            let meant: Vec<&KeyLine> = keys.iter().map(|planned| &planned.line).filter(meant).collect();
            if let [first, ..] = meant[..]
                && meant.iter().all(|line| line.outcome == Outcome::Disarmed)
                && let Some(from) = first.from.as_ref().and_then(|from| from.of(floor.class()))
            {
                return Err(Usage(format!("key {}: {}", first.key, too_low(*floor, from))));
            }
        }
        Ok(keys)
    }

    /// What a key must be above in the new cluster, unless this very run arms it at a floor given by the clock.
    fn left(
        &self,
        state: &State,
        key: &Key,
        chain: &Chain,
        line: &KeyLine,
        bounds: Bounds,
    ) -> Option<LeftKey> {
        if matches!(line.outcome, Outcome::Removed | Outcome::ArmedBefore) {
            return None;
        }
        let by_clock = |zero: &Position| zero.slot().is_some();
        let lowest: Vec<Position> = key.id.key_type.marks().filter_map(Position::zero).collect();
        if lowest.is_empty() || (line.outcome == Outcome::Armed && lowest.iter().all(by_clock)) {
            return None;
        }
        let known = |zero: Position| {
            let from = line.from.as_ref().and_then(|from| from.of(zero.class()));
            match zero.slot() {
                // The old cluster may have armed it after the backup.
                Some(_) => self.slot_floor(state, key, chain, zero, from, bounds),
                None => from.unwrap_or(zero),
            }
        };
        let disabled = key.state == KeyState::Disabled;
        Some(LeftKey { id: key.id, floors: lowest.into_iter().map(known).collect(), disabled })
    }

    fn line(
        &self,
        state: &State,
        key: &Key,
        chain: &Chain,
        given: &[(String, Position)],
        row: Option<&KeyRow>,
        bounds: Bounds,
    ) -> Result<KeyLine, Usage> {
        let from = unsigned_from(state, key)?;
        let line = |outcome, to, next| KeyLine {
            key: key.id,
            chain: chain.name.clone(),
            group: key.group.clone(),
            outcome,
            from: from.clone(),
            to,
            next,
        };
        match (key.state, row.map(|row| row.state)) {
            (KeyState::Removed, _) | (_, Some(KeyState::Removed)) => {
                return Ok(line(Outcome::Removed, None, None));
            }
            (KeyState::Armed, Some(KeyState::Armed)) => {
                let floors = row.map(|row| row.watermarks.iter().map(|mark| mark.floor).collect());
                return Ok(line(Outcome::ArmedBefore, floors, None));
            }
            // An operator has disabled it since: this command registers keys that are to be armed later.
            (KeyState::Armed, Some(KeyState::Disabled)) => return Ok(line(Outcome::Disabled, None, None)),
            (KeyState::Registered, _) => return Ok(line(Outcome::Registered, None, None)),
            (KeyState::Disabled, _) => return Ok(line(Outcome::Disabled, None, None)),
            (KeyState::Armed, _) => {}
        }
        let mut floors = Vec::new();
        for zero in key.id.key_type.marks().filter_map(Position::zero) {
            let known = from.as_ref().and_then(|from| from.of(zero.class()));
            if zero.slot().is_some() {
                floors.push(self.slot_floor(state, key, chain, zero, known, bounds));
                continue;
            }
            let own = given.iter().find(|(name, at)| *name == chain.name && at.class() == zero.class());
            match (own.map(|(_, at)| *at), known) {
                (None, _) => {
                    let why = "since nobody said how far it voted after the backup";
                    return Ok(line(Outcome::Disarmed, None, Some(arm_hint(key, why))));
                }
                (Some(to), Some(known)) if known.is_below(to) != Some(true) => {
                    return Ok(line(Outcome::Disarmed, None, Some(arm_hint(key, &too_low(to, known)))));
                }
                (Some(to), _) => floors.push(to),
            }
        }
        let to = Some(floors).filter(|floors| !floors.is_empty());
        Ok(line(Outcome::Armed, to.map(Floors::from_iter), None))
    }

    /// Past the backup, and past every slot that the old cluster's clocks can have allowed until now. By time, as the
    /// meaning of a number may change.
    fn slot_floor(
        &self,
        state: &State,
        key: &Key,
        chain: &Chain,
        zero: Position,
        from: Option<Position>,
        bounds: Bounds,
    ) -> Position {
        let Bounds { now_ms, tolerance } = bounds;
        let clock = state.registry().clock(chain);
        let (present, newest) = (clock.counting_at(now_ms), clock.newest());
        let longest = (present..=newest).map(|counting| clock.duration_ms(counting)).max();
        let slot_ms = longest.unwrap_or_else(|| clock.duration_ms(present));
        let signed_ms = CLOCKS_MS.saturating_add(tolerance.saturating_mul(slot_ms));
        let margin_ms =
            signed_ms.saturating_add(1).max(self.slot_margin.saturating_add(1).saturating_mul(slot_ms));
        let known = from.and_then(|from| from.slot());
        let known_ms = known.map_or(0, |slot| clock.begin_ms(state.counting(&key.id), slot));
        let (_, slot) = clock.first_from(now_ms.saturating_add(margin_ms).max(known_ms));
        zero.with_slot(slot)
    }

    /// The floors that were given, by chain name.
    fn read(&self, state: &State) -> Result<Vec<(String, Position)>, Usage> {
        let mut given = Vec::new();
        let of = |class: DutyClass| move |text: &str| Position::parse(class, text).ok();
        type Read<'a> = &'a dyn Fn(&str) -> Option<Position>;
        let named: [(&str, &[String], Read); 4] = [
            ("--grandpa-floor", &self.grandpa_floor, &of(GRANDPA_VOTE)),
            ("--beefy-floor", &self.beefy_floor, &of(BEEFY_VOTE)),
            ("--para-floor", &self.para_floor, &of(PARA_SIDE)),
            ("--floor", &self.floors, &|text| of_class(text).ok()),
        ];
        for (option, texts, read) in named {
            for text in texts {
                let wrong = || Usage(format!("{option} {text:?} cannot be read; see --help for its form"));
                // A class may stand before the position too.
                let (chain, position) = match (option == "--floor").then(|| read(text)).flatten() {
                    Some(position) => (chain_of(state, option, text, None)?.0, position),
                    None => {
                        let (chain, at) = split_chain(state, option, text)?;
                        (chain, read(at).ok_or_else(wrong)?)
                    }
                };
                if given.iter().any(|(name, known): &(String, Position)| {
                    *name == chain && known.is_below(position).is_some()
                }) {
                    return Err(Usage(format!("{option} is given twice for chain {chain}")));
                }
                given.push((chain, position));
            }
        }
        Ok(given)
    }
}

/// The lowest positions that the key has not signed at, by the backup.
///
/// A signature that halted it counts too, except for slots, where the clock knows better: anybody who has the key can
/// have signed the last slot of all. Its position is barred in the new cluster in any case.
fn unsigned_from(state: &State, key: &Key) -> Result<Option<Floors>, Usage> {
    let marks = state.watermarks(&key.id);
    let halted = state.registry().halt(&key.id).map(|halt| halt.duty.position());
    let one = |mark: &WatermarkView| {
        let halted = halted.filter(|at| at.slot().is_none() && at.is_below(mark.floor).is_some());
        let signed = mark.highest.map(|signed| {
            signed.past().ok_or_else(|| Usage(format!("key {}: nothing is past {signed}", key.id)))
        });
        // The new cluster knows nothing of what the old one kept beside the floor.
        let mut from = mark.floor.alone().unwrap_or(mark.floor);
        for past in signed.transpose()?.into_iter().chain(halted.and_then(Position::past)) {
            if from.is_below(past) == Some(true) {
                from = past;
            }
        }
        Ok(from)
    };
    let floors = marks.iter().map(one).collect::<Result<Floors, Usage>>()?;
    Ok(Some(floors).filter(|floors| !floors.is_empty()))
}

fn too_low(floor: Position, from: Position) -> String {
    format!(
        "the floor {floor} is not past what the backup knows to be signed: it must be above {from}, and the old cluster \
         went on after the backup"
    )
}

fn arm_hint(key: &Key, why: &str) -> String {
    let (id, form) = (key.id, watermarks::form(key.id.key_type));
    format!("it signs nothing yet, {why}; once the chain tells: signonce keys arm {id} --from {form}")
}

/// Splits an option's value into the chain and the rest.
fn split_chain<'a>(state: &State, option: &str, text: &'a str) -> Result<(String, &'a str), Usage> {
    match text.split_once('=') {
        Some((name, at)) => chain_of(state, option, at, Some(name)),
        None => chain_of(state, option, text, None),
    }
}

/// The chain with this name, or the only chain if no name is given; and the value.
fn chain_of<'a>(
    state: &State,
    option: &str,
    at: &'a str,
    name: Option<&str>,
) -> Result<(String, &'a str), Usage> {
    let names = || state.chains().map(|chain| chain.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        return match state.chain_by_name_or_id(name) {
            Some(chain) => Ok((chain.name.clone(), at)),
            None => Err(Usage(format!("{option}: the backup has no chain {name:?}; it has: {}", names()))),
        };
    }
    let mut chains = state.chains();
    match (chains.next(), chains.next()) {
        (Some(only), None) => Ok((only.name.clone(), at)),
        _ => Err(Usage(format!("{option}: say of which chain, as CHAIN={at}; there are: {}", names()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::{Change, ClientId, Command, MAX_SLOT_TOLERANCE, RequestId};
    use signonce_protocol::{ChainId, Digest, KeyId, KeyType, LogIndex, NodeId, Slot};
    use signonce_substrate::{
        BABE, BABE_BLOCK, ChainFormat, ChainSettings, Duty, ED25519, GRANDPA, IM_ONLINE, Limits,
    };

    const NOW: Bounds = Bounds { now_ms: 6_000 * 1_000_000, tolerance: MAX_SLOT_TOLERANCE };

    fn key(key_type: KeyType) -> KeyId {
        signonce_shared::families::install();
        let mut public = vec![7; key_type.schemes()[0].public_len()];
        public[0] = key_type.code().to_be_bytes()[1];
        KeyId { key_type, public: public.as_slice().try_into().unwrap() }
    }

    fn slot(slot: u64) -> Floors {
        Position::new(BABE_BLOCK, &[slot]).unwrap().into()
    }

    fn grandpa(set: u64, round: u64) -> Floors {
        Position::new(GRANDPA_VOTE, &[set, round]).unwrap().into()
    }

    /// One chain with an armed key of each type, and what they have signed at 100.
    fn state() -> State {
        signonce_shared::families::install();
        let mut state = State::new();
        let mut at = 0;
        let mut change = |change| {
            at += 1;
            let request = RequestId { node: NodeId(1), boot: 1, seq: at };
            let command = Command::Change { request, actor: "test".into(), time_ms: 0, change };
            state.apply(LogIndex(at), command).unwrap();
        };
        let genesis = ChainId([1; 32]);
        let (format, limits) = (ChainFormat::default(), Limits::default());
        let settings = ChainSettings { format, slot_duration_ms: 6_000, limits };
        change(Change::AddChain(settings.chain(genesis, "polkadot")));
        for (key_type, floors) in
            [(BABE, slot(100)), (GRANDPA, grandpa(5, 100)), (IM_ONLINE, Floors::default())]
        {
            let (id, scheme) = (key(key_type), key_type.schemes()[0]);
            change(Change::RegisterKey { id, scheme, chain: genesis, group: None, sealed: vec![1].into() });
            change(Change::ArmKey { id, floors });
        }
        state
    }

    fn args(grandpa: &[&str]) -> FloorArgs {
        let grandpa_floor = grandpa.iter().map(|text| (*text).to_owned()).collect();
        FloorArgs { slot_margin: 0, grandpa_floor, beefy_floor: vec![], para_floor: vec![], floors: vec![] }
    }

    fn planned(args: &FloorArgs, key_type: KeyType) -> KeyLine {
        let keys = args.plan(&state(), &[], NOW).unwrap();
        keys.into_iter().map(|planned| planned.line).find(|line| line.key == key(key_type)).unwrap()
    }

    #[test]
    fn slots_begin_some_after_now_and_never_below_the_backup() {
        let line = planned(&args(&[]), BABE);
        assert_eq!(line.outcome, Outcome::Armed);
        // Thirty for the tolerance, ten for a minute of clocks, and one more.
        assert_eq!(line.to, Some(slot(1_000_041)));
        let floor = |args: FloorArgs, from, bounds| {
            let state = state();
            let chain = state.chains().next().unwrap().clone();
            let key = state.key(&key(BABE)).unwrap().clone();
            let zero = Position::zero(BABE_BLOCK).unwrap();
            let from = Some(zero.with_slot(Slot(from)));
            args.slot_floor(&state, &key, &chain, zero, from, bounds).slot().unwrap().0
        };
        assert_eq!(floor(args(&[]), 2_000_000, NOW), 2_000_000);
        assert_eq!(floor(FloorArgs { slot_margin: 99, ..args(&[]) }, 5, NOW), 1_000_100);
        assert_eq!(floor(FloorArgs { slot_margin: 7, ..args(&[]) }, 5, NOW), 1_000_041, "never less");
        // An old cluster with a fence of its own: what it took at most is left out.
        let wide = Bounds { tolerance: 200, ..NOW };
        assert_eq!(floor(args(&[]), 5, wide), 1_000_211);
    }

    #[test]
    fn a_change_of_the_slots_that_is_near_is_left_out_in_time() {
        let mut state = state();
        let babe = key(BABE);
        let genesis = ChainId([1; 32]);
        for (at, change) in [
            (101, Change::RemoveKey { id: babe }),
            (
                102,
                Change::RetimeChain { chain: genesis, from_ms: NOW.now_ms + 6_000, slot_duration_ms: 24_000 },
            ),
        ] {
            let request = RequestId { node: NodeId(1), boot: 1, seq: at };
            let command = Command::Change { request, actor: "test".into(), time_ms: NOW.now_ms, change };
            state.apply(LogIndex(at), command).unwrap();
        }
        let chain = state.chains().next().unwrap().clone();
        let key = state.key(&babe).unwrap().clone();
        let zero = Position::zero(BABE_BLOCK).unwrap();
        let floor = args(&[]).slot_floor(&state, &key, &chain, zero, Some(zero.with_slot(Slot(100))), NOW);
        // A minute and thirty slots of the longer length after now, counted by that.
        let slot = Slot((NOW.now_ms + 60_000 + 30 * 24_000 + 1).div_ceil(24_000));
        assert_eq!(floor, zero.with_slot(slot));
    }

    #[test]
    fn a_voting_key_stays_disarmed_until_somebody_says_where_it_may_vote() {
        let line = planned(&args(&[]), GRANDPA);
        assert_eq!((line.outcome, line.from, line.to), (Outcome::Disarmed, Some(grandpa(5, 100)), None));
        assert!(line.next.unwrap().contains("keys arm gran:"));
        for text in ["6:0", "polkadot=6:0"] {
            let line = planned(&args(&[text]), GRANDPA);
            assert_eq!(line.outcome, Outcome::Armed);
            assert_eq!(line.to, Some(grandpa(6, 0)));
        }
        assert_eq!(planned(&args(&[]), IM_ONLINE).outcome, Outcome::Armed);
    }

    #[test]
    fn one_key_with_signatures_far_ahead_keeps_nobody_else_from_being_restored() {
        let (mut state, far) =
            (state(), KeyId { public: [9; 32].as_slice().try_into().unwrap(), ..key(GRANDPA) });
        let (babe, genesis) = (key(BABE), ChainId([1; 32]));
        let floors = grandpa(900, 0);
        let duty = Duty::BabeBlock { slot: Slot(u64::MAX) }.to_any();
        let (digest, log_index, client) = (Digest([1; 32]), LogIndex(1), ClientId(1));
        for (at, change) in [
            (
                101,
                Change::RegisterKey {
                    id: far,
                    scheme: ED25519,
                    chain: genesis,
                    group: None,
                    sealed: vec![1].into(),
                },
            ),
            (102, Change::ArmKey { id: far, floors }),
            (103, Change::HaltKey { key: babe, duty, digest, log_index, client }),
        ] {
            let request = RequestId { node: NodeId(1), boot: 1, seq: at };
            let command = Command::Change { request, actor: "node:1".into(), time_ms: 0, change };
            state.apply(LogIndex(at), command).unwrap();
        }
        assert!(state.registry().halt(&babe).is_some());
        let keys = args(&["6:0"]).plan(&state, &[], NOW).unwrap();
        let line = |id| &keys.iter().find(|planned| planned.line.key == id).unwrap().line;
        assert_eq!(line(babe).to, Some(slot(1_000_041)), "by the clock, as without the halt");
        assert_eq!(line(key(GRANDPA)).outcome, Outcome::Armed);
        assert_eq!(line(far).outcome, Outcome::Disarmed);
        assert!(line(far).next.as_ref().unwrap().contains("must be above"), "{:?}", line(far).next);
    }

    /// The backup has the position of the last signature, but the new cluster does not take over the lock of its height.
    #[test]
    fn a_comet_key_comes_back_past_the_height_that_it_may_have_locked() {
        let mut state = state();
        let mut public = vec![7; 32];
        public[0] = 200;
        let key_type = signonce_cometbft::CONSENSUS;
        let id = KeyId { key_type, public: public.as_slice().try_into().unwrap() };
        let chain = signonce_cometbft::ChainSettings::new("hub").chain("hub");
        let at = |parts: [u64; 3]| Floors::from(Position::new(signonce_cometbft::VOTE, &parts).unwrap());
        let (scheme, sealed) = (signonce_cometbft::ED25519, vec![1].into());
        for (entry, change) in [
            (101, Change::AddChain(chain.clone())),
            (102, Change::RegisterKey { id, scheme, chain: chain.genesis, group: None, sealed }),
            (103, Change::ArmKey { id, floors: at([12, 1, 2]) }),
        ] {
            let request = RequestId { node: NodeId(1), boot: 1, seq: entry };
            let command = Command::Change { request, actor: "test".into(), time_ms: 0, change };
            state.apply(LogIndex(entry), command).unwrap();
        }
        let line = |floor: Option<&str>| -> Result<KeyLine, Usage> {
            let floors = floor.into_iter().map(str::to_owned).collect();
            let keys = FloorArgs { floors, ..args(&[]) }.plan(&state, &[], NOW)?;
            Ok(keys.into_iter().map(|planned| planned.line).find(|line| line.key == id).unwrap())
        };
        let none = line(None).unwrap();
        assert_eq!((none.outcome, none.from), (Outcome::Disarmed, Some(at([13, 0, 0]))));
        let error = line(Some("hub=cometVote=12:1:3")).unwrap_err().to_string();
        assert!(error.contains("must be above height 13 round 0 step 0"), "{error}");
        let given = line(Some("hub=cometVote=14:0:0")).unwrap();
        assert_eq!((given.outcome, given.to), (Outcome::Armed, Some(at([14, 0, 0]))));
    }

    #[test]
    fn a_floor_below_the_backup_or_of_no_chain_is_wrong_usage() {
        for wrong in ["5:99", "5:100", "kusama=6:0", "6", "a:b", "=6:0", ""] {
            assert!(args(&[wrong]).plan(&state(), &[], NOW).is_err(), "{wrong:?}");
        }
        assert!(args(&["6:0", "7:0"]).plan(&state(), &[], NOW).is_err(), "twice");
    }
}
