//! `node-reactions.json`: what running nodes did with an answer, and that ours does the same. A chain of one validator
//! runs for a few heights, one thing goes wrong at height 5, and what came of it is compared with the recording.

mod common;

use common::{CHAIN_ID, Double, Reaction, Seen, validator};
use prost::Message as _;
use serde_json::Value;
use signonce_comet_node::{
    Address, AskError, BlockId, Config, Exit, FilePv, FilePvKey, Node, ProposalAsk, Time, Timing, VoteAsk,
    VoteStep, vectors::Recordings,
};
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tendermint_proto::v0_38::{
    privval::{self, RemoteSignerError, message::Sum},
    types,
};

/// The height of the fault.
const AT: i64 = 5;
/// A real node's waiting times, divided.
const TIMES: u32 = 5;

/// The fault's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    PubKey,
    Proposal,
    Prevote,
    Precommit,
    Ping,
    AnyVote,
    AnyProposal,
}

impl On {
    fn is(self, seen: &Seen) -> bool {
        match (self, seen.sum()) {
            (Self::PubKey, Some(Sum::PubKeyRequest(_))) | (Self::Ping, Some(Sum::PingRequest(_))) => true,
            (Self::Proposal, Some(Sum::SignProposalRequest(request))) => {
                request.proposal.expect("a proposal").height == AT
            }
            (Self::AnyProposal, Some(Sum::SignProposalRequest(_))) => true,
            (Self::AnyVote, Some(Sum::SignVoteRequest(_))) => true,
            (Self::Prevote, Some(Sum::SignVoteRequest(request))) => is_vote(&request, 1),
            (Self::Precommit, Some(Sum::SignVoteRequest(request))) => is_vote(&request, 2),
            _ => false,
        }
    }
}

fn is_vote(request: &privval::SignVoteRequest, kind: i32) -> bool {
    request.vote.as_ref().is_some_and(|vote| vote.height == AT && vote.r#type == kind)
}

/// What the signer does instead, given FilePV's answer.
type Wrong = Box<dyn Fn(&[u8], &Seen) -> Reaction + Send>;

/// What goes wrong.
struct Case {
    name: &'static str,
    on: On,
    /// How often; after that all goes well.
    times: usize,
    wrong: Wrong,
    extensions: bool,
    /// The bytes of the extension at the fault's height.
    extension: usize,
    /// The precommit there is for nil.
    nil: bool,
    /// The longest answer that the node reads.
    longest: usize,
}

fn case(name: &'static str, on: On, wrong: impl Fn(&[u8], &Seen) -> Reaction + Send + 'static) -> Case {
    let extensions = name.ends_with("-x") || name.ends_with("-x-always");
    let extension = if extensions { 12 } else { 0 };
    Case { name, on, times: 1, wrong: Box::new(wrong), extensions, extension, nil: false, longest: 10 * 1024 }
}

/// What came of it.
#[derive(Debug)]
struct Came {
    went_on: bool,
    stopped: bool,
    asked: usize,
    connections: usize,
}

/// Runs a chain of one validator.
async fn run(case: Case) -> Came {
    let timing = Timing::MEASURED.faster(TIMES);
    let config = Config::new(CHAIN_ID, Address::any_port());
    let config = Config { extensions: case.extensions, longest_answer: case.longest, ..config };
    let node = Node::listen(config.with_timing(timing)).await.expect("a port");
    let Case { on, times, wrong, nil, extension, .. } = case;
    let mut left = times;
    // A request for the key has no height: the fault is not at the start.
    let mut skipped = if on == On::PubKey { 6 } else { 0 };
    let signer = Double::dial(node.address(), validator(), move |seen, answer| {
        if left == 0 || !on.is(seen) {
            return Reaction::FilePv;
        }
        if skipped > 0 {
            skipped -= 1;
            return Reaction::FilePv;
        }
        left -= 1;
        wrong(answer, seen)
    });
    node.start().await.expect("a key");
    let mut stopped = false;
    let mut went_on = true;
    for height in 1..=AT + 2 {
        if on == On::Ping && height == AT {
            let pings = || signer.seen().iter().filter(|seen| On::Ping.is(seen)).count();
            while pings() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        let extension = if height == AT { vec![b'e'; extension] } else { Vec::new() };
        match one_height(&node, height, extension, nil && height == AT).await {
            Ok(()) => {}
            Err(AskError::Lost(_)) => went_on = false,
            Err(AskError::ConsensusFailure(_)) => (went_on, stopped) = (false, true),
            Err(AskError::Down) => unreachable!("nobody kills it"),
        }
        if !went_on {
            let failed = matches!(node.pub_key().await, Err(AskError::ConsensusFailure(_)));
            assert_eq!(failed, stopped, "a failed node asks nothing more");
            break;
        }
    }
    let seen = signer.seen();
    let at_fault =
        seen.iter().filter(|seen| on.is(seen) && matches!(on, On::Proposal | On::Prevote | On::Precommit));
    let first = at_fault.clone().next().map(|seen| seen.request.clone());
    let same: Vec<_> = at_fault.filter(|seen| Some(&seen.request) == first.as_ref()).collect();
    let mut connections: Vec<_> = same.iter().map(|seen| seen.connection).collect();
    connections.dedup();
    Came { went_on, stopped, asked: same.len(), connections: connections.len() }
}

/// One validator's height. A lost proposal costs a round; a lost vote ends the chain.
async fn one_height(node: &Node, height: i64, extension: Vec<u8>, nil: bool) -> Result<(), AskError> {
    let block = BlockId::named(&format!("block {height}"));
    // A failed or changed key is found by the votes, as measured.
    if let Err(error @ AskError::ConsensusFailure(_)) = node.pub_key().await {
        return Err(error);
    }
    for round in 0..3 {
        let ask = ProposalAsk { height, round, pol_round: None, block, time: Time::now() };
        let proposed = node.proposal(ask).await.is_ok().then_some(block);
        node.vote(VoteAsk::prevote(height, round, proposed, Time::now())).await?;
        let decided = proposed.filter(|_| !nil || round > 0);
        let ask = VoteAsk::precommit(height, round, decided, Time::now());
        let extension = if decided.is_some() { &extension[..] } else { &[] };
        node.vote(ask.with_extension(extension)).await?;
        if decided.is_some() {
            return Ok(());
        }
    }
    panic!("height {height} has no block after three rounds");
}

fn error_answer(seen: &Seen) -> Reaction {
    let error = Some(RemoteSignerError { code: 3, description: "refused".into() });
    let sum = match seen.sum().expect("a request") {
        Sum::PubKeyRequest(_) => Sum::PubKeyResponse(privval::PubKeyResponse { pub_key: None, error }),
        Sum::SignVoteRequest(_) => {
            Sum::SignedVoteResponse(privval::SignedVoteResponse { vote: Some(types::Vote::default()), error })
        }
        Sum::SignProposalRequest(_) => {
            Sum::SignedProposalResponse(privval::SignedProposalResponse { proposal: None, error })
        }
        other => panic!("{other:?} is not refused"),
    };
    Reaction::Bytes(privval::Message { sum: Some(sum) }.encode_to_vec())
}

/// An answer with a changed vote.
fn with_vote(answer: &[u8], change: impl Fn(&mut types::Vote)) -> Reaction {
    with_answer(answer, |answer| change(answer.vote.as_mut().expect("a vote")))
}

fn with_answer(answer: &[u8], change: impl Fn(&mut privval::SignedVoteResponse)) -> Reaction {
    let mut message = privval::Message::decode(answer).expect("a message");
    match message.sum.as_mut() {
        Some(Sum::SignedVoteResponse(answer)) => change(answer),
        other => panic!("no vote: {other:?}"),
    }
    Reaction::Bytes(message.encode_to_vec())
}

fn with_proposal(answer: &[u8], change: impl Fn(&mut types::Proposal)) -> Reaction {
    let mut message = privval::Message::decode(answer).expect("a message");
    match message.sum.as_mut() {
        Some(Sum::SignedProposalResponse(answer)) => change(answer.proposal.as_mut().expect("a proposal")),
        other => panic!("no proposal: {other:?}"),
    }
    Reaction::Bytes(message.encode_to_vec())
}

/// The request with another timestamp or block, signed by the validator's key.
fn signed_anew(seen: &Seen, change: impl Fn(&mut types::Vote)) -> types::Vote {
    let Some(Sum::SignVoteRequest(request)) = seen.sum() else { panic!("no vote") };
    let mut vote = request.vote.expect("a vote");
    change(&mut vote);
    let signed = FilePv::new(FilePvKey::ed25519(&[7; 32])).vote(&vote, CHAIN_ID).expect("nothing was signed");
    vote.signature = signed.signature;
    vote.extension_signature = signed.extension_signature.unwrap_or_default();
    vote
}

fn later(time: &mut Option<tendermint_proto::google::protobuf::Timestamp>) {
    time.as_mut().expect("a timestamp").seconds += 1;
}

fn as_read_until(part: u32) -> Duration {
    Timing::MEASURED.faster(TIMES).read * part / 5
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    use On::*;
    let wrong = || vec![0x5a; 64];
    vec![
        case("err-prevote", Prevote, |_, seen| error_answer(seen)),
        case("err-precommit", Precommit, |_, seen| error_answer(seen)),
        case("err-proposal", Proposal, |_, seen| error_answer(seen)),
        case("err-pubkey", PubKey, |_, seen| error_answer(seen)),
        case("close-pubkey", PubKey, |_, _| Reaction::Close),
        case("close-prevote", Prevote, |_, _| Reaction::Close),
        case("close-precommit", Precommit, |_, _| Reaction::Close),
        case("close-proposal", Proposal, |_, _| Reaction::Close),
        Case { times: 10, ..case("close10-precommit", Precommit, |_, _| Reaction::Close) },
        Case { times: 60, ..case("close60-precommit", Precommit, |_, _| Reaction::Close) },
        case("drop-prevote", Prevote, |_, _| Reaction::Nothing),
        case("slow2-prevote", Prevote, |_, _| Reaction::Late(as_read_until(2))),
        case("slow4-precommit", Precommit, |_, _| Reaction::Late(as_read_until(4))),
        case("slow6-prevote", Prevote, |_, _| Reaction::Late(as_read_until(6))),
        case("slow6-precommit", Precommit, |_, _| Reaction::Late(as_read_until(6))),
        case("slow6-proposal", Proposal, |_, _| Reaction::Late(as_read_until(6))),
        case("badsig-prevote", Prevote, move |answer, _| with_vote(answer, |vote| vote.signature = wrong())),
        case("badsig-precommit", Precommit, move |answer, _| with_vote(answer, |vote| vote.signature = wrong())),
        case("badsig-proposal", Proposal, move |answer, _| with_proposal(answer, |of| of.signature = wrong())),
        case("longsig-prevote", Prevote, |answer, _| with_vote(answer, |vote| vote.signature.push(0))),
        case("emptysig-prevote", Prevote, |answer, _| with_vote(answer, |vote| vote.signature.clear())),
        case("othertime-precommit", Precommit, |answer, seen| {
            let anew = signed_anew(seen, |vote| later(&mut vote.timestamp));
            with_vote(answer, |vote| *vote = anew.clone())
        }),
        case("othertime-mismatch-precommit", Precommit, |answer, seen| {
            let anew = signed_anew(seen, |vote| later(&mut vote.timestamp));
            with_vote(answer, |vote| vote.signature = anew.signature.clone())
        }),
        case("othertime-proposal", Proposal, |answer, seen| {
            let Some(Sum::SignProposalRequest(request)) = seen.sum() else { panic!("no proposal") };
            let mut proposal = request.proposal.expect("a proposal");
            later(&mut proposal.timestamp);
            let signed = validator().proposal(&proposal, CHAIN_ID).expect("nothing was signed");
            proposal.signature = signed.signature;
            with_proposal(answer, |of| *of = proposal.clone())
        }),
        case("swapblock-prevote", Prevote, |answer, seen| {
            let anew = signed_anew(seen, |vote| vote.block_id = Some(BlockId::message(Some(BlockId::named("W")))));
            with_vote(answer, |vote| *vote = anew.clone())
        }),
        Case { times: usize::MAX, ..case("onlysig-all", AnyVote, |answer, _| with_vote(answer, |vote| {
            *vote = types::Vote {
                signature: vote.signature.clone(),
                timestamp: vote.timestamp,
                extension_signature: vote.extension_signature.clone(),
                ..types::Vote::default()
            };
        })) },
        Case { times: usize::MAX, ..case("onlysig-prop", AnyProposal, |answer, _| with_proposal(answer, |of| {
            *of = types::Proposal {
                signature: of.signature.clone(),
                timestamp: of.timestamp,
                ..types::Proposal::default()
            };
        })) },
        case("notime-prevote", Prevote, |answer, _| with_vote(answer, |vote| {
            let zero = Time::at(-62_135_596_800);
            vote.timestamp = Some(zero.into());
        })),
        case("wrongmsg-prevote", Prevote, |_, _| Reaction::Bytes(vec![0x42, 0])),
        case("emptymsg-prevote", Prevote, |_, _| Reaction::Bytes(Vec::new())),
        case("garbage-prevote", Prevote, |_, _| Reaction::Bytes(vec![0xff; 40])),
        case("bothset-prevote", Prevote, |answer, _| with_answer(answer, |answer| {
            answer.error = Some(RemoteSignerError { code: 3, description: "both".into() });
        })),
        case("ping-close", Ping, |_, _| Reaction::Close),
        case("ping-wrong", Ping, |_, _| Reaction::Bytes(Vec::new())),
        case("addext-prevote", Prevote, move |answer, _| with_vote(answer, |vote| vote.extension_signature = wrong())),
        case("addext-prevote-x", Prevote, move |answer, _| with_vote(answer, |vote| vote.extension_signature = wrong())),
        Case { nil: true, extension: 0, ..case("addext-nilpc-x", Precommit, move |answer, _| with_vote(answer, |vote| vote.extension_signature = wrong())) },
        case("noext-x", Precommit, |answer, _| with_vote(answer, |vote| vote.extension_signature.clear())),
        case("noext-off", Precommit, |answer, _| with_vote(answer, |vote| vote.extension_signature.clear())),
        case("badext-x", Precommit, move |answer, _| with_vote(answer, |vote| vote.extension_signature = wrong())),
        case("noecho-x", Precommit, |answer, _| with_vote(answer, |vote| vote.extension.clear())),
        Case { extension: 9_000, times: 0, ..case("big9k-x", Precommit, |_, _| Reaction::FilePv) },
    ]
}

fn recorded() -> Option<Vec<Value>> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    let recordings = Recordings::find(Path::new(&here), 2)?;
    let file = recordings.json("node-reactions.json").expect("the recording is read");
    Some(file["cases"].as_array().expect("a list").clone())
}

/// What the nodes of 0.38 did.
fn of_38(cases: &[Value], name: &str) -> Value {
    let case = cases.iter().find(|case| case["case"] == name);
    let nodes = case.unwrap_or_else(|| panic!("{name} was recorded"))["node"].as_object();
    let mut nodes = nodes.expect("an object").iter();
    nodes.find(|(versions, _)| versions.contains("0.38.25")).expect("0.38 was recorded").1.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_does_with_each_kind_of_answer_what_recorded_nodes_did() {
    let Some(recorded) = recorded() else { return };
    let mut running: Vec<_> = cases().into_iter().map(|case| (case.name, tokio::spawn(run(case)))).collect();
    for (name, running) in running.drain(..) {
        let came = running.await.unwrap_or_else(|_| panic!("{name} fails"));
        let expected = of_38(&recorded, name);
        assert_eq!(Value::from(came.went_on), expected["chain_went_on"], "{name}: {came:?}");
        let stopped = expected["consensus_stopped"].as_bool().unwrap_or(false);
        assert_eq!(came.stopped, stopped, "{name}: {came:?}");
        // Where the fault is at one request: how often the same bytes were asked, and over how many connections.
        if came.asked > 0
            && let Some(asked) = expected["asked"].as_u64()
        {
            assert_eq!(came.asked as u64, asked, "{name}: {came:?}");
        }
        if let Some(connections) = expected["connections"].as_u64() {
            assert_eq!(came.connections as u64, connections, "{name}: {came:?}");
        }
    }
}

/// An answer that is too long leaves the node out of step: it asks again and reads what was left. Recorded nodes got
/// a new connection after 33 tries. What ours reads as lengths meanwhile is not known to be the same, so neither how
/// often it asks nor what comes of it is compared.
#[tokio::test]
async fn after_an_answer_of_11_kb_a_node_is_out_of_step_and_asks_again() {
    let echoed =
        |times| Case { extension: 11_000, times, ..case("big11k-x", On::Precommit, |_, _| Reaction::FilePv) };
    let always = run(echoed(0)).await;
    assert!(!always.went_on && always.asked == 50, "FilePV echoes it at every try: {always:?}");
    let first = AtomicBool::new(true);
    let wrong = Box::new(move |answer: &[u8], _: &Seen| match first.swap(false, Ordering::Relaxed) {
        true => Reaction::FilePv,
        false => with_vote(answer, |vote| vote.extension.clear()),
    });
    let once = run(Case { wrong, ..echoed(usize::MAX) }).await;
    assert!(once.asked > 1, "{once:?}");
    let of_0_40 = run(Case { longest: 1 << 20, ..echoed(0) }).await;
    assert!(of_0_40.went_on && of_0_40.asked == 1, "it reads longer answers: {of_0_40:?}");
}

async fn starts(reaction: Reaction) -> Result<Vec<u8>, Exit> {
    let config = Config::new(CHAIN_ID, Address::any_port()).with_timing(Timing::MEASURED.faster(TIMES));
    let node = Node::listen(config).await.expect("a port");
    let mut first = Some(reaction);
    let _signer =
        Double::dial(node.address(), validator(), move |_, _| first.take().unwrap_or(Reaction::FilePv));
    node.start().await
}

#[tokio::test]
async fn a_node_that_gets_no_key_at_its_start_exits_with_code_1() {
    let error = error_answer(&Seen {
        connection: 1,
        request: privval::Message {
            sum: Some(Sum::PubKeyRequest(privval::PubKeyRequest { chain_id: CHAIN_ID.into() })),
        }
        .encode_to_vec(),
    });
    for reaction in [error, Reaction::Close, Reaction::Nothing, Reaction::Late(as_read_until(6))] {
        let exit = starts(reaction.clone()).await.expect_err("it exits");
        assert_eq!(exit.code, 1, "{reaction:?}");
    }
    starts(Reaction::Late(as_read_until(4))).await.expect("it starts");
}

#[tokio::test]
async fn a_signer_that_was_away_is_asked_the_same_bytes_when_it_returns() {
    let config = Config::new(CHAIN_ID, Address::any_port()).with_timing(Timing::MEASURED.faster(50));
    let node = std::sync::Arc::new(Node::listen(config).await.expect("a port"));
    let signer = Double::right(node.address());
    node.start().await.expect("a key");
    drop(signer);
    let ask = VoteAsk::prevote(1, 0, Some(BlockId::named("V")), Time::at(1));
    assert_eq!(ask.step, VoteStep::Prevote);
    let asking = tokio::spawn({
        let node = node.clone();
        async move { node.vote(ask).await }
    });
    // It is away for a few of the node's tries.
    while node.exchanges().len() < 12 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let _returned = Double::right(node.address());
    asking.await.expect("no panic").expect("a vote");
    let asked: Vec<_> = node.exchanges().split_off(4).into_iter().map(|exchange| exchange.request).collect();
    assert!(asked.len() > 7 && asked.iter().all(|request| *request == asked[0]));
}

#[tokio::test]
async fn another_key_later_stops_the_chain_of_one_validator() {
    let config = Config::new(CHAIN_ID, Address::any_port()).with_timing(Timing::MEASURED.faster(TIMES));
    let node = Node::listen(config).await.expect("a port");
    let mut asked = 0;
    let other = FilePv::new(FilePvKey::ed25519(&[8; 32])).key().public();
    let _signer = Double::dial(node.address(), validator(), move |seen, _| {
        asked += usize::from(On::PubKey.is(seen));
        let sum = privval::PubKeyResponse { pub_key: Some(other.clone()), error: None };
        match asked {
            5 => Reaction::Bytes(privval::Message { sum: Some(Sum::PubKeyResponse(sum)) }.encode_to_vec()),
            _ => Reaction::FilePv,
        }
    });
    node.start().await.expect("a key");
    let lost = node.pub_key().await;
    assert!(matches!(lost, Err(AskError::Lost(signonce_comet_node::Lost::OtherKey))), "{lost:?}");
}
