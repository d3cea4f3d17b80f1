//! Situations worth a name: what the simulator has found, and what the fence is for.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use signonce_core::replica::Role;
use signonce_core::{Change, Fingerprint};
use signonce_sim::disk::Loss;
use signonce_sim::environment::{Task, Want};
use signonce_sim::mutation::Mutation;
use signonce_sim::run::{caught, finish, run};
use signonce_sim::setup::{MS, Micros, Op, Options, Profile, SECOND, Setup};
use signonce_sim::work::draw_wishes;
use signonce_sim::world::World;

fn options(nodes: usize, profile: Profile, seed: u64) -> Options {
    Options { seed, nodes, profile, mutation: None, only: None, log: false }
}

/// A cluster that has formed, on a sound network, with nothing scheduled.
fn formed(nodes: usize, seed: u64) -> World {
    let options = options(nodes, Profile::Storage, seed);
    let mut setup = Setup::draw(&options);
    (setup.lost, setup.doubled, setup.late, setup.lazy) = (0, 0, 0, 0);
    setup.delay = (200, 2 * MS);
    let mut world = World::with(options, setup, Vec::new());
    world.provision();
    world.run_for(SECOND);
    world.environment.calm = false;
    world
}

fn leader(world: &World) -> usize {
    let leads = |process: &signonce_sim::process::Process| process.replica().status().role == Role::Leader;
    let machine = world.machines.iter().find(|machine| machine.process.as_ref().is_some_and(leads));
    machine.expect("a healthy cluster has a leader").number
}

/// Validators work for a while; with `only`, they all ask this node.
fn work(world: &mut World, time: Micros, only: Option<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(world.environment.options.seed);
    let (keys, nodes) = (world.environment.setup.keys.clone(), world.environment.options.nodes);
    for _ in 0..time.div_ceil(20 * MS) {
        for (_, mut wish) in draw_wishes(&mut rng, &keys, world.environment.now, nodes) {
            wish.node = only.unwrap_or(wish.node);
            world.op(&Op::Ask(wish));
        }
        world.run_for(20 * MS);
    }
}

fn crash(node: usize, down: Micros) -> Op {
    Op::Crash { node, loss: Loss::Power(0), after_outputs: None, down }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for (nodes, profile) in [(3, Profile::Basic), (5, Profile::Full), (3, Profile::Storage)] {
        let fingerprint = |seed| run(&options(nodes, profile, seed)).fingerprint;
        assert_eq!(fingerprint(7), fingerprint(7));
        assert_ne!(fingerprint(7), fingerprint(8));
    }
}

#[test]
fn a_rolled_back_disk_is_caught_by_the_fence() {
    for seed in 0..10 {
        let mut world = formed(3, seed);
        let victim = (leader(&world) + 1) % 3;
        world.op(&Op::Rollback { node: victim, age: SECOND, down: 10 * MS, all: true });
        work(&mut world, 3 * SECOND, None);
        let why = world.machines[victim].halted.clone().unwrap_or_default();
        assert!(why.contains("remembers that this node promised"), "seed {seed}: {why:?}");
        world.heal();
    }
}

#[test]
fn damage_to_what_was_durable_is_noticed_by_the_store_or_its_peers_or_harms_nobody() {
    // The power goes, and of what an fsync had covered a page is damaged: recovery stops before it. What lies behind
    // it tells, or the file beside the store, or a peer. Where none of them does, others hold what was forgotten, and
    // the node votes for nobody who does not.
    let (mut by_itself, mut by_peers, mut by_nobody) = (0, 0, 0);
    for seed in 0..80 {
        let mut world = formed(3, seed);
        let victim = (leader(&world) + 1) % 3;
        work(&mut world, SECOND + seed * 17 * MS, None);
        let back = [1, 2, 5, 20][seed as usize % 4];
        world.op(&Op::Damage { node: victim, back, down: 10 * MS });
        if seed % 2 == 0 {
            world.op(&Op::CrashAll { loss: Loss::Power(300), down: 20 * MS });
        }
        work(&mut world, 3 * SECOND, None);
        match &world.machines[victim].halted {
            Some(why) if why.contains("it was durable, it holds") => by_itself += 1,
            Some(why) => {
                let known = why.contains("remembers that this node promised") || why.contains("identity");
                assert!(known, "seed {seed}: {why}");
                by_peers += 1;
            }
            None => by_nobody += 1,
        }
        world.heal();
        world.judge_the_end();
    }
    println!("noticed by itself {by_itself}, by peers {by_peers}, by nobody {by_nobody}");
    assert!(by_itself > 40, "by itself {by_itself}, by peers {by_peers}, by nobody {by_nobody}");
}

#[test]
fn a_power_cut_that_leaves_holes_in_every_log_ends_nothing() {
    for seed in 0..40 {
        let mut world = formed(3, seed);
        for cut in 0..5 {
            work(&mut world, 700 * MS, None);
            let loss = Loss::Power((seed * 131 + cut * 197) as u16 % 1_000);
            world.op(&Op::CrashAll { loss, down: 20 * MS });
        }
        world.heal();
        assert!(world.machines.iter().all(|machine| machine.halted.is_none()), "seed {seed}");
        world.judge_the_end();
    }
}

#[test]
fn a_rolled_back_disk_that_only_the_lost_leader_remembers_never_makes_two_of_a_duty() {
    // What the leader, the victim and one ally agreed on, the other two have not heard of. Then the leader is lost,
    // with its memory of what the victim acknowledged, and the victim's disk is rolled back.
    for seed in 0..40 {
        let mut world = formed(5, seed);
        let leader = leader(&world);
        let [victim, ally, deaf, deaf_too] = [1, 2, 3, 4].map(|n| (leader + n) % 5);
        let (heard, not) = (vec![leader, victim, ally], vec![deaf, deaf_too]);
        let lasts = (200 + seed * 40) * MS;
        world.op(&Op::Cut { from: heard.clone(), to: not.clone(), lasts });
        world.op(&Op::Cut { from: not, to: heard, lasts });
        world.op(&Op::Rollback { node: victim, age: lasts, down: 10 * MS, all: true });
        work(&mut world, lasts, None);
        world.op(&crash(leader, 5 * SECOND));
        work(&mut world, 6 * SECOND, None);
        world.heal();
        world.judge_the_end();
    }
}

#[test]
fn of_two_machines_under_one_id_the_older_does_not_take_the_votes_for_the_newer() {
    // A copy that has lost nothing is let in as a new life. Peers then listen to it alone, but their streams may still
    // lead to the older machine, which stands in the same term: it took the answers for its own.
    signonce_sim::run::keep_panics_quiet();
    let (seed, broken) = caught(Mutation::LifeUnread, 0..1_000, options(3, Profile::Storage, 0))
        .expect("some schedule brings both to stand in one term");
    assert!(broken.contains("two leaders"), "seed {seed}: {broken}");

    assert_eq!(with_the_guard(Mutation::LifeUnread, seed), None, "the same schedule, with the guard");
}

/// What the same schedule breaks where the guard is in its place.
fn with_the_guard(mutation: Mutation, seed: u64) -> Option<String> {
    let profile = if mutation.damages_storage() { Profile::Storage } else { Profile::Full };
    let guarded = options(mutation.nodes(), profile, seed);
    let unguarded = Options { mutation: Some(mutation), ..guarded.clone() };
    let setup = Setup::draw(&unguarded);
    let schedule = setup.schedule(&unguarded);
    finish(World::with(guarded, setup, schedule)).broken
}

#[test]
fn what_a_rolled_back_node_had_acknowledged_is_not_committed_after_its_peers_have_vouched_for_it() {
    // The leader counts what the victim has acknowledged, but nobody else has it yet. The victim's disk is rolled back;
    // it cannot reach the leader, and the three others remember nothing. Only then does the leader reach one of them,
    // which would make a majority together with the acknowledgement that its giver has forgotten.
    for seed in 0..60 {
        let mut world = formed(5, seed);
        let leader = leader(&world);
        let [victim, third, fourth, fifth] = [1, 2, 3, 4].map(|n| (leader + n) % 5);
        let cut = |world: &mut World, from: usize, to: usize, lasts| {
            world.op(&Op::Cut { from: vec![from], to: vec![to], lasts });
        };
        cut(&mut world, leader, third, 330 * MS);
        cut(&mut world, leader, fourth, 10 * SECOND);
        cut(&mut world, leader, fifth, 10 * SECOND);
        world.op(&Op::Rollback { node: victim, age: 200 * MS, down: 5 * MS, all: true });
        work(&mut world, 200 * MS, Some(leader));
        cut(&mut world, leader, victim, 10 * SECOND);
        cut(&mut world, victim, leader, 10 * SECOND);
        work(&mut world, 300 * MS, Some(leader));
        world.op(&crash(leader, 4 * SECOND));
        work(&mut world, 6 * SECOND, None);
        world.heal();
        world.judge_the_end();
    }
}

#[test]
fn five_nodes_elect_though_the_longest_log_is_lost_right_after_all_have_restarted() {
    // Only the old leader has the last entries, and it tells everybody so before it is gone for good.
    for seed in 0..30 {
        let mut world = formed(5, seed);
        let leader = leader(&world);
        let others: Vec<usize> = (0..5).filter(|node| *node != leader).collect();
        world.op(&Op::Cut { from: vec![leader], to: others, lasts: 300 * MS });
        work(&mut world, 200 * MS, Some(leader));
        world.op(&Op::CrashAll { loss: Loss::Nothing, down: 150 * MS });
        world.run_for(250 * MS);
        world.op(&Op::Lose(leader));
        world.heal();
        world.judge_the_end();
    }
}

#[test]
fn after_a_power_cut_nobody_waits_for_a_node_that_was_removed_just_before_and_is_gone() {
    // With four voters a node that starts needs all others. The last step, from four to three, was known to be
    // committed by everybody, but on disk only as an entry of the log: without the one that was removed, and had its
    // machine cleared, the three would have stayed outside for ever.
    for seed in 0..10 {
        let mut world = formed(3, seed);
        let leaves = (leader(&world) + 1) % 3;
        world.op(&Op::Members { seat: 0, replaces: Some(leaves) });
        for _ in 0..100 {
            world.run_for(50 * MS);
            if world.machines[leaves].halted.is_some() {
                break;
            }
        }
        let why = world.machines[leaves].halted.clone().unwrap_or_default();
        assert!(why.contains("was removed from the cluster"), "seed {seed}: {why:?}");
        world.op(&Op::CrashAll { loss: Loss::Power(0), down: 300 * MS });
        world.heal();
        world.judge_the_end();
    }
}

#[test]
fn a_leader_that_commits_its_own_removal_falls_silent_and_the_others_go_on() {
    // The leader that proposed the removal crashes at once; who is to go has the step in its log and may be elected.
    // Its disk is slow: the others commit the step, and by then it waits for an fsync that nobody needs any more.
    let mut led = 0;
    for seed in 0..60 {
        let mut world = formed(3, seed);
        let leaves = (leader(&world) + 1) % 3;
        let id = world.machines[leaves].id;
        world.op(&Op::Members { seat: 0, replaces: Some(leaves) });
        for _ in 0..5_000 {
            world.run_for(MS);
            if world.environment.judge.was_removed(id) {
                break;
            }
        }
        world.run_for(seed % 10 * MS);
        let crashes = leader(&world);
        world.op(&Op::Crash { node: crashes, loss: Loss::Nothing, after_outputs: None, down: 100 * MS });
        world.op(&Op::SlowDisk { node: leaves, lasts: 3 * SECOND });
        let leads = |world: &World| {
            let process = world.machines[leaves].process.as_ref();
            process.is_some_and(|process| process.replica().status().role == Role::Leader)
        };
        let mut seen = false;
        for _ in 0..3_000 {
            world.run_for(MS);
            seen |= leads(&world);
        }
        led += u32::from(seen);
        world.heal();
        world.judge_the_end();
    }
    assert!(led > 0, "in no seed was it elected");
    println!("elected in {led} of 60");
}

#[test]
fn a_request_is_answered_though_the_word_that_the_leader_declined_it_was_lost_with_a_stream() {
    // While leadership is about to move, the leader takes nothing. It says so on a stream that has just broken, and
    // the follower's own stream, which came back earlier, gives the follower no reason to ask again.
    let mut declined = 0;
    for seed in 0..40 {
        let mut world = formed(3, seed);
        let leader = leader(&world);
        let follower = (leader + 1) % 3;
        world.op(&Op::Break(leader, follower));
        world.run_for(MS);
        world.op(&Op::Transfer(Some(follower)));
        world.environment.calm = true;
        let change =
            Change::AddClient { name: "late".into(), spki: Fingerprint([1; 32]), rights: Vec::new() };
        let task = Task { want: Want::Change(change), patience: 10 * SECOND, tries: 0, answer: None };
        let task = world.environment.want(task, follower);
        world.run_for(500 * MS);
        declined += u32::from(world.environment.tasks[task].answer.is_none());
        world.run_for(5 * SECOND);
        assert_eq!(world.environment.tasks[task].answer, Some(true), "seed {seed}");
    }
    assert!(declined > 0, "in no seed did the leader decline");
}

#[test]
fn every_missing_guard_is_noticed_within_a_thousand_seeds() {
    signonce_sim::run::keep_panics_quiet();
    for mutation in <Mutation as clap::ValueEnum>::value_variants() {
        let profile = if mutation.damages_storage() { Profile::Storage } else { Profile::Full };
        let found = caught(*mutation, 0..1_000, options(mutation.nodes(), profile, 0));
        let Some((seed, broken)) = found else {
            panic!("{mutation:?} is not noticed: the simulator is blind to it");
        };
        println!("{mutation:?}: seed {seed}: {broken}");
        let guarded = with_the_guard(*mutation, seed);
        assert_eq!(guarded, None, "{mutation:?}, seed {seed}: the same faults, with the guard in its place");
    }
}

#[test]
fn no_fault_of_storage_is_a_violation_with_the_fence() {
    signonce_sim::run::keep_panics_quiet();
    let storage = <Mutation as clap::ValueEnum>::value_variants().iter().filter(|m| m.damages_storage());
    for mutation in storage {
        for seed in 0..30 {
            assert_eq!(with_the_guard(*mutation, seed), None, "{mutation:?}, seed {seed}");
        }
    }
}
