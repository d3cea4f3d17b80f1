//! A node and a signer that dials it: connections, restarts, and what a node does that it should not.

mod common;

use common::{CHAIN_ID, Double, Reaction, validator};
use prost::Message as _;
use signonce_comet_node::{
    Address, AskError, BlockId, Config, Exit, Fault, Handshake, Identity, Lost, Node, Outcome, ProposalAsk,
    StartError, Time, Timing, VoteAsk,
};
use std::time::Duration;
use tendermint_proto::v0_38::privval::{self, PingRequest, message::Sum};

const FAST: Timing = Timing {
    accept: Duration::from_millis(600),
    read: Duration::from_secs(1),
    pause: Duration::from_millis(20),
    tries: 50,
    ping: Duration::from_millis(666),
};

fn v() -> Option<BlockId> {
    Some(BlockId::named("V"))
}

fn config() -> Config {
    Config::new(CHAIN_ID, Address::any_port()).with_timing(FAST)
}

async fn one_height(node: &Node, height: i64) {
    let time = Time::now();
    node.pub_key().await.expect("a key");
    let block = BlockId::named("V");
    let proposal = ProposalAsk { height, round: 0, pol_round: None, block, time };
    node.proposal(proposal).await.expect("a proposal");
    node.vote(VoteAsk::prevote(height, 0, Some(block), time)).await.expect("a prevote");
    node.vote(VoteAsk::precommit(height, 0, Some(block), time)).await.expect("a precommit");
}

#[tokio::test]
async fn a_node_gets_its_votes_over_a_secret_connection() {
    let node = Node::listen(config()).await.expect("a port");
    let _signer = Double::right(node.address());
    let key = node.start().await.expect("a key");
    assert_eq!(key.len(), 32);
    for height in 1..4 {
        one_height(&node, height).await;
    }
    assert!(node.exchanges().iter().all(|exchange| exchange.outcome == Outcome::Answered));
    assert_eq!(node.connections().await, Ok(1));
    assert!(node.peer().await.expect("it is up").is_some());
}

#[tokio::test]
async fn a_killed_node_leaves_its_socket_file_and_does_not_start_while_it_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("privval.sock");
    let node = Node::listen(Config::new(CHAIN_ID, Address::Unix(path.clone())).with_timing(FAST));
    let node = node.await.expect("a socket file");
    let _signer = Double::right(node.address());
    node.start().await.expect("a key");
    one_height(&node, 1).await;
    node.kill().await;
    assert_eq!(node.pub_key().await, Err(AskError::Down));
    assert!(path.exists());
    let again = node.restart().await;
    assert!(matches!(again, Err(StartError::SocketFile(_))), "{again:?}");
    node.remove_socket_file().expect("it is there");
    node.restart().await.expect("the file is gone");
    node.start().await.expect("a key");
    one_height(&node, 2).await;
}

#[tokio::test]
async fn a_node_has_another_identity_after_a_restart_unless_it_is_fixed() {
    let node = Node::listen(config()).await.expect("a port");
    let signer = Double::right(node.address());
    node.start().await.expect("a key");
    let before = node.identity().await;
    node.restart().await.expect("the same port");
    assert_ne!(node.identity().await, before);
    node.start().await.expect("a key");
    one_height(&node, 1).await;
    assert!(signer.seen().iter().map(|seen| seen.connection).max() >= Some(2));
    for _ in 0..2 {
        node.restart_as(|config| config.identity = Identity::Fixed([3; 32])).await.expect("the same port");
    }
    let fixed = node.identity().await;
    node.restart().await.expect("the same port");
    assert_eq!(node.identity().await, fixed);
}

#[tokio::test]
async fn a_node_without_a_signer_exits_with_code_1() {
    let node = Node::listen(config()).await.expect("a port");
    assert!(matches!(node.start().await, Err(Exit { code: 1, .. })));
}

#[tokio::test]
async fn a_kill_ends_what_is_being_asked() {
    let node = std::sync::Arc::new(Node::listen(config()).await.expect("a port"));
    let _signer = Double::dial(node.address(), validator(), |seen, _| match seen.sum() {
        Some(Sum::SignVoteRequest(_)) => Reaction::Nothing,
        _ => Reaction::FilePv,
    });
    node.start().await.expect("a key");
    let asking = tokio::spawn({
        let node = node.clone();
        async move { node.vote(VoteAsk::prevote(1, 0, v(), Time::at(1))).await }
    });
    while node.exchanges().len() < 5 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node.kill().await;
    assert_eq!(asking.await.expect("no panic"), Err(AskError::Down));
}

#[tokio::test]
async fn a_silent_node_sends_pings() {
    let timing = Timing { ping: Duration::from_millis(10), ..FAST };
    let node = Node::listen(config().with_timing(timing)).await.expect("a port");
    let signer = Double::right(node.address());
    node.start().await.expect("a key");
    let pings =
        || signer.seen().iter().filter(|seen| matches!(seen.sum(), Some(Sum::PingRequest(_)))).count();
    while pings() < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    one_height(&node, 1).await;
}

#[tokio::test]
async fn a_signer_notices_what_a_node_should_not_do() {
    let node = Node::listen(config()).await.expect("a port");
    let signer = Double::right(node.address());
    node.start().await.expect("a key");
    let closes = [
        Fault::OversizeMessage(1 << 30),
        Fault::OversizeFrame(1025),
        Fault::Unsealed(vec![0xff; 1044]),
        Fault::HalfClose,
        Fault::Message(vec![0xff; 40]),
        Fault::Data(vec![0xff; 40]),
    ];
    for fault in closes {
        node.misbehave(fault.clone()).await.expect("it is sent");
        assert!(node.signer_closes(Duration::from_secs(5)).await, "{fault:?}");
    }
    node.misbehave(Fault::Pings(3)).await.expect("they are sent");
    node.misbehave(Fault::Silence(Duration::from_millis(5))).await.expect("nothing is sent");
    let ping = privval::Message { sum: Some(Sum::PingRequest(PingRequest {})) }.encode_to_vec();
    let before = signer.seen().len();
    node.misbehave(Fault::Flood { request: ping, times: 100 }).await.expect("they are sent");
    while signer.seen().len() < before + 100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    node.misbehave(Fault::Close).await.expect("it is closed");
    one_height(&node, 1).await;
}

#[tokio::test]
async fn a_broken_handshake_gives_no_connection_and_the_next_node_is_served() {
    let node = Node::listen(config()).await.expect("a port");
    let signer = Double::right(node.address());
    for handshake in [
        Handshake::Silent,
        Handshake::Garbage,
        Handshake::LowOrder,
        Handshake::NotItsIdentity,
        Handshake::Closes,
    ] {
        node.restart_as(|config| config.handshake = handshake).await.expect("the same port");
        let exit = node.start().await;
        assert!(exit.is_err() && signer.seen().is_empty(), "{handshake:?}: {exit:?}");
    }
    node.restart_as(|config| config.handshake = Handshake::Right).await.expect("the same port");
    node.start().await.expect("a key");
}

#[tokio::test]
async fn a_node_that_nobody_dials_loses_the_vote_after_all_its_tries() {
    let timing =
        Timing { accept: Duration::from_millis(5), pause: Duration::from_millis(1), tries: 7, ..FAST };
    let node = Node::listen(config().with_timing(FAST)).await.expect("a port");
    let signer = Double::right(node.address());
    node.start().await.expect("a key");
    node.restart_as(|config| config.timing = timing).await.expect("the same port");
    drop(signer);
    let lost = node.pub_key().await;
    assert!(matches!(lost, Err(AskError::Lost(Lost::Exhausted { tries: 7, .. }))), "{lost:?}");
}
