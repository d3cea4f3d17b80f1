//! The recordings of running nodes, where they lie beside the repository: our own FilePV answers as Go's did, over the
//! wire too, and the `tendermint` crate's sign bytes are Go's.

mod common;

use common::{Double, Reaction};
use prost::Message as _;
use signonce_comet_node::{
    Address, Config, FilePv, Node, Outcome, judge,
    vectors::{Event, RecordedKind, Recordings, Session, compare},
};
use std::path::Path;
use tendermint_proto::v0_38::privval::{self, message::Sum};

const FILES: [(&str, usize); 4] =
    [("sessions.json", 50), ("extensions.json", 30), ("secp256k1.json", 7), ("crash-replay.json", 35)];

fn recordings() -> Option<Recordings> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies");
    Recordings::find(Path::new(&here), 2)
}

fn all_sessions(recordings: &Recordings) -> Vec<Session> {
    let mut sessions = recordings.filepv().expect("the table is read");
    assert!(sessions.iter().map(|session| session.asked().count()).sum::<usize>() > 100);
    for (file, at_least) in FILES {
        let of_file = recordings.sessions(file).expect("a recording is read");
        let asked: usize = of_file.iter().map(|session| session.asked().count()).sum();
        assert!(asked >= at_least, "{file}: only {asked} requests");
        sessions.extend(of_file);
    }
    sessions
}

#[test]
fn our_filepv_answers_every_recorded_request_as_gos() {
    let Some(recordings) = recordings() else { return };
    for session in all_sessions(&recordings) {
        let mut filepv = FilePv::new(session.key.filepv());
        for recorded in session.asked() {
            let answer = filepv.answer(&recorded.request).expect("a request");
            if let Err(differs) = compare(&answer, recorded) {
                panic!("{differs}");
            }
        }
    }
}

#[test]
fn sign_bytes_of_the_tendermint_crate_are_gos() {
    let Some(recordings) = recordings() else { return };
    let (mut judged, mut unreadable) = (0, Vec::new());
    for session in all_sessions(&recordings) {
        for recorded in session.asked() {
            let Some(expected) = &recorded.sign_bytes else { continue };
            let message = privval::Message::decode(&recorded.request[..]).expect("a request");
            let bytes = match message.sum.expect("a request") {
                Sum::SignVoteRequest(request) => {
                    let vote = request.vote.expect("a vote");
                    if let Some(expected) = &recorded.extension_bytes {
                        assert_eq!(&judge::extension_bytes(&vote, &request.chain_id), expected);
                    }
                    judge::vote_bytes(&vote, &request.chain_id)
                }
                Sum::SignProposalRequest(request) => {
                    judge::proposal_bytes(&request.proposal.expect("a proposal"), &request.chain_id)
                }
                other => panic!("{other:?} has sign bytes"),
            };
            match bytes {
                Ok(bytes) => {
                    assert_eq!(&bytes, expected, "{}", recorded.about);
                    judged += 1;
                }
                Err(_) => unreadable.push(recorded.about.clone()),
            }
        }
    }
    assert!(judged > 200, "only {judged} were judged");
    // What honest nodes never ask: Go's types take it, the crate's do not.
    let odd =
        ["height 0", "negative height", "block id without", "nil block", "empty chain id", "without parts"];
    let others: Vec<_> =
        unreadable.iter().filter(|about| !odd.iter().any(|odd| about.contains(odd))).collect();
    assert!(others.is_empty() && !unreadable.is_empty(), "{others:?}");
}

#[tokio::test]
async fn recorded_sessions_are_asked_over_the_wire_and_answered_as_recorded() {
    let Some(recordings) = recordings() else { return };
    for (file, _) in FILES {
        for session in recordings.sessions(file).expect("a recording is read") {
            let node = Node::listen(Config::new(&session.chain_id, Address::any_port())).await;
            let node = node.expect("a port");
            let filepv = FilePv::new(session.key.filepv());
            let _signer = Double::dial(node.address(), filepv, |_, _| Reaction::FilePv);
            for event in &session.events {
                match event {
                    Event::Asks(recorded) => {
                        let answer = node.ask_raw(&recorded.request).await.expect("an answer");
                        if let Err(differs) = compare(&answer, recorded) {
                            panic!("{differs}");
                        }
                    }
                    Event::NodeRestarts => node.restart().await.expect("the same port"),
                    Event::SignerRestarts => {}
                }
            }
            assert!(node.exchanges().iter().all(|exchange| match exchange.outcome {
                Outcome::Answered | Outcome::Refused { .. } => true,
                Outcome::WrongMessage
                | Outcome::Undecodable
                | Outcome::Unreadable(_)
                | Outcome::Closed
                | Outcome::Broken(_)
                | Outcome::Late
                | Outcome::NoConnection => false,
            }));
        }
    }
}

#[test]
fn the_judge_says_what_differs() {
    let Some(recordings) = recordings() else { return };
    let sessions = recordings.sessions("crash-replay.json").expect("a recording is read");
    let signed = sessions[0].asked().find(|recorded| recorded.kind == RecordedKind::Precommit);
    let signed = signed.expect("there is one").clone();
    let right = FilePv::new(sessions[0].key.filepv()).answer(&signed.request).expect("a request");
    assert_eq!(compare(&right, &signed), Ok(()));
    let judged = |change: &dyn Fn(&mut privval::SignedVoteResponse)| {
        let mut message = privval::Message::decode(&right[..]).expect("a message");
        match message.sum.as_mut() {
            Some(Sum::SignedVoteResponse(answer)) => change(answer),
            other => panic!("{other:?}"),
        }
        compare(&message.encode_to_vec(), &signed).expect_err("it differs").what
    };
    let vote = |answer: &mut privval::SignedVoteResponse| answer.vote.take().expect("a vote");
    let what = judged(&|answer| answer.vote.as_mut().expect("a vote").signature[0] ^= 1);
    assert!(what.contains("the signature"), "{what}");
    let what = judged(&|answer| answer.vote.as_mut().expect("a vote").timestamp = None);
    assert!(what.contains("the timestamp is None"), "{what}");
    let what = judged(&|answer| answer.vote.as_mut().expect("a vote").extension_signature.clear());
    assert!(what.contains("the extension signature is absent"), "{what}");
    let what = judged(&|answer| {
        vote(answer);
        answer.error = Some(privval::RemoteSignerError { code: 2, description: "no".into() });
    });
    assert!(what.contains("refused (code 2: no)"), "{what}");
    let what = judged(&|answer| drop(vote(answer)));
    assert!(what.contains("empty"), "{what}");
    let ping = compare(&[0x42, 0], &signed).expect_err("a ping is no vote").what;
    assert!(ping.contains("no answer to a Precommit"), "{ping}");
}
