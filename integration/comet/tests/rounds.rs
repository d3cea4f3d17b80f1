//! Nodes that play rounds: one validator alone, and doubled, with FilePV and with a lock of the height in front of it.

mod common;

use common::{CHAIN_ID, Double, Reaction, validator};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signonce_comet_node::{
    Address, AskError, BlockId, Config, Lost, Node, ProposalAsk, Timing, VoteAsk, VoteStep,
    rounds::{Memory, Rounds, Said, Setup, SharedFilePv, Signed, Signs, Step, Wrong},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

const A: usize = 0;
const B: usize = 1;

fn filepv() -> SharedFilePv {
    SharedFilePv::new(validator(), CHAIN_ID)
}

/// The lock of a height: what was precommitted last, and which of the nodes have asked for such a precommit since.
#[derive(Default)]
struct Lock {
    height: i64,
    on: Option<(i32, BlockId)>,
    entitled: BTreeSet<usize>,
}

/// FilePV with the lock of a height in front: a prevote of anything else is for nodes that have locked.
struct Locking {
    node: usize,
    filepv: SharedFilePv,
    lock: Arc<Mutex<Lock>>,
}

impl Locking {
    fn twins() -> Vec<Self> {
        let (filepv, lock) = (filepv(), Arc::<Mutex<Lock>>::default());
        [A, B].map(|node| Self { node, filepv: filepv.clone(), lock: lock.clone() }).into()
    }

    fn may(&self, ask: &VoteAsk) -> bool {
        let mut lock = self.lock.lock().expect("no test panics here");
        if ask.height > lock.height {
            *lock = Lock { height: ask.height, ..Lock::default() };
        }
        let Some((round, block)) = lock.on.filter(|_| ask.height == lock.height) else { return true };
        match ask.step {
            VoteStep::Prevote => ask.block == Some(block) || lock.entitled.contains(&self.node),
            VoteStep::Precommit => {
                if ask.block.is_some() && ask.round >= round {
                    lock.entitled.insert(self.node);
                }
                true
            }
        }
    }
}

impl Signs for Locking {
    async fn vote(&mut self, ask: VoteAsk) -> Result<Signed, AskError> {
        if !self.may(&ask) {
            return Err(Lost::Refused { code: 0, description: "locked".into() }.into());
        }
        let signed = self.filepv.vote(ask.clone()).await?;
        let mut lock = self.lock.lock().expect("no test panics here");
        let moves = ask.step == VoteStep::Precommit && lock.on.is_none_or(|(round, _)| round < ask.round);
        if let Some(block) = ask.block.filter(|_| moves) {
            *lock = Lock { height: ask.height, on: Some((ask.round, block)), entitled: [self.node].into() };
        }
        Ok(signed)
    }

    async fn proposal(&mut self, ask: ProposalAsk) -> Result<(), AskError> {
        self.filepv.proposal(ask).await
    }

    async fn restart(&mut self) -> Result<(), AskError> {
        self.lock.lock().expect("no test panics here").entitled.remove(&self.node);
        Ok(())
    }
}

/// Cuts, heals and kills at random, then lets all hear each other.
async fn storm<S: Signs>(rounds: &mut Rounds<S>, seed: u64, kills: bool) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let nodes = rounds.nodes();
    for _ in 0..60 {
        match rng.random_range(0..5) {
            0 => rounds.heal(),
            1 | 2 => {
                let side: Vec<_> = (0..nodes).map(|_| rng.random_bool(0.5)).collect();
                let of = |which| (0..nodes).filter(|node| side[*node] == which).collect::<Vec<_>>();
                rounds.cut(&[&of(true), &of(false)]);
            }
            3 => {
                for _ in 0..nodes {
                    let (from, to) = (rng.random_range(0..nodes), rng.random_range(0..nodes));
                    rounds.link(from, to, rng.random_bool(0.5));
                }
            }
            _ if kills => {
                let memory = if rng.random_bool(0.7) { Memory::Log } else { Memory::Nothing };
                let node = rng.random_range(0..2);
                rounds.restart(node, memory).await.expect("it starts again");
            }
            _ => {}
        }
        for _ in 0..rng.random_range(1..6) {
            rounds.turn().await;
        }
    }
    rounds.heal();
}

fn lossy(seed: u64) -> Setup {
    Setup { loss_percent: 30, impatience_percent: 5, ..Setup::new(CHAIN_ID, seed) }
}

/// Most heights take several rounds.
fn rough(seed: u64) -> Setup {
    Setup { loss_percent: 70, impatience_percent: 30, ..Setup::new(CHAIN_ID, seed) }
}

#[tokio::test]
async fn four_validators_decide_and_the_same_seed_gives_the_same_run() {
    let run = async |seed| {
        let mut rounds = Rounds::new(lossy(seed), vec![filepv()]);
        assert!(rounds.until(2_000, |rounds| rounds.decided() >= 10).await);
        assert_eq!(rounds.wrong(), []);
        rounds.cast().to_vec()
    };
    for seed in 0..5 {
        assert_eq!(run(seed).await, run(seed).await);
    }
    assert_ne!(run(0).await, run(1).await);
}

#[tokio::test]
async fn one_validator_of_its_own_does_nothing_wrong_in_any_storm_and_the_chain_goes_on() {
    let (mut nil, mut pol, mut later) = (false, false, false);
    for seed in 0..60 {
        let mut rounds = Rounds::new(lossy(seed), vec![filepv()]);
        storm(&mut rounds, seed, false).await;
        let reached = rounds.decided();
        assert!(rounds.until(3_000, |rounds| rounds.decided() >= reached + 2).await, "seed {seed}");
        assert_eq!(rounds.wrong(), [], "seed {seed}");
        nil |= rounds.cast().iter().any(|cast| cast.step == VoteStep::Precommit && cast.block.is_none());
        later |= rounds.cast().iter().any(|cast| cast.round > 1);
        pol |= rounds.proposed().iter().any(|proposed| proposed.pol_round.is_some());
    }
    assert!(nil && later && pol, "nil {nil}, later rounds {later}, rounds with a polka before {pol}");
}

#[tokio::test]
async fn twins_that_hear_everything_vote_alike_with_filepv() {
    let shared = filepv();
    let mut rounds = Rounds::new(Setup::new(CHAIN_ID, 1), vec![shared.clone(), shared]);
    assert!(rounds.until(500, |rounds| rounds.decided() >= 20).await);
    assert_eq!(rounds.wrong(), []);
    let of_x: Vec<_> = rounds.cast().iter().filter(|cast| cast.validator == 0).collect();
    let repeats = of_x.iter().filter(|cast| of_x.iter().filter(|other| other == cast).count() == 2).count();
    assert!(repeats > 20, "both are given the same vote, with the time that was signed first: {repeats}");
}

/// A precommits V at round 0, and is then cut off; B, cut off until then, is asked for W at round 1.
async fn lock_case<S: Signs>(signers: Vec<S>) -> Rounds<S> {
    let mut rounds = Rounds::new(Setup::new(CHAIN_ID, 3), signers);
    let (c, d, e) = (2, 3, 4);
    // The proposer of height 1, round 0 is validator 1, which is node C. Height 1 is played in peace.
    assert!(rounds.until(100, |rounds| rounds.decided() >= 1).await);
    // At height 2, validator 2 (node D) proposes V. E does not hear of it; nobody hears A, which hears all but E.
    rounds.only(move |said, from, to| {
        let quiet = said.height() == 2 && said.round() == 0 && matches!(said, Said::Proposal(_)) && to == e;
        !quiet && from != A && from != B && to != B
    });
    let e_has_waited = |rounds: &Rounds<S>| rounds.at(e).2 >= Step::Prevote;
    assert!(
        rounds.until(100, |rounds| rounds.locked(A).is_some() && e_has_waited(rounds)).await,
        "A locks V"
    );
    assert!(rounds.locked(c).is_none() && rounds.locked(d).is_none());
    rounds.heal();
    rounds.cut(&[&[B, c, d, e]]);
    rounds
}

#[tokio::test]
async fn filepv_lets_twins_break_the_lock_of_their_validator() {
    let shared = filepv();
    let mut rounds = lock_case(vec![shared.clone(), shared]).await;
    rounds.until(100, |rounds| rounds.at(B).0 > 2).await;
    let wrong = rounds.wrong();
    assert!(matches!(wrong[..], [Wrong::LockBroken { .. }]), "{wrong:?}");
    // As measured, X has also precommitted W, which is committed; and nobody can be slashed.
    let precommits = rounds.cast().iter().filter(|cast| {
        (cast.validator, cast.height, cast.step) == (0, 2, VoteStep::Precommit) && cast.block.is_some()
    });
    let blocks: Vec<_> = precommits.map(|cast| (cast.round, cast.block)).collect();
    assert!(matches!(blocks[..], [(0, v), (1, w)] if v != w), "{blocks:?}");
    assert!(rounds.at(2).0 > 2);
}

#[tokio::test]
async fn with_the_lock_of_a_height_twins_do_not_and_the_chain_goes_on_when_they_meet() {
    let mut rounds = lock_case(Locking::twins()).await;
    rounds.until(30, |_| false).await;
    assert_eq!(rounds.wrong(), []);
    let refused = |(node, error): &(usize, AskError)| *node == B && error.to_string().contains("locked");
    assert!(rounds.lost().iter().any(refused), "B was refused: {:?}", rounds.lost());
    rounds.heal();
    assert!(rounds.until(500, |rounds| rounds.decided() >= 4).await);
    assert_eq!(rounds.wrong(), []);
}

#[tokio::test]
async fn in_storms_twins_break_the_lock_with_filepv_and_never_with_the_lock_of_a_height() {
    let mut broken = 0;
    for seed in 0..200 {
        let shared = filepv();
        let mut rounds = Rounds::new(rough(seed), vec![shared.clone(), shared]);
        storm(&mut rounds, seed, true).await;
        let wrong = rounds.wrong();
        broken += usize::from(!wrong.is_empty());
        // Nothing that could be slashed, and no two blocks.
        assert!(
            wrong.iter().all(|wrong| matches!(wrong, Wrong::LockBroken { .. })),
            "seed {seed}: {wrong:?}"
        );
        let mut rounds = Rounds::new(rough(seed), Locking::twins());
        storm(&mut rounds, seed, true).await;
        assert_eq!(rounds.wrong(), [], "seed {seed}");
    }
    assert!(broken > 5, "only {broken} runs broke it: the storms are too mild to show anything");
}

#[tokio::test]
async fn twins_with_a_state_each_vote_twice_and_it_is_noticed() {
    let mut rounds = Rounds::new(rough(1), vec![filepv(), filepv()]);
    storm(&mut rounds, 1, false).await;
    let duplicate = |wrong: &Wrong| matches!(wrong, Wrong::DuplicateVote(..));
    assert!(rounds.wrong().iter().any(duplicate));
}

#[tokio::test]
async fn a_killed_node_asks_again_for_what_is_in_its_log() {
    let setup = Setup { extensions: true, ..Setup::new(CHAIN_ID, 2) };
    let mut rounds = Rounds::new(setup, vec![filepv()]);
    let mut again = 0;
    for height in 1..6 {
        let here = |rounds: &Rounds<SharedFilePv>| {
            let (at, _, step) = rounds.at(A);
            at == height && step >= Step::Prevote
        };
        assert!(rounds.until(200, here).await);
        let before = rounds.cast().len() + rounds.lost().len();
        rounds.restart(A, Memory::Log).await.expect("it starts again");
        again += rounds.cast().len() + rounds.lost().len() - before;
        assert!(rounds.until(200, |rounds| rounds.decided() >= height).await);
    }
    assert!(again >= 5, "it asks again at every height: {again}");
    assert_eq!(rounds.wrong(), []);
}

#[tokio::test]
async fn rounds_are_played_over_real_connections_of_two_nodes_with_one_key() {
    let shared = Arc::new(Mutex::new(validator()));
    let (mut nodes, mut signers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let config = Config::new(CHAIN_ID, Address::any_port()).with_extensions();
        let config = config.with_timing(Timing::MEASURED.faster(5));
        let node = Arc::new(Node::listen(config).await.expect("a port"));
        signers.push(Double::shared(node.address(), &shared, |_, _| Reaction::FilePv));
        node.start().await.expect("a key");
        nodes.push(node);
    }
    let setup = Setup { extensions: true, ..Setup::new(CHAIN_ID, 4) };
    let mut rounds = Rounds::new(setup, nodes);
    assert!(rounds.until(500, |rounds| rounds.decided() >= 5).await);
    rounds.restart(B, Memory::Log).await.expect("it starts again");
    assert!(rounds.until(500, |rounds| rounds.decided() >= 8).await);
    assert_eq!(rounds.wrong(), []);
    assert!(rounds.signer(A).exchanges().len() > 24);
}
