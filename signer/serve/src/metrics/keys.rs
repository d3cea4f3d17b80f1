//! The metrics of keys: how many, how far each has signed, and which are silent while others sign. Read from the
//! applied state at each scrape; the operators' registry bounds the series.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use signonce_cluster::Handle;
use signonce_core::{KeyState, Position, State, WatermarkView};
use signonce_protocol::{ChainId, DutyClass};
use std::{collections::BTreeMap, fmt};

/// The states of a key and their names, as `signonce_keys` shows them.
const STATES: [(KeyState, &str); 4] = [
    (KeyState::Registered, "registered"),
    (KeyState::Armed, "armed"),
    (KeyState::Disabled, "disabled"),
    (KeyState::Removed, "removed"),
];

/// Collects the metrics of keys.
pub struct Keys(pub Handle);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// An armed key and one of its watermarks.
pub(crate) struct Signed {
    pub key: String,
    pub chain: String,
    pub genesis: ChainId,
    pub group: String,
    pub class: DutyClass,
    pub floor: Position,
    pub highest: Option<Position>,
    pub last_ms: Option<u64>,
}

/// Every armed key with each of its watermarks.
pub(crate) fn signed<'a>(state: &'a State) -> Vec<Signed> {
    let armed = state.keys().filter(|key| key.state == KeyState::Armed);
    let one = |(key, mark): (&signonce_core::Key, WatermarkView)| {
        let chain = state.registry().chain(&key.chain);
        Signed {
            key: key.id.to_string(),
            chain: chain.map_or_else(|| key.chain.to_string(), |chain| chain.name.clone()),
            genesis: key.chain,
            group: key.group.clone().unwrap_or_default(),
            class: mark.class,
            floor: mark.floor,
            highest: mark.highest,
            last_ms: state.last_signed_ms(&key.id),
        }
    };
    let marks =
        |key: &'a signonce_core::Key| state.watermarks(&key.id).into_iter().map(move |mark| (key, mark));
    armed.flat_map(marks).map(one).collect()
}

/// For how many milliseconds each key has not signed while another armed key of its chain did the same kind of duty.
/// Only for votes, which every validator of the active set casts in every round; block slots are assigned by lot. Keys
/// that never signed, or have no other to be compared with, are left out.
pub(crate) fn silent_ms(keys: &[Signed]) -> Vec<(usize, u64)> {
    let mut newest: BTreeMap<(ChainId, DutyClass), u64> = BTreeMap::new();
    let voting = |key: &Signed| key.class.claim().is_some_and(|claim| claim.by_everyone);
    let mut number: BTreeMap<(ChainId, DutyClass), usize> = BTreeMap::new();
    for key in keys.iter().filter(|key| voting(key)) {
        let Some(last) = key.last_ms else { continue };
        let newest = newest.entry((key.genesis, key.class)).or_default();
        *newest = last.max(*newest);
        *number.entry((key.genesis, key.class)).or_default() += 1;
    }
    let silent = |(at, key): (usize, &Signed)| {
        let of = (key.genesis, key.class);
        let others = number.get(&of).is_some_and(|number| *number > 1);
        let last = key.last_ms.filter(|_| others)?;
        Some((at, newest.get(&of)?.saturating_sub(last)))
    };
    keys.iter().enumerate().filter(|(_, key)| voting(key)).filter_map(silent).collect()
}

/// The numbers of a position, by name.
pub(crate) fn parts(position: Position) -> Vec<(&'static str, u64)> {
    position.named().map(|(part, number)| (part.word, number)).collect()
}

type Labels<'a> = [(&'static str, &'a str); 4];

fn labels(key: &Signed) -> Labels<'_> {
    [("key", &key.key), ("chain", &key.chain), ("group", &key.group), ("class", key.class.name())]
}

impl Collector for Keys {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (counts, keys) = self.0.read(|state| {
            let count = |of| state.keys().filter(|key| key.state == of).count();
            (STATES.map(|(state, name)| (name, count(state))), signed(state))
        });
        let gauge = MetricType::Gauge;
        let mut metric = encoder.encode_descriptor("keys", "Keys in the registry by state", None, gauge)?;
        for (state, count) in counts {
            ConstGauge::new(count as i64).encode(metric.encode_family(&[("state", state)])?)?;
        }
        let help = "The highest coordinate an armed key has claimed, or else its floor, part by part";
        let mut metric = encoder.encode_descriptor("key_coordinate", help, None, gauge)?;
        for key in &keys {
            for (part, number) in parts(key.highest.unwrap_or(key.floor)) {
                let [a, b, c, d] = labels(key);
                let number = ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
                number.encode(metric.encode_family(&[a, b, c, d, ("part", part)])?)?;
            }
        }
        let help =
            "When an armed key's highest coordinate was claimed, in Unix seconds of the node that served it";
        let name = "key_last_signed_timestamp_seconds";
        let mut metric = encoder.encode_descriptor(name, help, None, gauge)?;
        for key in &keys {
            let Some(last) = key.last_ms else { continue };
            ConstGauge::new(last as f64 / 1_000.0).encode(metric.encode_family(&labels(key))?)?;
        }
        let help =
            "How long a voting key has not signed while another armed key of its chain did the same work";
        let mut metric = encoder.encode_descriptor("key_silent_seconds", help, None, gauge)?;
        for (at, silent) in silent_ms(&keys) {
            ConstGauge::new(silent as f64 / 1_000.0).encode(metric.encode_family(&labels(&keys[at]))?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_substrate::{BABE_BLOCK, BEEFY_VOTE, GRANDPA_VOTE};

    fn key(chain: u8, class: DutyClass, last_ms: Option<u64>) -> Signed {
        Signed {
            key: String::new(),
            chain: String::new(),
            genesis: ChainId([chain; 32]),
            group: String::new(),
            class,
            floor: Position::zero(class).unwrap(),
            highest: None,
            last_ms,
        }
    }

    #[test]
    fn a_vote_is_missed_only_while_another_key_of_the_chain_votes() {
        signonce_shared::families::install();
        let vote = GRANDPA_VOTE;
        let keys = [key(1, vote, Some(1_000)), key(1, vote, Some(61_000)), key(1, vote, None)];
        assert_eq!(silent_ms(&keys), [(0, 60_000), (1, 0)]);
        assert_eq!(silent_ms(&[key(1, vote, Some(1_000)), key(2, vote, Some(61_000))]), []);
        assert_eq!(silent_ms(&[key(1, vote, Some(1_000)), key(1, BEEFY_VOTE, Some(61_000))]), []);
    }

    #[test]
    fn nobody_expects_a_block_of_every_validator() {
        signonce_shared::families::install();
        let block = BABE_BLOCK;
        assert_eq!(silent_ms(&[key(1, block, Some(1_000)), key(1, block, Some(61_000))]), []);
    }

    #[test]
    fn a_position_is_shown_in_its_parts() {
        signonce_shared::families::install();
        let vote = Position::new(GRANDPA_VOTE, &[3, 7]).unwrap();
        assert_eq!(parts(vote), [("set", 3), ("round", 7)]);
    }
}
