//! Three real nodes (RocksDB, TLS, threads) in one process: they agree, forget nothing, and notice who did.

mod common;

use common::*;
use signonce_cluster::{Foreseen, Handle, NotReady, StartError, StoreError, SubmitError};
use signonce_core::replica::NotMember;
use signonce_core::replica::fence::Quarantine;
use signonce_core::{Change, Claim, Refusal, Verdict};
use signonce_protocol::{Carry, ChainId, KeyId, PublicKey};
use signonce_substrate::{ED25519, GRANDPA};
use std::fs;

/// Whether a node gives the signature out without asking the log.
fn knows(handle: &Handle, claim: &Claim) -> bool {
    let foreseen = handle.view(|view| view.foresee(claim));
    matches!(foreseen, Foreseen::Known(decision) if decision.grant.is_some())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_granted_once_repeated_for_ever_and_refused_with_other_bytes_on_every_node() {
    let cluster = TestCluster::started().await;
    provision(&cluster.handle(1)).await;
    let first = cluster.handle(2).claim(vote(1, 0xaa), PATIENCE).await.unwrap();
    assert_eq!(first.verdict, Verdict::Granted);
    for id in 1..=3 {
        let handle = cluster.handle(id);
        let repeat = handle.claim(vote(1, 0xaa), PATIENCE).await.unwrap();
        assert_eq!(repeat.verdict, Verdict::Repeated { at: first.at, carry: Carry::default() }, "node {id}");
        let grant = repeat.grant.expect("a repeat may be signed again");
        let covers = |digest, carry: &[u8]| {
            grant.covers(&grandpa_key(), &vote(1, digest).digest, &Carry::new(carry.to_vec()))
        };
        assert!(covers(0xaa, &[]));
        assert!(!covers(0xbb, &[]));
        assert!(!covers(0xaa, &[1]), "something was beside it that was not the first time");

        let conflict = handle.claim(vote(1, 0xbb), PATIENCE).await.unwrap();
        assert!(matches!(conflict.verdict, Verdict::Refused(Refusal::Equivocation { .. })), "node {id}");
        assert!(conflict.grant.is_none());
        assert!(knows(&handle, &vote(1, 0xaa)), "node {id} knows by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_forms_only_when_every_initial_member_is_present() {
    let mut cluster = TestCluster::new();
    cluster.start(1).await;
    cluster.start(2).await;
    let waits_for_3 = |s: &signonce_core::replica::ReplicaStatus| {
        s.not_member == Some(NotMember::Forming(vec![signonce_protocol::NodeId(3)]))
    };
    cluster.wait(1, waits_for_3).await;
    cluster.wait(2, waits_for_3).await;
    let refused = cluster.handle(1).claim(vote(1, 1), PATIENCE).await.unwrap_err();
    assert!(matches!(refused, SubmitError::NotReady(NotReady::Forming(_))), "{refused}");
    cluster.start(3).await;
    cluster.wait_ready(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_of_all_every_duty_is_still_known() {
    let mut cluster = TestCluster::started().await;
    provision(&cluster.handle(1)).await;
    let granted = cluster.handle(3).claim(vote(1, 1), PATIENCE).await.unwrap();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.wait_ready(&[1, 2, 3]).await;
    let repeat = cluster.handle(2).claim(vote(1, 1), PATIENCE).await.unwrap();
    assert_eq!(repeat.verdict, Verdict::Repeated { at: granted.at, carry: Carry::default() });
    let conflict = cluster.handle(2).claim(vote(1, 2), PATIENCE).await.unwrap();
    assert!(matches!(conflict.verdict, Verdict::Refused(Refusal::Equivocation { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_with_its_old_identity_is_refused_and_the_others_go_on() {
    let mut cluster = TestCluster::started().await;
    provision(&cluster.handle(1)).await;
    cluster.handle(1).claim(vote(1, 1), PATIENCE).await.unwrap();
    let victim = if cluster.leader() == 3 { 2 } else { 3 };
    cluster.stop(victim).await;

    fs::remove_dir_all(cluster.data_dir(victim).join("db")).unwrap();
    let refused = cluster.try_start(victim).await.map(drop).unwrap_err();
    assert!(matches!(refused, StartError::Store(StoreError::Missing(_))), "{refused}");

    fs::remove_dir_all(cluster.data_dir(victim)).unwrap();
    cluster.init(victim);
    cluster.start(victim).await;
    cluster.wait(victim, |s| matches!(s.not_member, Some(NotMember::Quarantined(_)))).await;
    let other = cluster.handle(1 + victim % 3);
    assert!(matches!(other.claim(vote(2, 1), PATIENCE).await.unwrap().verdict, Verdict::Granted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_restored_from_a_copy_is_noticed_by_the_peers() {
    let mut cluster = TestCluster::started().await;
    provision(&cluster.handle(1)).await;
    let victim = if cluster.leader() == 3 { 2 } else { 3 };
    cluster.stop(victim).await;
    let (data, copy) = (cluster.data_dir(victim), cluster.dir.path().join("copy"));
    copy_dir(&data, &copy);
    cluster.start(victim).await;
    cluster.wait_ready(&[victim]).await;
    for round in 1..20 {
        cluster.handle(victim).claim(vote(round, 1), PATIENCE).await.unwrap();
    }
    cluster.stop(victim).await;
    fs::remove_dir_all(&data).unwrap();
    copy_dir(&copy, &data);
    cluster.start(victim).await;
    cluster.wait(victim, |s| matches!(s.not_member, Some(NotMember::Quarantined(_)))).await;
    let Some(NotMember::Quarantined(why)) = cluster.handle(victim).status().not_member else {
        unreachable!()
    };
    let known = matches!(why, Quarantine::LostMemory { .. } | Quarantine::Refused { .. });
    assert!(known, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_missed_more_than_the_log_keeps_takes_a_snapshot_and_agrees() {
    let mut cluster = TestCluster::new();
    cluster.log_bytes_max = 16 << 10;
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.wait_ready(&[1, 2, 3]).await;
    provision(&cluster.handle(1)).await;
    let away = if cluster.leader() == 3 { 2 } else { 3 };
    cluster.stop(away).await;
    let handle = cluster.handle(1);
    for round in 1..3000 {
        handle.claim(vote(round, 1), PATIENCE).await.unwrap();
    }
    cluster.start(away).await;
    cluster.wait_ready(&[away]).await;
    cluster.caught_up(away).await;
    assert!(knows(&cluster.handle(away), &vote(2999, 1)));
    let conflict = cluster.handle(away).claim(vote(2999, 2), PATIENCE).await.unwrap();
    assert!(matches!(conflict.verdict, Verdict::Refused(Refusal::Equivocation { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_travels_as_records_into_a_file_and_leaves_none_behind() {
    let mut cluster = TestCluster::new();
    cluster.log_bytes_max = 16 << 10;
    for id in 1..=3 {
        cluster.start(id).await;
    }
    cluster.wait_ready(&[1, 2, 3]).await;
    let handle = cluster.handle(1);
    provision(&handle).await;
    let away = if cluster.leader() == 3 { 2 } else { 3 };
    cluster.stop(away).await;
    // More than one part: every key has a long envelope.
    for n in 0..64 {
        let key = large_key(n);
        handle.change("test".into(), key, PATIENCE).await.unwrap().unwrap();
    }
    for round in 1..1200 {
        handle.claim(vote(round, 1), PATIENCE).await.unwrap();
    }
    cluster.start(away).await;
    cluster.wait_ready(&[away]).await;
    cluster.caught_up(away).await;
    let hash = |handle: &Handle| handle.read(|state| (state.hash(), state.keys().count()));
    assert_eq!(hash(&cluster.handle(away)), hash(&cluster.handle(cluster.leader())));
    let incoming = cluster.data_dir(away).join("incoming");
    assert!(incoming.exists(), "it came as records");
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0, "and is not kept once it is installed");
    let conflict = cluster.handle(away).claim(vote(1199, 2), PATIENCE).await.unwrap();
    assert!(matches!(conflict.verdict, Verdict::Refused(Refusal::Equivocation { .. })));
    // What was installed is what the next start reads.
    cluster.stop(away).await;
    cluster.start(away).await;
    cluster.wait_ready(&[away]).await;
    cluster.caught_up(away).await;
    assert_eq!(hash(&cluster.handle(away)), hash(&cluster.handle(cluster.leader())));
}

fn large_key(n: u8) -> Change {
    let public = PublicKey::try_from(&[n.wrapping_add(100); 32][..]).unwrap();
    Change::RegisterKey {
        id: KeyId { key_type: GRANDPA, public },
        scheme: ED25519,
        chain: ChainId([3; 32]),
        group: None,
        sealed: signonce_core::Envelope::from(vec![n; 8 << 10]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_on_request_and_requests_under_way_are_answered() {
    let cluster = TestCluster::started().await;
    provision(&cluster.handle(1)).await;
    let old = cluster.leader();
    let handle = cluster.handle(old);
    let storm: Vec<_> = (1..200u64)
        .map(|round| {
            let handle = cluster.handle(1 + round % 3);
            tokio::spawn(async move { handle.claim(vote(round, 1), PATIENCE).await })
        })
        .collect();
    let heir = handle.transfer_leadership(None, PATIENCE).await;
    assert!(heir.is_some_and(|h| h.0 != old));
    for claim in storm {
        assert_eq!(claim.await.unwrap().unwrap().verdict, Verdict::Granted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_outcome_is_unknown_or_not_ready_but_never_a_refusal() {
    let mut cluster = TestCluster::started().await;
    provision(&cluster.handle(1)).await;
    let leader = cluster.leader();
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.stop(id).await;
    }
    let handle = cluster.handle(leader);
    let short = std::time::Duration::from_millis(300);
    let error = handle.claim(vote(1, 1), short).await.unwrap_err();
    assert_eq!(error, SubmitError::Unknown);
    cluster.wait(leader, |s| s.leader.is_none()).await;
    let error = handle.claim(vote(2, 1), short).await.unwrap_err();
    assert_eq!(error, SubmitError::NotReady(NotReady::NoLeader));
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_say_nothing_keep_no_peer_out() {
    let mut cluster = TestCluster::started().await;
    cluster.stop(3).await;
    // More than there are places, to both that have to answer, and more whenever some are hung up on.
    let addresses = cluster.peers[..2].iter().map(|peer| peer.address.clone());
    let floods: Vec<_> = addresses
        .flat_map(|address| vec![address; 300])
        .map(|address| {
            tokio::spawn(async move {
                loop {
                    let Ok(mut stream) = tokio::net::TcpStream::connect(&address).await else { continue };
                    let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await;
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
            })
        })
        .collect();
    cluster.start(3).await;
    cluster.wait_ready(&[3]).await;
    floods.iter().for_each(tokio::task::JoinHandle::abort);
    let counts = &cluster.nodes[&1].metrics().peer_places;
    assert!(counts.crowded.get() > 0, "strangers gave way: {counts:?}");
    assert_eq!(counts.displaced.get(), 0);
}
