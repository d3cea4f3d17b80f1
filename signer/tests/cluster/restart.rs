//! Planned restarts: nobody notices.

use crate::{common::PATIENCE, steady::Steady};
use signonce_cli::dev::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_hands_over_leadership_without_a_failed_request() {
    let (mut world, steady) = Steady::begin().await;
    steady.serves(100).await;
    for _ in 0..2 {
        let leader = world.cluster.leader().await.unwrap();
        world.cluster.signal(leader, Signal::Term).unwrap();
        let status = world.cluster.wait_exit(leader, PATIENCE).unwrap();
        assert!(status.success(), "{status}");
        let heir = world.leader_other_than(Some(leader)).await;
        assert_ne!(heir, leader);
        let log = std::fs::read_to_string(world.cluster.log_path(leader)).unwrap();
        assert!(log.contains("leadership handed over"), "it was handed over, not lost:\n{log}");
        steady.serves(100).await;
        world.cluster.start_node(leader).unwrap();
        world.cluster.wait_ready(PATIENCE).await.unwrap();
    }
    steady.serves(100).await;
    steady.end().await;
}
