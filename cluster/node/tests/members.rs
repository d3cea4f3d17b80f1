//! Real nodes (RocksDB, TLS, threads) in one process that come to a cluster, and go.

mod common;

use common::*;
use signonce_cluster::{Handle, Peer, StoreError, identity};
use signonce_core::replica::fence::Quarantine;
use signonce_core::replica::hello::HelloRefusal;
use signonce_core::replica::{MemberHazard, NotMember};
use signonce_core::{
    Change, ChangeDone, ChangeError, FEATURE_LEVEL, JoinToken, Member, MemberError, MemberRole, Refusal,
    Verdict, node_actor,
};
use signonce_protocol::{Carry, NodeId};
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn change(handle: &Handle, change: Change) -> Result<ChangeDone, ChangeError> {
    handle.change("test".into(), change, PATIENCE).await.unwrap()
}

/// A member says of itself who it is.
async fn announce(handle: &Handle, member: Member) {
    let actor = node_actor(member.node);
    handle.change(actor, Change::AnnounceMember(member), PATIENCE).await.unwrap().unwrap();
}

fn member(node: u64, peer_addr: &str) -> Member {
    Member {
        node: NodeId(node),
        recipient: format!("age1-{node}"),
        peer_addr: peer_addr.into(),
        client_url: "https://localhost:1".into(),
        supports: FEATURE_LEVEL,
    }
}

/// A cluster of three whose members may come and go.
async fn formed() -> TestCluster {
    let cluster = TestCluster::started().await;
    let handle = cluster.handle(1);
    provision(&handle).await;
    for peer in &cluster.peers {
        announce(&handle, member(peer.id.0, &peer.address)).await;
    }
    cluster
}

/// Invites and joins a node, and starts it; its id.
async fn add(cluster: &mut TestCluster, via: u64) -> u64 {
    let (token, address) = (JoinToken::new([7; 32]), free_address());
    let invite = Change::AddMember { peer_addr: address.clone(), token: token.hash(), replaces: None };
    let handle = cluster.handle(via);
    let node = change(&handle, invite).await.unwrap().node.unwrap().0;
    let join = Change::JoinMember { member: member(node, &address), token };
    handle.change(node_actor(NodeId(node)), join, PATIENCE).await.unwrap().unwrap();
    identity::create_joined(&cluster.data_dir(node), CLUSTER, NodeId(node)).unwrap();
    cluster.peers.push(Peer { id: NodeId(node), address });
    cluster.start(node).await;
    cluster.wait_ready(&[node]).await;
    node
}

/// Asks until nothing speaks against it any more.
async fn once_safe(handle: &Handle, wanted: Change) {
    let asked = async {
        loop {
            match change(handle, wanted.clone()).await {
                Ok(_) => return,
                Err(
                    ChangeError::Member(MemberError::MemberHazard { .. })
                    | ChangeError::Member(MemberError::MemberChangeUnderWay { .. }),
                ) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(other) => panic!("{wanted:?}: {other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it becomes safe");
}

async fn voters(cluster: &TestCluster, at: u64, wanted: &[u64]) {
    let sorted = |ids: &[NodeId]| {
        let mut ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
        ids.sort_unstable();
        ids
    };
    // The watch wakes for changes of role and leader only; look again meanwhile.
    let reached = async {
        while sorted(&cluster.handle(at).status().voters) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    assert!(reached.is_ok(), "node {at}: {:?}, not {wanted:?}", cluster.handle(at).status());
}

async fn until_quarantined(cluster: &TestCluster, id: u64) -> Quarantine {
    cluster.wait(id, |s| matches!(s.not_member, Some(NotMember::Quarantined(_)))).await;
    match cluster.handle(id).status().not_member {
        Some(NotMember::Quarantined(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn says_removed(why: &Quarantine) -> bool {
    matches!(why, Quarantine::Removed | Quarantine::Refused { refusal: HelloRefusal::Removed(_), .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_learns_everything_is_promoted_and_decides_with_the_others() {
    let mut cluster = formed().await;
    let first = cluster.handle(2).claim(vote(1, 1), PATIENCE).await.unwrap();
    let node = add(&mut cluster, 1).await;
    cluster.caught_up(node).await;
    let conflict = cluster.handle(node).claim(vote(1, 2), PATIENCE).await.unwrap();
    assert!(matches!(conflict.verdict, Verdict::Refused(Refusal::Equivocation { .. })));
    let repeat = cluster.handle(node).claim(vote(1, 1), PATIENCE).await.unwrap();
    assert_eq!(repeat.verdict, Verdict::Repeated { at: first.at, carry: Carry::default() });

    once_safe(&cluster.handle(1), Change::PromoteMember { node: NodeId(node) }).await;
    voters(&cluster, node, &[1, 2, 3, node]).await;
    // With one of the first three away it is needed, and it comes back after a restart.
    let away = if cluster.leader() == 3 { 2 } else { 3 };
    cluster.stop(away).await;
    assert_eq!(cluster.handle(node).claim(vote(2, 1), PATIENCE).await.unwrap().verdict, Verdict::Granted);
    cluster.start(away).await;
    cluster.wait_ready(&[away]).await;
    cluster.stop(node).await;
    cluster.start(node).await;
    cluster.wait_ready(&[node]).await;
    assert_eq!(cluster.handle(node).claim(vote(3, 1), PATIENCE).await.unwrap().verdict, Verdict::Granted);
    let view = cluster.handle(cluster.leader()).members();
    let joined = view.iter().find(|m| m.node == NodeId(node)).unwrap();
    assert_eq!((joined.wanted, joined.present), (Some(MemberRole::Voter), Some(MemberRole::Voter)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_is_replaced_and_is_refused_when_it_comes_back() {
    let mut cluster = formed().await;
    cluster.handle(1).claim(vote(1, 1), PATIENCE).await.unwrap();
    let dead = if cluster.leader() == 3 { 2 } else { 3 };
    let alive: Vec<u64> = (1..=3).filter(|id| *id != dead).collect();
    cluster.stop(dead).await;
    let node = add(&mut cluster, alive[0]).await;
    let handle = cluster.handle(alive[0]);
    let removal = Change::RemoveMember { node: NodeId(dead) };
    let early = change(&handle, removal.clone()).await.unwrap_err();
    assert!(matches!(early, ChangeError::Member(MemberError::TooFewVoters { left: 2, .. })), "{early}");
    once_safe(&handle, Change::PromoteMember { node: NodeId(node) }).await;
    voters(&cluster, alive[0], &[1, 2, 3, node]).await;
    once_safe(&handle, removal).await;
    let mut left = vec![alive[0], alive[1], node];
    left.sort_unstable();
    voters(&cluster, node, &left).await;

    cluster.start(dead).await;
    let why = until_quarantined(&cluster, dead).await;
    assert!(says_removed(&why), "{why}");
    assert_eq!(handle.claim(vote(2, 1), PATIENCE).await.unwrap().verdict, Verdict::Granted);
    // What was decided with the dead node is known without it, on the new one too.
    let conflict = cluster.handle(node).claim(vote(1, 2), PATIENCE).await.unwrap();
    assert!(matches!(conflict.verdict, Verdict::Refused(Refusal::Equivocation { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_removed_hands_over_first_and_falls_silent() {
    let mut cluster = formed().await;
    let node = add(&mut cluster, 1).await;
    once_safe(&cluster.handle(1), Change::PromoteMember { node: NodeId(node) }).await;
    voters(&cluster, 1, &[1, 2, 3, node]).await;
    let leader = cluster.leader();
    let other = 1 + leader % 3;
    once_safe(&cluster.handle(other), Change::RemoveMember { node: NodeId(leader) }).await;
    let why = until_quarantined(&cluster, leader).await;
    assert!(says_removed(&why), "{why}");
    cluster.wait(other, |s| s.leader.is_some_and(|l| l.0 != leader)).await;
    assert_eq!(cluster.handle(node).claim(vote(1, 1), PATIENCE).await.unwrap().verdict, Verdict::Granted);
    cluster.stop(leader).await;
    cluster.start(leader).await;
    assert!(says_removed(&until_quarantined(&cluster, leader).await), "after a restart too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_is_down_is_not_promoted_and_a_voter_that_is_needed_not_removed() {
    let mut cluster = formed().await;
    let node = add(&mut cluster, 1).await;
    cluster.caught_up(node).await;
    cluster.stop(node).await;
    let handle = cluster.handle(1);
    let promote = Change::PromoteMember { node: NodeId(node) };
    let refused = async {
        loop {
            // It counts as active until the leader has looked again.
            match change(
                &handle,
                Change::AddMember { peer_addr: "x:1".into(), token: [1; 32], replaces: None },
            )
            .await
            {
                Err(ChangeError::Member(MemberError::MemberChangeUnderWay { node: learner, .. })) => {
                    assert_eq!(learner, NodeId(node))
                }
                other => panic!("one at a time: {other:?}"),
            }
            let leader = cluster.handle(cluster.leader());
            let active = leader
                .members()
                .into_iter()
                .find(|m| m.node == NodeId(node))
                .unwrap()
                .progress
                .unwrap()
                .active;
            if !active {
                return change(&handle, promote.clone()).await.unwrap_err();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert_eq!(
        refused,
        ChangeError::Member(MemberError::MemberHazard {
            node: NodeId(node),
            hazard: MemberHazard::NotActive
        })
    );
    cluster.start(node).await;
    cluster.wait_ready(&[node]).await;
    once_safe(&handle, promote).await;
    voters(&cluster, 1, &[1, 2, 3, node]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_while_everybody_it_knew_was_replaced_finds_the_cluster_again() {
    let mut cluster = formed().await;
    let away = if cluster.leader() == 3 { 2 } else { 3 };
    let mut present: Vec<u64> = (1..=3).filter(|id| *id != away).collect();
    let gone = present.clone();
    let mut via = present[0];
    for old in gone {
        let node = add(&mut cluster, via).await;
        once_safe(&cluster.handle(via), Change::PromoteMember { node: NodeId(node) }).await;
        present.push(node);
        if cluster.nodes.contains_key(&away) {
            cluster.stop(away).await; // it knows of the first newcomer at most
        }
        via = node;
        once_safe(&cluster.handle(via), Change::RemoveMember { node: NodeId(old) }).await;
        until_quarantined(&cluster, old).await;
        cluster.stop(old).await;
        present.retain(|id| *id != old);
    }
    cluster.start(away).await;
    cluster.wait_ready(&[away]).await;
    // Perhaps sent again, while streams are new: then the second is a repeat of the first.
    assert!(cluster.handle(away).claim(vote(1, 1), PATIENCE).await.unwrap().verdict.may_sign());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_joined_and_was_wiped_does_not_come_back_under_its_id() {
    let mut cluster = formed().await;
    let node = add(&mut cluster, 1).await;
    once_safe(&cluster.handle(1), Change::PromoteMember { node: NodeId(node) }).await;
    voters(&cluster, node, &[1, 2, 3, node]).await;
    cluster.stop(node).await;
    let dir = cluster.data_dir(node);
    let refused = identity::create_joined(&dir, CLUSTER, NodeId(node)).unwrap_err();
    assert!(matches!(refused, StoreError::NotEmpty(_)), "{refused}");
    fs::remove_dir_all(&dir).unwrap();
    identity::create_joined(&dir, CLUSTER, NodeId(node)).unwrap();
    cluster.start(node).await;
    until_quarantined(&cluster, node).await;
    assert_eq!(cluster.handle(1).claim(vote(1, 1), PATIENCE).await.unwrap().verdict, Verdict::Granted);
}
