//! Where the leader is, and what it does by itself.

use crate::common::{PATIENCE, World, run, until};
use signonce_cli::{
    commands::demo::chain,
    dev::{DevKey, Signal},
};
use signonce_core::{Change, KeyState};
use signonce_keys::{Recipient, SecretKey, seal};
use signonce_protocol::{
    KeyId,
    rpc::{SignParams, SignVerdict},
};
use signonce_shared::enroll::new_key_floors;
use signonce_substrate::{ED25519, GRANDPA, GrandpaStage, Round, SetId};
use std::process::Output;

fn operate(world: &World, node: u64, arguments: &[&str]) -> Output {
    let admin = format!("unix:{}", world.cluster.admin_socket(node).display());
    run(&[arguments, &["--yes", "--admin", &admin]].concat())
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn follower_of(world: &World, leader: u64) -> u64 {
    world.cluster.node_ids().into_iter().find(|node| *node != leader).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_the_operator_says_and_only_from_the_leader() {
    let world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let heir = follower_of(&world, leader);
    let refused = operate(&world, heir, &["leader", "transfer"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(said(&refused).contains("does not lead; ask the leader"), "{}", said(&refused));
    let refused = operate(&world, leader, &["leader", "transfer", "77"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let done = operate(&world, leader, &["leader", "transfer", &heir.to_string()]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains(&format!("Node {heir} leads.")), "{}", said(&done));
    until("it leads", async || world.cluster.leader().await.filter(|leader| *leader == heir)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_leader_comes_back_after_its_restart_and_a_pin_to_nowhere_is_refused() {
    let mut world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let pinned = follower_of(&world, leader);
    let refused = operate(&world, leader, &["leader", "pin", "--zone", "nowhere"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("no node is in zone \"nowhere\""), "{}", said(&refused));
    let refused = operate(&world, leader, &["leader", "pin", "--node", "77"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("node 77 is not a member"), "{}", said(&refused));
    assert_eq!(operate(&world, leader, &["leader", "pin"]).status.code(), Some(2));

    let done = operate(&world, leader, &["leader", "pin", "--node", &pinned.to_string()]);
    assert!(done.status.success(), "{}", said(&done));
    let leads = async || world.cluster.leader().await.filter(|leader| *leader == pinned);
    until("leadership goes to the pinned node", leads).await;
    let shown =
        said(&run(&["status", "--admin", &format!("unix:{}", world.cluster.admin_socket(leader).display())]));
    assert!(shown.contains(&format!("pinned to node {pinned}")), "{shown}");

    world.cluster.signal(pinned, Signal::Term).unwrap();
    assert!(world.cluster.wait_exit(pinned, PATIENCE).unwrap().success());
    world.leader_other_than(Some(pinned)).await;
    world.cluster.start_node(pinned).unwrap();
    world.cluster.wait_ready(PATIENCE).await.unwrap();
    let leads = async || world.cluster.leader().await.filter(|leader| *leader == pinned);
    until("leadership comes back", leads).await;
    let done = operate(&world, pinned, &["leader", "pin", "--none"]);
    assert!(done.status.success(), "{}", said(&done));
    assert_eq!(world.cluster.admin(pinned).status().await.unwrap().leader_pin, None);
}

/// A key that was sealed when some members were not asked for: the race of an import with a member that joins.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_sealed_for_too_few_is_sealed_again_and_signs_the_same_bytes_on_every_node() {
    let world = World::start(&["v1"]).await;
    let leader = world.leader_other_than(None).await;
    let admin = world.cluster.admin(leader);
    let rows = admin.members().await.unwrap();
    let own = rows.iter().find(|row| row.node.0 == leader).unwrap().announced.as_ref().unwrap();
    let recipient: Recipient = own.recipient.parse().unwrap();
    let chain_row = admin.chains().await.unwrap().remove(0);
    let secret = SecretKey::generate(ED25519).unwrap();
    let id = KeyId { key_type: GRANDPA, public: secret.public() };
    let sealed = seal(&secret, &id, &chain_row.genesis, &[recipient]).unwrap().into_bytes().into();
    let group = Some("late".to_owned());
    let register = Change::RegisterKey { id, scheme: ED25519, chain: chain_row.genesis, group, sealed };
    admin.change(&register).await.unwrap();
    let floors = new_key_floors(GRANDPA, chain_row.clock(), 0);
    admin.change(&Change::ArmKey { id, floors }).await.unwrap();

    for node in world.cluster.node_ids() {
        let admin = world.cluster.admin(node);
        let row = until("every node opens it", async || {
            let rows = admin.keys().await.unwrap();
            rows.into_iter().find(|row| row.id == id && row.unlocked && row.not_sealed_for.is_empty())
        })
        .await;
        assert_eq!(row.state, KeyState::Armed);
        assert!(admin.status().await.unwrap().locked.is_empty());
    }
    let vote = chain::vote(SetId(1), Round(1), GrandpaStage::Prevote, 1, chain::Flavour(0));
    let key = DevKey { key_type: GRANDPA, scheme: ED25519, public: id.public, group: "late".into() };
    let mut signatures = Vec::new();
    for node in world.cluster.node_ids() {
        let params = SignParams { key: key.public, ..world.params(GRANDPA, &vote) };
        let reply = world.client_of("v1", node).sign(&params).await.unwrap();
        assert!(matches!(reply.verdict, SignVerdict::Granted | SignVerdict::Repeated));
        signatures.push(reply.signature.0.clone());
    }
    signatures.dedup();
    assert_eq!(signatures.len(), 1);
    let log = std::fs::read_to_string(world.cluster.log_path(leader)).unwrap();
    assert!(log.contains("keys sealed again for the members"), "{log}");
}
