//! The first floors of keys: the slot, round, block or session from which on they sign.

use super::source::History;
use crate::commands::common::Usage;
use signonce_core::{Floors, Position};
use signonce_protocol::{DutyClass, KeyType};
use signonce_shared::{admin::api::ChainRow, enroll::new_key_floors};
use signonce_substrate::{BEEFY_VOTE, GRANDPA_VOTE, PARA_SIDE};
use signonce_substrate_rpc::progress::Reached;

/// The positions from which imported keys sign. Each is the lowest that may be signed here: one past the last that the
/// key signed, or may have signed, elsewhere.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FloorArgs {
    #[command(flatten)]
    votes: VoteFloors,
    /// Asserts that the keys never voted anywhere, so floors start at the beginning. If they did vote, the cluster can
    /// be made to contradict those votes, which is slashed.
    #[arg(long)]
    new_key: bool,
}

/// The floors that no clock can tell.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct VoteFloors {
    /// For gran keys: the first authority set and round this cluster votes in. Take a round that the old validator has
    /// not reached and can no longer reach: after it was stopped, the round of the best finalized state plus 2.
    #[arg(long, value_name = "SET:ROUND", value_parser = at(GRANDPA_VOTE))]
    grandpa_floor: Option<Position>,
    /// For beef keys: the first validator set and block number this cluster votes for.
    #[arg(long, value_name = "SET:BLOCK", value_parser = at(BEEFY_VOTE))]
    beefy_floor: Option<Position>,
    /// For para keys: the first session this cluster takes sides in.
    #[arg(long, value_name = "SESSION", value_parser = at(PARA_SIDE))]
    para_floor: Option<Position>,
    /// For keys of any family: the first position of a class of duty that this cluster signs. Repeatable.
    #[arg(long = "floor", value_name = "CLASS=POSITION", value_parser = of_class)]
    floors: Vec<Position>,
}

/// Reads a position of a class.
fn at(class: DutyClass) -> impl Fn(&str) -> Result<Position, String> + Clone {
    move |text: &str| Position::parse(class, text)
}

/// Reads a position preceded by its class.
pub(in crate::commands) fn of_class(text: &str) -> Result<Position, String> {
    let (class, at) = text.split_once('=').ok_or("it is CLASS=POSITION, as in grandpaVote=4021:17")?;
    Ok(Position::parse(class.parse()?, at)?.of_mark())
}

impl FloorArgs {
    /// The floors of one key, of which this much is known.
    ///
    /// # Errors
    /// If they cannot safely be guessed and were not given, or are not past what is known; the error names the option
    /// that gives them.
    pub fn of(
        &self,
        key_type: KeyType,
        chain: &ChainRow,
        unix_ms: u64,
        history: History,
    ) -> Result<Floors, Usage> {
        // Slots are wall-clock time, and past slots are over: the next slot is safe once the old copy is stopped.
        let new = new_key_floors(key_type, chain.clock(), unix_ms);
        let one = |new: Position| match (new.slot(), self.votes.given(new.class())) {
            (Some(_), _) => Ok(new),
            (None, Some(given)) => not_below(given, history).map(|()| given),
            (None, None) => self.known(key_type, new, history),
        };
        new.positions().map(one).collect()
    }
}

impl FloorArgs {
    /// The floor where none was given.
    fn known(&self, key_type: KeyType, new: Position, history: History) -> Result<Position, Usage> {
        let class = new.class();
        match history {
            History::UpTo(last) if self.new_key => Err(Usage(format!(
                "--new-key says that the key never signed anything, and its state file that it signed up to {last}: leave \
                 --new-key out"
            ))),
            History::UpTo(last) => last.past().ok_or_else(|| Usage(format!("nothing is past {last}"))),
            History::Unknown { .. } | History::Fresh if self.new_key => Ok(new),
            History::Unknown { or } => Err(Usage(missing(key_type, class, or))),
            History::Fresh => Err(Usage(format!(
                "the state file says that the key never signed anything, as it does after a reset too: give --new-key if \
                 that is so, or {}, one past the last that the key may have signed",
                option(class)
            ))),
        }
    }
}

/// A floor that is given may leave out less than the one that would be proposed, but nothing that was signed.
fn not_below(given: Position, history: History) -> Result<(), Usage> {
    let History::UpTo(last) = history else { return Ok(()) };
    match last.is_below(given) {
        Some(true) => Ok(()),
        Some(false) | None => Err(Usage(format!(
            "the floor {given} is not past what the state file says was signed, which is {last}: give a higher one, or \
             leave it out"
        ))),
    }
}

impl VoteFloors {
    /// The floor that was given for this class.
    fn given(&self, class: DutyClass) -> Option<Position> {
        let Self { grandpa_floor, beefy_floor, para_floor, floors } = self;
        let named = [grandpa_floor, beefy_floor, para_floor].into_iter().flatten();
        named.chain(floors).copied().find(|floor| floor.class() == class)
    }

    /// The floors of a key that was used on a validator which is now stopped: above whatever it may have signed.
    ///
    /// # Errors
    /// If it is not known how far the chain is, or if the floor that was given is too low.
    pub fn above(
        &self,
        key_type: KeyType,
        chain: &ChainRow,
        reach: &Reached,
        unix_ms: u64,
    ) -> Result<Floors, Usage> {
        let one = |class: DutyClass| match (self.given(class), reach.floor(class, chain, unix_ms)) {
            (Some(given), Some(least)) if given.is_below(least) == Some(true) => Err(Usage(format!(
                "the floor given for {key_type} keys (from {given}) is too low: the old validator may have signed up to \
                 there; take from {least} or later",
            ))),
            (Some(given), _) => Ok(given),
            (None, Some(least)) => Ok(least),
            (None, None) => Err(Usage(unknown(key_type, class))),
        };
        key_type.marks().map(one).collect()
    }
}

fn unknown(key_type: KeyType, class: DutyClass) -> String {
    format!(
        "no node says how far the votes of {key_type} keys are: give --chain-url with a node that does, or {}, \
         one past the last that the old validator may have voted in",
        option(class)
    )
}

fn missing(key_type: KeyType, class: DutyClass, or: &str) -> String {
    format!(
        "a {key_type} key needs a floor that no clock tells: give {or}{}, one past the last that the key may have voted in, \
         or --new-key if it never voted anywhere",
        option(class)
    )
}

/// The option that gives the floor of a class.
fn option(class: DutyClass) -> String {
    match class {
        GRANDPA_VOTE => "--grandpa-floor SET:ROUND".into(),
        BEEFY_VOTE => "--beefy-floor SET:BLOCK".into(),
        PARA_SIDE => "--para-floor SESSION".into(),
        class => format!("--floor {class}={}", Position::form(class)),
    }
}

/// Floors as text.
pub(super) fn describe(floors: &Floors) -> String {
    let words = floors.positions().map(|position| format!("from {position}")).collect::<Vec<_>>();
    if words.is_empty() { "nothing to protect".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_protocol::{ChainId, Slot};
    use signonce_substrate::{
        BABE, BABE_BLOCK, BEEFY, BlockNumber, ChainFormat, ChainSettings, GRANDPA, Limits, PARA, Round,
        SessionIndex, SetId,
    };
    use signonce_substrate_rpc::progress::Progress;

    const UNKNOWN: History = History::Unknown { or: "" };

    fn chain() -> ChainRow {
        signonce_shared::families::install();
        let (format, limits) = (ChainFormat::default(), Limits::default());
        ChainSettings { format, slot_duration_ms: 6_000, limits }.chain(ChainId([1; 32]), "polkadot").into()
    }

    fn grandpa(set: u64, round: u64) -> Position {
        Position::new(GRANDPA_VOTE, &[set, round]).unwrap()
    }

    fn args(new_key: bool) -> FloorArgs {
        FloorArgs {
            votes: VoteFloors { grandpa_floor: Some(grandpa(7, 9)), ..VoteFloors::default() },
            new_key,
        }
    }

    #[test]
    fn a_slot_key_starts_at_the_next_slot() {
        let floors = args(false).of(BABE, &chain(), 12_000_000_001, UNKNOWN).unwrap();
        assert_eq!(floors, Floors::from(Position::new(BABE_BLOCK, &[2_000_001]).unwrap()));
    }

    #[test]
    fn a_floor_that_was_given_goes_before_new_key() {
        for new_key in [false, true] {
            let floors = args(new_key).of(GRANDPA, &chain(), 0, UNKNOWN).unwrap();
            assert_eq!(floors, Floors::from(grandpa(7, 9)));
        }
    }

    #[test]
    fn a_vote_key_without_a_floor_is_refused_unless_it_is_new() {
        for (key_type, option) in [(BEEFY, "--beefy-floor"), (PARA, "--para-floor")] {
            let error = args(false).of(key_type, &chain(), 0, UNKNOWN).unwrap_err();
            assert!(error.to_string().contains(option) && error.to_string().contains("--new-key"), "{error}");
            assert!(args(true).of(key_type, &chain(), 0, UNKNOWN).is_ok());
        }
    }

    fn place(set: u64, round: u64) -> Progress {
        Progress {
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
        let parts =
            |key_type, old, now| of(key_type, old, now).unwrap().positions().next().unwrap().parts().to_vec();
        let grandpa = |old, now| parts(GRANDPA, old, now);
        assert_eq!(grandpa(Some(place(4, 80)), Some(place(4, 90))), [4, 141]);
        assert_eq!(grandpa(Some(place(4, 95)), Some(place(4, 90))), [4, 146], "a node lags behind");
        assert_eq!(grandpa(Some(place(4, 95)), Some(place(5, 2))), [5, 53]);
        assert_eq!(grandpa(None, Some(place(4, 90))), [4, 141]);
        assert_eq!(grandpa(Some(place(4, 95)), None), [6, 0], "it may have seen the next set");
        let beefy = |old, now| parts(BEEFY, old, now);
        assert_eq!(beefy(None, Some(place(4, 1))), [4, 901]);
        assert_eq!(beefy(Some(place(4, 1)), None), [6, 0]);
        assert_eq!(parts(PARA, None, Some(place(4, 1))), [51]);
        assert_eq!(parts(PARA, Some(place(4, 1)), None), [52]);
        assert_eq!(parts(BABE, None, None), [2_000_003]);
        for key_type in [GRANDPA, BEEFY, PARA] {
            assert!(of(key_type, None, None).unwrap_err().to_string().contains("--chain-url"));
        }
    }

    #[test]
    fn a_floor_below_what_a_node_said_is_refused() {
        signonce_shared::families::install();
        let given =
            |set, round| VoteFloors { grandpa_floor: Some(grandpa(set, round)), ..VoteFloors::default() };
        let reached = Reached { old: Some(place(4, 80)), now: None, rounds: 50 };
        let above = |votes: VoteFloors| votes.above(GRANDPA, &chain(), &reached, 0);
        assert!(above(given(4, 500)).unwrap_err().to_string().contains("too low"));
        assert_eq!(above(given(7, 1)).unwrap(), Floors::from(grandpa(7, 1)));
    }

    fn comet(height: u64, round: u64, step: u64) -> Position {
        Position::new(signonce_cometbft::VOTE, &[height, round, step]).unwrap()
    }

    #[test]
    fn a_state_file_gives_the_floor_and_no_lower_one_is_taken() {
        let chain: ChainRow = signonce_cometbft::ChainSettings::new("c-1").chain("c-1").into();
        signonce_shared::families::install();
        let of = |floor: Option<Position>, new_key, history| {
            let votes = VoteFloors { floors: floor.into_iter().collect(), ..VoteFloors::default() };
            FloorArgs { votes, new_key }.of(signonce_cometbft::CONSENSUS, &chain, 0, history)
        };
        let signed = |height, round, step| History::UpTo(comet(height, round, step));
        assert_eq!(of(None, false, signed(12, 0, 2)).unwrap(), Floors::from(comet(12, 0, 3)));
        // After a precommit the height may be locked, and this floor would not know on what.
        assert_eq!(of(None, false, signed(12, 0, 3)).unwrap(), Floors::from(comet(13, 0, 0)));
        let next = comet(12, 1, 0);
        assert_eq!(of(Some(next), false, signed(12, 0, 3)).unwrap(), Floors::from(next), "where it is meant");
        for low in [comet(12, 0, 3), comet(12, 0, 2), comet(3, 0, 0)] {
            let error = of(Some(low), false, signed(12, 0, 3)).unwrap_err().to_string();
            assert!(error.contains("not past what the state file says"), "{error}");
        }
        let error = of(None, true, signed(12, 0, 3)).unwrap_err().to_string();
        assert!(error.contains("leave --new-key out"), "{error}");
        let error = of(None, false, History::Fresh).unwrap_err().to_string();
        assert!(
            error.contains("after a reset too") && error.contains("cometVote=HEIGHT:ROUND:STEP"),
            "{error}"
        );
        assert_eq!(of(None, true, History::Fresh).unwrap(), Floors::from(comet(0, 0, 0)));
        let error = of(None, false, History::Unknown { or: "--state, or " }).unwrap_err().to_string();
        assert!(error.contains("give --state, or --floor cometVote=HEIGHT:ROUND:STEP"), "{error}");
    }

    #[test]
    fn a_floor_of_any_class_is_given_by_its_name() {
        signonce_shared::families::install();
        assert_eq!(of_class("grandpaVote=12:3"), Ok(grandpa(12, 3)));
        assert_eq!(of_class("cometProposal=12:0:2"), Ok(comet(12, 0, 2)), "they share a watermark");
        for wrong in
            ["", "12:3", "grandpaVote=12", "grandpaVote=1:2:3", "nothing=1", "heartbeat=1", "paraSide=-1"]
        {
            assert!(of_class(wrong).is_err(), "{wrong}");
        }
    }
}
