//! The floors of keys that come in: from which slot, round, block or session on they sign.

use crate::{
    cli::common::Usage,
    enroll::{new_key_floors, slot_at},
};
use signonce_core::{Chain, Floors};
use signonce_protocol::{BlockNumber, KeyType, Round, SessionIndex, SetId};

/// Where imported keys start. Each is the lowest coordinate that may be signed here: one past the last that the key
/// signed, or may have signed, elsewhere.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FloorArgs {
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
    /// Asserts that the keys never voted anywhere: floors start at the beginning. If they did vote, the cluster can
    /// be made to contradict those votes, which is slashed.
    #[arg(long)]
    new_key: bool,
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
    pub fn of(&self, key_type: KeyType, chain: &Chain, unix_ms: u64) -> Result<Floors, Usage> {
        let none = Floors::default();
        let given = match key_type {
            // Slots are wall-clock time, and the past is gone: the next slot is safe once the old copy is stopped.
            KeyType::Babe | KeyType::Aura => {
                return Ok(Floors { slot: Some(slot_at(chain, unix_ms).saturating_add(1)), ..none });
            }
            KeyType::AuthorityDiscovery | KeyType::ImOnline => return Ok(none),
            KeyType::Grandpa => {
                let floor = self.grandpa_floor.map(|(set, round)| (SetId(set), Round(round)));
                floor.map(|floor| Floors { grandpa: Some(floor), ..none })
            }
            KeyType::Beefy => {
                let floor = self.beefy_floor.map(|(set, block)| (SetId(set), BlockNumber(block)));
                floor.map(|floor| Floors { beefy: Some(floor), ..none })
            }
            KeyType::Para => self.para_floor.map(|at| Floors { para: Some(SessionIndex(at)), ..none }),
        };
        match given {
            Some(floors) => Ok(floors),
            None if self.new_key => Ok(new_key_floors(key_type, chain, unix_ms)),
            None => Err(Usage(missing(key_type))),
        }
    }
}

fn missing(key_type: KeyType) -> String {
    let (option, unit) = match key_type {
        KeyType::Beefy => ("--beefy-floor SET:BLOCK", "block"),
        KeyType::Para => ("--para-floor SESSION", "session"),
        _ => ("--grandpa-floor SET:ROUND", "round"),
    };
    format!(
        "a {key_type} key needs a floor that no clock tells: give {option}, one {unit} past the last that the key \
         may have voted in, or --new-key if it never voted anywhere"
    )
}

/// Floors in words.
pub(super) fn describe(floors: &Floors) -> String {
    let words = floors.positions().map(|position| format!("from {position}")).collect::<Vec<_>>();
    if words.is_empty() { "nothing to protect".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::Limits;
    use signonce_protocol::{ChainFormat, GenesisHash, Slot};

    fn chain() -> Chain {
        Chain {
            genesis: GenesisHash([1; 32]),
            name: "polkadot".into(),
            format: ChainFormat::default(),
            slot_duration_ms: 6_000,
            limits: Limits::default(),
        }
    }

    fn args(new_key: bool) -> FloorArgs {
        FloorArgs { grandpa_floor: Some((7, 9)), beefy_floor: None, para_floor: None, new_key }
    }

    #[test]
    fn a_slot_key_starts_at_the_next_slot() {
        let floors = args(false).of(KeyType::Babe, &chain(), 12_000_000_001).unwrap();
        assert_eq!(floors, Floors { slot: Some(Slot(2_000_001)), ..Floors::default() });
    }

    #[test]
    fn a_floor_that_was_given_goes_before_new_key() {
        for new_key in [false, true] {
            let floors = args(new_key).of(KeyType::Grandpa, &chain(), 0).unwrap();
            assert_eq!(floors.grandpa, Some((SetId(7), Round(9))));
        }
    }

    #[test]
    fn a_vote_key_without_a_floor_is_refused_unless_it_is_new() {
        for (key_type, option) in [(KeyType::Beefy, "--beefy-floor"), (KeyType::Para, "--para-floor")] {
            let error = args(false).of(key_type, &chain(), 0).unwrap_err();
            assert!(error.to_string().contains(option) && error.to_string().contains("--new-key"), "{error}");
            assert!(args(true).of(key_type, &chain(), 0).is_ok());
        }
    }

    #[test]
    fn pairs_are_two_numbers() {
        assert_eq!(pair("12:3"), Ok((12, 3)));
        for wrong in ["", "12", "12:", ":3", "1:2:3", "a:b", "-1:2"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
