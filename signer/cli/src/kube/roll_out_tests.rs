//! Pods that are replaced, by the rule alone and against a made-up API.

use super::*;
use crate::kube::made_up::{MadeUp, Objects, object};
use serde_json::json;
use std::{cell::RefCell, rc::Rc};

const PODS: &str = "/api/v1/namespaces/signers/pods";
const SETS: &str = "/apis/apps/v1/namespaces/signers/statefulsets";
const MAPS: &str = "/api/v1/namespaces/signers/configmaps";

fn pod(ordinal: u32) -> Pod {
    Pod {
        name: format!("s-{ordinal}"),
        uid: Some(format!("uid-{ordinal}")),
        current: false,
        going: false,
        away: None,
        stuck: false,
        leads: false,
    }
}

fn away(pod: Pod) -> Pod {
    Pod { away: Some("not ready".into()), ..pod }
}

fn current(pod: Pod) -> Pod {
    Pod { current: true, ..pod }
}

#[test]
fn while_all_are_ready_one_goes_the_leader_last() {
    let leader = Pod { leads: true, ..pod(2) };
    let pods = [pod(0), pod(1), leader.clone()];
    assert_eq!(next(&pods, true), Step::Replace(&pods[1]));
    let pods = [pod(0), current(pod(1)), leader.clone()];
    assert_eq!(next(&pods, true), Step::Replace(&pods[0]));
    let pods = [current(pod(0)), current(pod(1)), leader];
    assert_eq!(next(&pods, true), Step::Replace(&pods[2]));
    let pods = [0, 1, 2].map(|ordinal| current(pod(ordinal)));
    assert_eq!(next(&pods, true), Step::Done);
}

/// Every state of three pods: what goes never leaves two away, and nothing goes beside one that is away.
#[test]
fn in_a_cluster_that_has_formed_no_pod_goes_while_another_is_away() {
    let states = |ordinal| {
        let new = pod(ordinal);
        let stuck = Pod { stuck: true, ..away(pod(ordinal)) };
        let gone = Pod { uid: None, ..away(pod(ordinal)) };
        let going = Pod { going: true, ..away(pod(ordinal)) };
        [
            new.clone(),
            away(new),
            stuck.clone(),
            gone,
            going,
            current(pod(ordinal)),
            current(away(pod(ordinal))),
            current(stuck),
        ]
    };
    let mut replaced = 0;
    for a in states(0) {
        for b in states(1) {
            for c in states(2) {
                let pods = [a.clone(), b.clone(), c.clone()];
                match next(&pods, true) {
                    Step::Replace(pod) => {
                        replaced += 1;
                        let others = pods.iter().filter(|other| other.name != pod.name);
                        assert!(others.clone().all(|other| other.away.is_none()), "{pod:?} of {pods:?}");
                        assert!(!pod.current && !pod.going && pod.uid.is_some(), "{pod:?}");
                        assert!(pod.away.is_none() || pod.stuck, "a pod that may come by itself: {pod:?}");
                    }
                    Step::Refuse(away) => assert!(!away.is_empty(), "{pods:?}"),
                    Step::Done => {
                        assert!(pods.iter().all(|p| p.current || p.going || p.uid.is_none()), "{pods:?}")
                    }
                    Step::Unformed(pod) => panic!("the cluster has formed: {pod:?}"),
                }
            }
        }
    }
    assert!(replaced > 0);
}

#[test]
fn a_pod_that_cannot_start_as_it_is_gets_the_new_template_if_all_others_are_ready() {
    let stuck = Pod { stuck: true, ..away(pod(1)) };
    let pods = [pod(0), stuck.clone(), pod(2)];
    assert_eq!(next(&pods, true), Step::Replace(&pods[1]));
    let pods = [pod(0), stuck.clone(), away(pod(2))];
    assert_eq!(next(&pods, true), Step::Refuse(vec![&pods[1], &pods[2]]));
    let pods = [pod(0), current(stuck), pod(2)];
    assert_eq!(next(&pods, true), Step::Refuse(vec![&pods[1]]), "the new template does not help it");
}

#[test]
fn before_there_is_a_cluster_whatever_is_not_ready_gets_the_new_template() {
    let pods = [0, 1, 2].map(|ordinal| away(pod(ordinal)));
    assert_eq!(next(&pods, false), Step::Unformed(&pods[2]));
    assert_eq!(next(&pods, true), Step::Refuse(pods.iter().collect()));
}

/// Three pods of the old revision, ready, of a cluster that has formed.
async fn cluster() -> MadeUp {
    let world = MadeUp::start().await;
    world.put(SETS, "s", set(2, 2, "new"));
    world.put(MAPS, "state", json!({ "data": { "formed": "true" } }));
    for ordinal in 0..3 {
        world.put(PODS, &format!("s-{ordinal}"), running(ordinal, "old", true));
    }
    world.on_gone(|path, name, objects| {
        let ordinal = name.rsplit_once('-').unwrap().1.parse().unwrap();
        objects.insert(path.into(), running(ordinal, "new", true));
    });
    world
}

fn set(generation: u64, observed: u64, revision: &str) -> Value {
    json!({
        "metadata": { "generation": generation }, "spec": { "replicas": 3 },
        "status": { "observedGeneration": observed, "updateRevision": revision },
    })
}

fn running(ordinal: u32, revision: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "metadata": {
            "name": format!("s-{ordinal}"), "uid": format!("{revision}-{ordinal}"),
            "labels": { "controller-revision-hash": revision },
        },
        "status": {
            "phase": "Running", "podIP": format!("10.0.0.{ordinal}"),
            "conditions": [{ "type": "Ready", "status": ready }],
        },
    })
}

fn pending(ordinal: u32) -> Value {
    let mut pod = running(ordinal, "old", false);
    pod["status"] = json!({
        "phase": "Pending",
        "conditions": [{ "type": "PodScheduled", "status": "False", "message": "0/2 nodes are available" }],
    });
    pod
}

async fn roll(world: &MadeUp, seconds: u64) -> Result<Vec<String>, RollOutError> {
    roll_with(world, seconds, async |_: &str| Ok(false)).await
}

async fn roll_with(
    world: &MadeUp,
    seconds: u64,
    probe: impl AsyncFn(&str) -> Result<bool, String>,
) -> Result<Vec<String>, RollOutError> {
    let timeout = Duration::from_secs(seconds);
    let set = Set { namespace: "signers", name: "s", state: "state", timeout };
    run(&world.api(), &set, probe, |_| ()).await
}

#[tokio::test]
async fn every_old_pod_is_evicted_once_and_the_leader_last() {
    let world = cluster().await;
    let leads = async |address: &str| Ok(address == "10.0.0.2");
    assert_eq!(roll_with(&world, 60, leads).await.unwrap(), ["s-1", "s-0", "s-2"]);
    assert_eq!(world.done(), ["evict s-1", "evict s-0", "evict s-2"]);
    assert!(roll(&world, 60).await.unwrap().is_empty(), "a second run finds nothing to do");
    assert_eq!(world.done().len(), 3);
}

#[tokio::test]
async fn while_a_pod_is_away_nothing_is_replaced_and_it_is_named_and_after_its_return_all_are() {
    let world = cluster().await;
    world.put(PODS, "s-0", pending(0));
    let error = roll(&world, 1).await.unwrap_err().to_string();
    for part in [
        "s-0 is away: not ready (Pending, 0/2 nodes are available)",
        "Nothing was replaced",
        "kubectl describe pod s-0",
        "docs/operate/kubernetes.md",
        "upgrade again",
    ] {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
    assert!(world.done().is_empty(), "{:?}", world.done());
    world.put(PODS, "s-0", running(0, "old", true));
    assert_eq!(roll(&world, 60).await.unwrap(), ["s-2", "s-1", "s-0"]);
}

#[tokio::test]
async fn a_pod_that_is_not_there_or_being_deleted_is_away() {
    let world = cluster().await;
    world.remove(PODS, "s-2");
    let error = roll(&world, 1).await.unwrap_err().to_string();
    assert!(error.contains("s-2 is away: it is not there"), "{error}");
    let mut going = running(2, "old", true);
    going["metadata"]["deletionTimestamp"] = json!("2026-11-30T00:00:00Z");
    world.put(PODS, "s-2", going);
    let error = roll(&world, 1).await.unwrap_err().to_string();
    assert!(error.contains("s-2 is away: it is being deleted"), "{error}");
    assert!(world.done().is_empty());
}

/// The API still calls it ready; the signer itself knows better.
#[tokio::test]
async fn a_pod_whose_own_probe_says_no_is_away() {
    let world = cluster().await;
    let fenced =
        async |address: &str| if address == "10.0.0.1" { Err("fenced".to_owned()) } else { Ok(false) };
    let error = roll_with(&world, 1, fenced).await.unwrap_err().to_string();
    assert!(error.contains("s-1 is away: fenced"), "{error}");
    assert!(world.done().is_empty());
}

#[tokio::test]
async fn what_does_not_come_back_stays_the_only_one_that_was_touched() {
    let world = cluster().await;
    world.on_gone(|path, _, objects| {
        objects.insert(path.into(), running(2, "new", false));
    });
    let error = roll(&world, 1).await.unwrap_err().to_string();
    for part in [
        "s-2 was replaced and is not ready",
        "Replaced so far: s-2",
        "none of them is touched",
        "kubectl logs s-2",
    ] {
        assert!(error.contains(part), "{part:?} is missing: {error}");
    }
    assert_eq!(world.done(), ["evict s-2"]);
}

#[tokio::test]
async fn the_budget_is_waited_for_and_never_passed_by() {
    let world = cluster().await;
    world.budget_refuses(2);
    assert_eq!(roll(&world, 60).await.unwrap(), ["s-2", "s-1", "s-0"]);
    let world = cluster().await;
    world.budget_refuses(u32::MAX);
    let error = roll(&world, 1).await.unwrap_err().to_string();
    assert!(error.contains("s-2 may not be evicted") && error.contains("disruption budget"), "{error}");
    assert!(world.done().is_empty());
}

#[tokio::test]
async fn nothing_is_judged_by_what_the_controller_has_not_looked_at_yet() {
    let world = cluster().await;
    world.put(SETS, "s", set(3, 2, "old"));
    let looks = Rc::new(RefCell::new(0));
    let error = roll_with(&world, 1, async |_: &str| {
        *looks.borrow_mut() += 1;
        Ok(false)
    });
    assert!(matches!(error.await, Err(RollOutError::Away { .. })));
    assert_eq!(*looks.borrow(), 0);
    assert!(world.done().is_empty());
}

#[tokio::test]
async fn pods_that_never_became_ready_are_deleted_without_asking_the_budget() {
    let world = cluster().await;
    world.put(MAPS, "state", json!({ "data": {} }));
    for ordinal in 0..3 {
        world.put(PODS, &format!("s-{ordinal}"), pending(ordinal));
    }
    world.budget_refuses(u32::MAX);
    world.on_gone(|path, name, objects: &mut Objects| {
        assert_eq!(path, object(PODS, name));
        let ordinal = name.rsplit_once('-').unwrap().1.parse().unwrap();
        objects.insert(path.into(), running(ordinal, "new", false));
    });
    assert_eq!(roll(&world, 60).await.unwrap(), ["s-2", "s-1", "s-0"]);
    assert_eq!(world.done(), ["delete s-2", "delete s-1", "delete s-0"]);
}
