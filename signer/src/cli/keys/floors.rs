//! The floors of keys that come in: from which slot, round, block or session on they sign.

use signonce_substrate::{AURA, AUTHORITY_DISCOVERY, BABE, BEEFY, GRANDPA, IM_ONLINE, PARA};
use super::place::Place;
use crate::{admin::api::ChainRow, cli::common::Usage, enroll::new_key_floors};
use signonce_core::Floors;
use signonce_protocol::{KeyType};
use signonce_substrate::{BlockNumber, Round, SessionIndex, SetId};

/// Where imported keys start. Each is the lowest coordinate that may be signed here: one past the last that the key
/// signed, or may have signed, elsewhere.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FloorArgs {
    #[command(flatten)]
    votes: VoteFloors,
    /// Asserts that the keys never voted anywhere: floors start at the beginning. If they did vote, the cluster can
    /// be made to contradict those votes, which is slashed.
    #[arg(long)]
    new_key: bool,
}

/// The floors that no clock tells.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct VoteFloors {
    /// For gran keys: the first authority set and round this cluster votes in. Take a round that the old validator
    /// has not reached and cannot reach any more: after it was stopped, the round of the best finalized state plus 2.
    #[arg(long, value_name = "SET:ROUND", value_parser = pair)]
    grandpa_floor: Option<(u64, u64)>,
    /// For beef keys: the first validator set and block number this cluster votes for.
    #[arg(long, value_name = "SET:BLOCK", value_parser = pair)]
    beefy_floor: Option<(u64, u64)>,
    /// For para keys: the first session this cluster takes sides in.
    #[arg(long, value_name = "SESSION")]
    para_floor: Option<u32>,
}

fn pair(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("{text:?} is not two numbers with a colon between, as in 4021:17");
    let (set, at) = text.split_once(':').ok_or_else(wrong)?;
    Ok((set.parse().map_err(|_| wrong())?, at.parse().map_err(|_| wrong())?))
}

impl FloorArgs {
    /// The floors of one key.
    ///
    /// # Errors
    /// If they are not safe to guess, and were not given: says which option gives them.
    pub fn of(&self, key_type: KeyType, chain: &ChainRow, unix_ms: u64) -> Result<Floors, Usage> {
        match key_type {
            // Slots are wall-clock time, and the past is gone: the next slot is safe once the old copy is stopped.
            BABE | AURA => {
                let slot = Some(chain.clock().slots_after(unix_ms, 1));
                return Ok(Floors { slot, ..Floors::default() });
            }
            AUTHORITY_DISCOVERY | IM_ONLINE => return Ok(Floors::default()),
            GRANDPA | BEEFY | PARA => {}
        }
        match self.votes.given(key_type) {
            Some(floors) => Ok(floors),
            None if self.new_key => Ok(new_key_floors(key_type, chain.clock(), unix_ms)),
            None => Err(Usage(missing(key_type))),
        }
    }
}

impl VoteFloors {
    /// What was given for keys of this type.
    fn given(&self, key_type: KeyType) -> Option<Floors> {
        let none = Floors::default();
        match key_type {
            GRANDPA => {
                let floor = self.grandpa_floor.map(|(set, round)| (SetId(set), Round(round)));
                floor.map(|floor| Floors { grandpa: Some(floor), ..none })
            }
            BEEFY => {
                let floor = self.beefy_floor.map(|(set, block)| (SetId(set), BlockNumber(block)));
                floor.map(|floor| Floors { beefy: Some(floor), ..none })
            }
            PARA => self.para_floor.map(|at| Floors { para: Some(SessionIndex(at)), ..none }),
            _ => None,
        }
    }

    /// The floors of a key that was used on a validator which has been stopped: above whatever it may have signed.
    ///
    /// # Errors
    /// If nobody said how far the chain is, or if the floor that was given is lower.
    pub fn above(
        &self,
        key_type: KeyType,
        chain: &ChainRow,
        reach: &Reached,
        unix_ms: u64,
    ) -> Result<Floors, Usage> {
        let least = reach.floors(key_type, chain, unix_ms);
        match (self.given(key_type), least) {
            (Some(given), Some(least)) if !at_least(&given, &least) => Err(Usage(format!(
                "the floor given for {key_type} keys ({}) is too low: the old validator may have signed up to there; \
                 take {} or later",
                describe(&given),
                describe(&least)
            ))),
            (Some(given), _) => Ok(given),
            (None, Some(least)) => Ok(least),
            (None, None) => Err(Usage(unknown(key_type))),
        }
    }
}

/// How far a chain is, and a validator of it that has been stopped may have been.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// What the old validator said before it was stopped.
    pub old: Option<Place>,
    /// What another node said after that.
    pub now: Option<Place>,
    /// Rounds of GRANDPA that are left out above the highest one known.
    pub rounds: u64,
}

/// Slots left out above the present one: the clocks of two machines differ.
const SLOTS: u64 = 2;

impl Reached {
    /// The lowest safe floors, where enough is known.
    ///
    /// A node that was asked after the old validator had stopped knows a later round than any that it voted in, or the
    /// one before; the margin is for the rest. Without such a node there is only what the old validator said before it
    /// went on for a while. It may have gone on into the next set, but not further (see `move_in`): the one after
    /// that is safe from its beginning.
    fn floors(&self, key_type: KeyType, chain: &ChainRow, unix_ms: u64) -> Option<Floors> {
        let none = Floors::default();
        let seen = match (self.old, self.now) {
            (Some(old), Some(now)) => Some(now.raised_by(old)),
            (_, now) => now,
        };
        match key_type {
            BABE | AURA => {
                // The clock that is furthest, of this machine then and now: numbers do not compare where slots change.
                let seen_ms = seen.or(self.old).map_or(0, |place| place.at_ms);
                let slot = chain.clock().slots_after(unix_ms.max(seen_ms), 1 + SLOTS);
                Some(Floors { slot: Some(slot), ..none })
            }
            AUTHORITY_DISCOVERY | IM_ONLINE => Some(none),
            GRANDPA => {
                let near = seen.and_then(|place| place.grandpa);
                let near =
                    near.map(|(set, round)| (set, round.saturating_add(self.rounds.saturating_add(1))));
                let far = || Some((self.old?.grandpa?.0.saturating_add(2), Round(0)));
                let floor = if seen.is_some() { near } else { far() };
                floor.map(|floor| Floors { grandpa: Some(floor), ..none })
            }
            BEEFY => {
                let near = seen.and_then(|place| Some((place.beefy_set?, place.best.saturating_add(1))));
                let far = || Some((self.old?.beefy_set?.saturating_add(2), BlockNumber(0)));
                let floor = if seen.is_some() { near } else { far() };
                floor.map(|floor| Floors { beefy: Some(floor), ..none })
            }
            PARA => {
                let near = seen.and_then(|place| Some(place.session?.saturating_add(1)));
                let far = || Some(self.old?.session?.saturating_add(2));
                let floor = if seen.is_some() { near } else { far() };
                floor.map(|floor| Floors { para: Some(floor), ..none })
            }
        }
    }
}

fn at_least(given: &Floors, least: &Floors) -> bool {
    let Floors { slot, grandpa, beefy, para } = given;
    *slot >= least.slot && *grandpa >= least.grandpa && *beefy >= least.beefy && *para >= least.para
}

fn unknown(key_type: KeyType) -> String {
    let (option, unit) = option(key_type);
    format!(
        "no node says how far the votes of {key_type} keys are: give --chain-url with a node that does, or {option}, \
         one {unit} past the last that the old validator may have voted in"
    )
}

fn missing(key_type: KeyType) -> String {
    let (option, unit) = option(key_type);
    format!(
        "a {key_type} key needs a floor that no clock tells: give {option}, one {unit} past the last that the key \
         may have voted in, or --new-key if it never voted anywhere"
    )
}

fn option(key_type: KeyType) -> (&'static str, &'static str) {
    match key_type {
        BEEFY => ("--beefy-floor SET:BLOCK", "block"),
        PARA => ("--para-floor SESSION", "session"),
        _ => ("--grandpa-floor SET:ROUND", "round"),
    }
}

/// Floors in words.
pub(super) fn describe(floors: &Floors) -> String {
    let words = floors.positions().map(|position| format!("from {position}")).collect::<Vec<_>>();
    if words.is_empty() { "nothing to protect".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::{Chain};
    use signonce_substrate::{Limits};
    use signonce_protocol::{GenesisHash, Slot};
    use signonce_substrate::{ChainFormat};

    fn chain() -> ChainRow {
        let chain = Chain {
            genesis: GenesisHash([1; 32]),
            name: "polkadot".into(),
            format: ChainFormat::default(),
            slot_duration_ms: 6_000,
            limits: Limits::default(),
        };
        chain.into()
    }

    fn args(new_key: bool) -> FloorArgs {
        FloorArgs { votes: VoteFloors { grandpa_floor: Some((7, 9)), ..VoteFloors::default() }, new_key }
    }

    #[test]
    fn a_slot_key_starts_at_the_next_slot() {
        let floors = args(false).of(BABE, &chain(), 12_000_000_001).unwrap();
        assert_eq!(floors, Floors { slot: Some(Slot(2_000_001)), ..Floors::default() });
    }

    #[test]
    fn a_floor_that_was_given_goes_before_new_key() {
        for new_key in [false, true] {
            let floors = args(new_key).of(GRANDPA, &chain(), 0).unwrap();
            assert_eq!(floors.grandpa, Some((SetId(7), Round(9))));
        }
    }

    #[test]
    fn a_vote_key_without_a_floor_is_refused_unless_it_is_new() {
        for (key_type, option) in [(BEEFY, "--beefy-floor"), (PARA, "--para-floor")] {
            let error = args(false).of(key_type, &chain(), 0).unwrap_err();
            assert!(error.to_string().contains(option) && error.to_string().contains("--new-key"), "{error}");
            assert!(args(true).of(key_type, &chain(), 0).is_ok());
        }
    }

    fn place(set: u64, round: u64) -> Place {
        Place {
            at_ms: 0,
            slot: Slot(1),
            best: BlockNumber(900),
            grandpa: Some((SetId(set), Round(round))),
            beefy_set: Some(SetId(set)),
            session: Some(SessionIndex(50)),
            head: None,
        }
    }

    #[test]
    fn floors_are_above_whatever_the_old_validator_or_the_chain_has_reached() {
        let votes = VoteFloors::default();
        let of = |key_type, old, now| {
            votes.above(key_type, &chain(), &Reached { old, now, rounds: 50 }, 12_000_000_001)
        };
        let grandpa = |old, now| of(GRANDPA, old, now).unwrap().grandpa.unwrap();
        assert_eq!(grandpa(Some(place(4, 80)), Some(place(4, 90))), (SetId(4), Round(141)));
        assert_eq!(
            grandpa(Some(place(4, 95)), Some(place(4, 90))),
            (SetId(4), Round(146)),
            "a node lags behind"
        );
        assert_eq!(grandpa(Some(place(4, 95)), Some(place(5, 2))), (SetId(5), Round(53)));
        assert_eq!(grandpa(None, Some(place(4, 90))), (SetId(4), Round(141)));
        assert_eq!(grandpa(Some(place(4, 95)), None), (SetId(6), Round(0)), "it may have seen the next set");
        let beefy = |old, now| of(BEEFY, old, now).unwrap().beefy.unwrap();
        assert_eq!(beefy(None, Some(place(4, 1))), (SetId(4), BlockNumber(901)));
        assert_eq!(beefy(Some(place(4, 1)), None), (SetId(6), BlockNumber(0)));
        assert_eq!(of(PARA, None, Some(place(4, 1))).unwrap().para, Some(SessionIndex(51)));
        assert_eq!(of(PARA, Some(place(4, 1)), None).unwrap().para, Some(SessionIndex(52)));
        assert_eq!(of(BABE, None, None).unwrap().slot, Some(Slot(2_000_003)));
        for key_type in [GRANDPA, BEEFY, PARA] {
            assert!(of(key_type, None, None).unwrap_err().to_string().contains("--chain-url"));
        }
    }

    #[test]
    fn a_floor_below_what_a_node_said_is_refused() {
        let given = |set, round| VoteFloors { grandpa_floor: Some((set, round)), ..VoteFloors::default() };
        let reached = Reached { old: Some(place(4, 80)), now: None, rounds: 50 };
        let above = |votes: VoteFloors| votes.above(GRANDPA, &chain(), &reached, 0);
        assert!(above(given(4, 500)).unwrap_err().to_string().contains("too low"));
        assert_eq!(above(given(7, 1)).unwrap().grandpa, Some((SetId(7), Round(1))));
    }

    #[test]
    fn pairs_are_two_numbers() {
        assert_eq!(pair("12:3"), Ok((12, 3)));
        for wrong in ["", "12", "12:", ":3", "1:2:3", "a:b", "-1:2"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
