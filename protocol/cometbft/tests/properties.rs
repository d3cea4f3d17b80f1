//! Over any requests: decoders take the one encoding and nothing else, and the mark gives what a plain account of the rule
//! gives, however requests come.

mod common;

use common::{
    Answer, Signer, at,
    requests::{Ask, CHAIN_ID},
};
use proptest::prelude::*;
use prost::Message as _;
use signonce_cometbft::{
    ChainSettings, Connection, ED25519, Malformed, OwnRefusal, PROPOSAL_KIND, Proposal, Step, VOTE_KIND,
    Vote, vote_payload,
};
use signonce_protocol::{PayloadKind, RawPayload, Refusal};
use std::collections::BTreeSet;
use tendermint_proto::v0_38::{privval::SignVoteRequest, types};

fn step() -> impl Strategy<Value = Step> {
    prop::sample::select(&[Step::Proposal, Step::Prevote, Step::Precommit][..])
}

/// Few of each, so that they meet.
fn asked() -> impl Strategy<Value = (u32, u64, Ask)> {
    let ask =
        (1..3_i64, 0..4_i32, step(), 0..3_u8, 0..3_i32).prop_map(|(height, round, step, block, nanos)| {
            let block = if step == Step::Proposal { block.max(1) } else { block };
            Ask { height, round, step, block, nanos }
        });
    (1..3_u32, 0..3_u64, ask)
}

/// The rule in its own words, with all of history.
#[derive(Default)]
struct Account {
    signed: Vec<(Ask, i32)>,
    lock: Option<(Ask, BTreeSet<(u32, u64)>)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Signed { nanos: i32, repeated: bool },
    Below,
    Equivocation,
    Locked,
}

fn place(ask: &Ask) -> (i64, i32, Step) {
    (ask.height, ask.round, ask.step)
}

impl Account {
    fn expect(&mut self, who: (u32, u64), ask: Ask) -> Expected {
        let expected = self.judge(who, ask);
        let non_nil = ask.step == Step::Precommit && ask.block != 0;
        match expected {
            Expected::Signed { repeated: false, .. } => {
                self.signed.push((ask, ask.nanos));
                self.lock = self.lock.take().filter(|(lock, _)| lock.height == ask.height);
                if non_nil {
                    self.lock = Some((ask, BTreeSet::from([who])));
                }
            }
            Expected::Signed { .. } | Expected::Below | Expected::Equivocation | Expected::Locked => {
                let Some((lock, entitled)) = self.lock.as_mut().filter(|_| non_nil) else { return expected };
                let same = (ask.round, ask.block) == (lock.round, lock.block);
                if lock.height == ask.height && (ask.round > lock.round || same) {
                    entitled.insert(who);
                }
            }
        }
        expected
    }

    fn judge(&self, who: (u32, u64), ask: Ask) -> Expected {
        if let Some((last, nanos)) = self.signed.last() {
            let same = last.block == ask.block;
            match place(&ask).cmp(&place(last)) {
                std::cmp::Ordering::Less => return Expected::Below,
                std::cmp::Ordering::Equal if same => {
                    return Expected::Signed { nanos: *nanos, repeated: true };
                }
                std::cmp::Ordering::Equal => return Expected::Equivocation,
                std::cmp::Ordering::Greater => {}
            }
        }
        let forbidden = self.lock.as_ref().is_some_and(|(lock, entitled)| {
            let may = lock.block == ask.block || (who.1 != 0 && entitled.contains(&who));
            lock.height == ask.height && ask.step == Step::Prevote && !may
        });
        if forbidden { Expected::Locked } else { Expected::Signed { nanos: ask.nanos, repeated: false } }
    }
}

fn outcome(answer: &Answer) -> Expected {
    match answer {
        Answer::Signed { time, repeated, .. } => {
            Expected::Signed { nanos: time.nanos().try_into().unwrap(), repeated: *repeated }
        }
        Answer::Refused(Refusal::BelowWatermark { .. }) => Expected::Below,
        Answer::Refused(Refusal::Equivocation { .. }) => Expected::Equivocation,
        Answer::Refused(refusal) if OwnRefusal::of(refusal).is_some() => Expected::Locked,
        Answer::Refused(_) | Answer::Malformed(_) => panic!("{answer:?}"),
    }
}

fn chain() -> signonce_protocol::Chain {
    signonce_cometbft::install();
    ChainSettings::new(CHAIN_ID).chain("chain")
}

/// A request is read only if writing what was read gives its bytes: there is one for each thing to sign.
fn assert_one_encoding(kind: PayloadKind, bytes: &[u8]) -> Result<(), TestCaseError> {
    let chain = chain();
    let raw = RawPayload::new(kind, bytes.to_vec());
    let digest = raw.digest();
    if let Ok(payload) = raw.decode(&chain) {
        prop_assert_eq!(payload.digest(), digest);
        let again = SignVoteRequest::decode(&bytes[8..]).map(|request| request.encode_to_vec());
        prop_assert!(kind == PROPOSAL_KIND || again.as_deref() == Ok(&bytes[8..]));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_mark_gives_what_a_plain_account_of_the_rule_gives(
        asks in prop::collection::vec(asked(), 1..40), restart in any::<prop::sample::Index>(),
    ) {
        let mut signer = Signer::armed_at(CHAIN_ID, ED25519, &[5; 32], at(1, 0, 0));
        let mut account = Account::default();
        let restart = restart.index(asks.len());
        for (number, (client, connection, ask)) in asks.into_iter().enumerate() {
            if number == restart {
                signer.restart();
            }
            let answer = signer.ask(client, &ask.on(connection));
            prop_assert_eq!(outcome(&answer), account.expect((client, connection), ask), "{:?}", ask);
        }
        signer.restart();
    }

    #[test]
    fn two_requests_have_one_digest_only_if_they_differ_in_their_timestamps(
        (_, one_on, one) in asked(), (_, other_on, other) in asked(),
    ) {
        signonce_cometbft::install();
        let digests = [one.on(one_on), other.on(other_on)].map(|raw| raw.digest());
        let same = Ask { nanos: 0, ..one } == Ask { nanos: 0, ..other };
        prop_assert_eq!(digests[0] == digests[1], same);
        let chain = chain();
        let bytes = [one.on(one_on), other.on(other_on)].map(|raw| {
            raw.decode(&chain).expect("honest").to_sign().as_bytes().to_vec()
        });
        prop_assert_eq!(bytes[0] == bytes[1], one == other);
    }

    #[test]
    fn one_byte_more_less_or_different_is_refused_or_asks_something_else(
        (_, connection, ask) in asked(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let raw = ask.on(connection);
        let at = at.index(raw.bytes().len());
        let whole = raw.bytes();
        let mut changed = whole.to_vec();
        changed[at] = byte;
        let removed = [&whole[..at], &whole[at + 1..]].concat();
        let inserted = [&whole[..at], &[byte], &whole[at..]].concat();
        for bytes in [changed, removed, inserted] {
            assert_one_encoding(raw.kind(), &bytes)?;
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for kind in [VOTE_KIND, PROPOSAL_KIND] {
            assert_one_encoding(kind, &bytes)?;
        }
        let _ = (Vote::read(&bytes), Proposal::read(&bytes));
    }

    #[test]
    fn random_bytes_behind_a_true_start_never_panic(
        (_, connection, ask) in asked(), keep in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let raw = ask.on(connection);
        let bytes = [&raw.bytes()[..keep.index(raw.bytes().len() + 1)], &tail].concat();
        assert_one_encoding(raw.kind(), &bytes)?;
    }

    #[test]
    fn an_extension_is_signed_beside_a_non_nil_precommit_and_nowhere_else(
        (_, _, ask) in asked(), extension in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        prop_assume!(ask.step != Step::Proposal);
        let vote = types::Vote { extension: extension.clone(), ..ask.vote() };
        let request = SignVoteRequest { vote: Some(vote), chain_id: CHAIN_ID.into() }.encode_to_vec();
        let extended = ask.step == Step::Precommit && ask.block != 0;
        match vote_payload(Connection(1), &request).decode(&chain()) {
            Ok(payload) => {
                prop_assert!(extended || extension.is_empty());
                prop_assert_eq!(payload.beside().is_some(), extended);
                // Nobody can take the one for the other: a vote begins with its type.
                let message = payload.to_sign();
                let beside = payload.beside().map(|beside| beside.to_sign());
                prop_assert_ne!(beside, Some(message));
                prop_assert_eq!(payload.digest(), ask.on(1).digest(), "it is no part of the statement");
            }
            Err(why) => {
                prop_assert!(!extended && !extension.is_empty(), "{}", why);
                let stray = Vote::read(&request);
                prop_assert!(matches!(stray, Err(Malformed::StrayExtension { .. })), "{:?}", stray);
            }
        }
    }
}

#[test]
fn the_longest_extension_that_nodes_allow_is_signed_and_one_byte_more_is_not() {
    let chain = chain();
    for (len, fits) in [(1_048_576, true), (1_048_577, false)] {
        let vote = Ask::new(5, 0, Step::Precommit, 1).vote();
        let vote = types::Vote { extension: vec![7; len], ..vote };
        let request = SignVoteRequest { vote: Some(vote), chain_id: CHAIN_ID.into() }.encode_to_vec();
        let read = vote_payload(Connection(1), &request).decode(&chain);
        assert_eq!(read.is_ok(), fits, "{len}");
    }
}
