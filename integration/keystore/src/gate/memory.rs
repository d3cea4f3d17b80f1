//! What the node's own voter recorded before it stopped: reads the value that sc-consensus-grandpa keeps under
//! `grandpa_completed_round` (its `VoterSetState`, schema 3).
//!
//! ```text
//! VoterSetState   0 Live: completed rounds, current rounds | 1 Paused: completed rounds
//! completed       Vec of rounds, newest first; set id u64; Vec of voters (32 bytes each)
//! completed round number u64; state; base; Vec of (message, signature 64, voter 32)
//! state           Option<block> ×3 (prevote ghost, finalized, estimate); completable bool
//! current         map of round u64 to: 0 not voted | 1 voted: voter 32, then
//!                 0 proposal | 1 Option<proposal>, prevote | 2 Option<proposal>, prevote, precommit
//! block, vote     hash 32, number u32
//! ```
//!
//! A vote stands in here before it is signed, so after a restart the voter asks for exactly the votes recorded for its
//! round. Read strictly: a value that does not fit to its last byte counts as none, and the gate stays closed.

use super::VotePosition;
use codec::{Decode, DecodeAll, Encode, Error, Input};
use signonce_protocol::PublicKey;
use signonce_substrate::GrandpaStage;
use std::collections::BTreeMap;

type Target = ([u8; 32], u32);
type RoundState = (Option<Target>, Option<Target>, Option<Target>, bool);
type CompletedRound = (u64, RoundState, Target, Vec<SignedVote>);
type CompletedRounds = (Vec<CompletedRound>, u64, Vec<[u8; 32]>);

/// The parts of the voter's record that the gate uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// Where the voter begins when it is started from this record.
    next: VotePosition,
    /// Its own votes in rounds that were not completed.
    votes: BTreeMap<u64, OwnVotes>,
}

/// The votes of one round that were recorded under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnVotes {
    by: [u8; 32],
    votes: Vec<(GrandpaStage, Target)>,
}

impl Recorded {
    /// Reads the value of the node's database.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let State { completed: (rounds, set_id, _voters), current } = State::decode_all(&mut &bytes[..])?;
        let newest_first = rounds.is_sorted_by(|newer, older| newer.0 > older.0);
        let Some(last) = rounds.first().filter(|_| newest_first) else {
            return Err("completed rounds are missing or not in order".into());
        };
        let round = last.0.checked_add(1).ok_or("the last round there can be is completed")?;
        if !current.is_sorted_by(|(earlier, _), (later, _)| earlier < later) {
            return Err("current rounds are not in order".into());
        }
        let voted = current.into_iter().filter_map(|(round, HasVoted(own))| Some((round, own?)));
        Ok(Self { next: VotePosition { set_id, round }, votes: voted.collect() })
    }

    /// The round the voter starts in.
    pub(super) fn next(&self) -> VotePosition {
        self.next
    }

    /// The payloads of the votes that `key` cast at `at`, in the order of the round.
    pub(super) fn votes(&self, key: &PublicKey, at: VotePosition) -> Vec<Vec<u8>> {
        let own = (self.next.set_id == at.set_id).then(|| self.votes.get(&at.round)).flatten();
        let own = own.filter(|own| own.by == key.as_bytes());
        own.into_iter().flat_map(|own| &own.votes).map(|vote| payload(vote, at)).collect()
    }
}

/// What is signed for a vote (`sp_consensus_grandpa::localized_payload`).
fn payload(
    (stage, target): &(GrandpaStage, Target),
    VotePosition { set_id, round }: VotePosition,
) -> Vec<u8> {
    let stage = match stage {
        GrandpaStage::Prevote => 0u8,
        GrandpaStage::Precommit => 1,
        GrandpaStage::PrimaryPropose => 2,
    };
    (stage, target, round, set_id).encode()
}

struct State {
    completed: CompletedRounds,
    current: Vec<(u64, HasVoted)>,
}

impl Decode for State {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        let variant = input.read_byte()?;
        let completed = Decode::decode(input)?;
        match variant {
            0 => Ok(Self { completed, current: Decode::decode(input)? }),
            1 => Ok(Self { completed, current: Vec::new() }),
            _ => Err("neither a live nor a paused voter".into()),
        }
    }
}

/// A vote in a completed round: parsed only to get past it.
struct SignedVote;

impl Decode for SignedVote {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        if input.read_byte()? > 2 {
            return Err("a vote is a prevote, a precommit or a proposal".into());
        }
        <(Target, [u8; 64], [u8; 32])>::decode(input)?;
        Ok(Self)
    }
}

struct HasVoted(Option<OwnVotes>);

impl Decode for HasVoted {
    fn decode<I: Input>(input: &mut I) -> Result<Self, Error> {
        match input.read_byte()? {
            0 => Ok(Self(None)),
            1 => Ok(Self(Some(OwnVotes { by: Decode::decode(input)?, votes: own_votes(input)? }))),
            _ => Err("neither voted nor not voted".into()),
        }
    }
}

fn own_votes<I: Input>(input: &mut I) -> Result<Vec<(GrandpaStage, Target)>, Error> {
    let stages: &[GrandpaStage] = match input.read_byte()? {
        0 => return Ok(vec![(GrandpaStage::PrimaryPropose, Decode::decode(input)?)]),
        1 => &[GrandpaStage::Prevote],
        2 => &[GrandpaStage::Prevote, GrandpaStage::Precommit],
        _ => return Err("the last vote is a proposal, a prevote or a precommit".into()),
    };
    let proposal: Option<Target> = Decode::decode(input)?;
    let mut votes: Vec<_> =
        proposal.into_iter().map(|target| (GrandpaStage::PrimaryPropose, target)).collect();
    for stage in stages {
        votes.push((*stage, Decode::decode(input)?));
    }
    Ok(votes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use signonce_protocol::Hash;
    use signonce_substrate::{BlockNumber, Round, SetId};
    use sp_consensus_grandpa as grandpa;
    use sp_core::H256;
    use sp_runtime::{generic, traits::BlakeTwo256};

    type Header = generic::Header<u32, BlakeTwo256>;

    /// The voter's record, to be written as sc-consensus-grandpa does, with the SDK's types for votes and ids.
    pub(in crate::gate) struct Record {
        pub(in crate::gate) set_id: u64,
        pub(in crate::gate) completed: Vec<u64>,
        pub(in crate::gate) current: Vec<(u64, Option<(u8, LastVote)>)>,
        pub(in crate::gate) paused: bool,
    }

    pub(in crate::gate) enum LastVote {
        Proposal(u8),
        Prevote(Option<u8>, u8),
        Precommit(Option<u8>, u8, u8),
    }

    fn block(n: u8) -> (H256, u32) {
        (H256::repeat_byte(n), n.into())
    }

    fn id(n: u8) -> grandpa::AuthorityId {
        sp_core::ed25519::Public::from_raw([n; 32]).into()
    }

    fn proposal(n: u8) -> grandpa::PrimaryPropose<Header> {
        let (target_hash, target_number) = block(n);
        grandpa::PrimaryPropose::<Header> { target_hash, target_number }
    }

    fn prevote(n: u8) -> grandpa::Prevote<Header> {
        let (target_hash, target_number) = block(n);
        grandpa::Prevote::<Header> { target_hash, target_number }
    }

    fn precommit(n: u8) -> grandpa::Precommit<Header> {
        let (target_hash, target_number) = block(n);
        grandpa::Precommit::<Header> { target_hash, target_number }
    }

    impl Record {
        /// The layout at the top of this file, written field by field.
        pub(in crate::gate) fn encode(&self) -> Vec<u8> {
            let Self { set_id, completed, current, paused } = self;
            let mut out = vec![u8::from(*paused)];
            let rounds = completed.iter().map(|round| completed_round(*round)).collect::<Vec<_>>();
            codec::Compact(rounds.len() as u32).encode_to(&mut out);
            rounds.iter().for_each(|round| out.extend_from_slice(round));
            (set_id, vec![id(1), id(2), id(3)]).encode_to(&mut out);
            if !paused {
                codec::Compact(current.len() as u32).encode_to(&mut out);
                for (round, voted) in current {
                    round.encode_to(&mut out);
                    has_voted(voted.as_ref(), &mut out);
                }
            }
            out
        }
    }

    fn completed_round(round: u64) -> Vec<u8> {
        let state = (Some(block(4)), Some(block(3)), None::<(H256, u32)>, true);
        let votes = (1u8..4).map(|voter| {
            let signature =
                grandpa::AuthoritySignature::from(sp_core::ed25519::Signature::from_raw([voter; 64]));
            match voter {
                1 => (0u8, prevote(4), signature, id(voter)).encode(),
                2 => (1u8, precommit(4), signature, id(voter)).encode(),
                _ => (2u8, proposal(4), signature, id(voter)).encode(),
            }
        });
        let votes = if round == 0 { Vec::new() } else { votes.collect::<Vec<_>>() };
        let mut out = (round, state, block(3)).encode();
        codec::Compact(votes.len() as u32).encode_to(&mut out);
        votes.iter().for_each(|vote| out.extend_from_slice(vote));
        out
    }

    fn has_voted(voted: Option<&(u8, LastVote)>, out: &mut Vec<u8>) {
        let Some((by, last)) = voted else { return out.push(0) };
        (1u8, id(*by)).encode_to(out);
        match last {
            LastVote::Proposal(p) => (0u8, proposal(*p)).encode_to(out),
            LastVote::Prevote(p, v) => (1u8, p.map(proposal), prevote(*v)).encode_to(out),
            LastVote::Precommit(p, v, c) => (2u8, p.map(proposal), prevote(*v), precommit(*c)).encode_to(out),
        }
    }

    fn key(n: u8) -> PublicKey {
        PublicKey::try_from([n; 32].as_slice()).expect("32 bytes")
    }

    fn live() -> Record {
        Record {
            set_id: 5,
            completed: vec![41, 40],
            current: vec![
                (39, None),
                (42, Some((2, LastVote::Precommit(Some(6), 7, 8)))),
                (43, Some((2, LastVote::Prevote(None, 9)))),
                (44, Some((2, LastVote::Proposal(10)))),
            ],
            paused: false,
        }
    }

    fn at(round: u64) -> VotePosition {
        VotePosition { set_id: 5, round }
    }

    #[test]
    fn the_round_the_voter_starts_in_follows_the_last_completed_one() {
        let recorded = Recorded::decode(&live().encode()).expect("as written by the node");
        assert_eq!(recorded.next(), at(42));
        let genesis = Record { set_id: 0, completed: vec![0], current: vec![(1, None)], paused: false };
        let recorded = Recorded::decode(&genesis.encode()).expect("as written at genesis");
        assert_eq!(recorded.next(), VotePosition { set_id: 0, round: 1 });
        assert_eq!(recorded.votes(&key(2), recorded.next()), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn recorded_votes_become_the_payloads_that_will_be_asked_for() {
        let recorded = Recorded::decode(&live().encode()).expect("as written by the node");
        // The SDK's own payloads: a vote's message is its number, then the vote.
        let payload = |round, message: &[u8]| {
            let mut payload = grandpa::localized_payload(round, 5, &());
            payload.splice(0..0, message.iter().copied());
            payload
        };
        let proposed = |n| (2u8, proposal(n)).encode();
        let prevoted = |n| (0u8, prevote(n)).encode();
        let precommitted = |n| (1u8, precommit(n)).encode();
        assert_eq!(
            recorded.votes(&key(2), at(42)),
            [payload(42, &proposed(6)), payload(42, &prevoted(7)), payload(42, &precommitted(8))]
        );
        assert_eq!(recorded.votes(&key(2), at(43)), [payload(43, &prevoted(9))]);
        assert_eq!(recorded.votes(&key(2), at(44)), [payload(44, &proposed(10))]);
    }

    #[test]
    fn the_payloads_are_what_the_signers_read_as_votes() {
        let recorded = Recorded::decode(&live().encode()).expect("as written by the node");
        let vote = signonce_substrate::payload::GrandpaVote {
            stage: GrandpaStage::Prevote,
            target_hash: Hash([9; 32]),
            target: BlockNumber(9),
            round: Round(43),
            set_id: SetId(5),
        };
        let format = signonce_substrate::ChainFormat::default();
        assert_eq!(recorded.votes(&key(2), at(43)), [vote.encode(&format)]);
    }

    #[test]
    fn votes_of_another_key_round_or_set_are_not_given() {
        let recorded = Recorded::decode(&live().encode()).expect("as written by the node");
        assert!(recorded.votes(&key(3), at(42)).is_empty());
        assert!(recorded.votes(&key(2), at(39)).is_empty());
        assert!(recorded.votes(&key(2), at(45)).is_empty());
        assert!(recorded.votes(&key(2), VotePosition { set_id: 6, round: 42 }).is_empty());
    }

    #[test]
    fn a_paused_voter_has_a_round_and_no_votes() {
        let paused = Record { paused: true, ..live() };
        let recorded = Recorded::decode(&paused.encode()).expect("as written by the node");
        assert_eq!(recorded.next(), at(42));
        assert!(recorded.votes(&key(2), at(42)).is_empty());
    }

    #[test]
    fn a_value_cut_short_or_too_long_is_refused() {
        let bytes = live().encode();
        for len in 0..bytes.len() {
            assert!(Recorded::decode(&bytes[..len]).is_err(), "{len} of {} bytes", bytes.len());
        }
        assert!(Recorded::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn unknown_variants_and_disorder_are_refused() {
        let good = live();
        let mut variant = good.encode();
        variant[0] = 2;
        let none = Record { completed: Vec::new(), ..live() };
        let unordered = Record { completed: vec![40, 41], ..live() };
        let twice = Record { current: vec![(42, None), (42, None)], ..live() };
        let last = Record { completed: vec![u64::MAX], ..live() };
        for (what, bytes) in [
            ("variant", variant),
            ("no completed round", none.encode()),
            ("rounds out of order", unordered.encode()),
            ("a round twice", twice.encode()),
            ("no next round", last.encode()),
        ] {
            assert!(Recorded::decode(&bytes).is_err(), "{what}");
        }
    }
}
