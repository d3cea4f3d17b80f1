//! Rules for the lock of a height in front of FilePV, written from the words of the reference and not from the signers'
//! code: in storms the right one keeps X's votes such as one correct validator could cast, and each wrong one is caught.

mod common;

use common::{CHAIN_ID, validator};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use signonce_comet_node::{
    AskError, BlockId, Lost, ProposalAsk, VoteAsk, VoteStep,
    rounds::{Memory, Rounds, Said, Setup, SharedFilePv, Signed, Signs, Step, Wrong},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// What is asked beside FilePV's high-water mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// While a height is locked, a prevote of anything else is for connections that are entitled.
    Right,
    /// There is no lock.
    NoLock,
    /// A prevote of nil is for anybody.
    NilForAnybody,
    /// A new connection keeps what the old one was entitled to.
    KeptOverReconnection,
    /// The lock ends when a connection that is entitled does.
    EndsWithConnection,
    /// A precommit of nil entitles too.
    NilEntitles,
}

/// Every rule that is not right.
const WRONG: [Rule; 5] = [
    Rule::NoLock,
    Rule::NilForAnybody,
    Rule::KeptOverReconnection,
    Rule::EndsWithConnection,
    Rule::NilEntitles,
];

/// The lock, and the connections (a node and a number) that have locked.
#[derive(Clone, Debug)]
struct Locked {
    height: i64,
    round: i32,
    block: BlockId,
    entitled: BTreeSet<(usize, u32)>,
}

/// The signer as one of the nodes reaches it.
struct Guarded {
    rule: Rule,
    filepv: SharedFilePv,
    locked: Arc<Mutex<Option<Locked>>>,
    node: usize,
    connection: u32,
}

impl Guarded {
    fn twins(rule: Rule) -> Vec<Self> {
        let filepv = SharedFilePv::new(validator(), CHAIN_ID);
        let locked = Arc::<Mutex<Option<Locked>>>::default();
        let twin = |node| Self { rule, filepv: filepv.clone(), locked: locked.clone(), node, connection: 0 };
        vec![twin(0), twin(1)]
    }

    fn asker(&self) -> (usize, u32) {
        (self.node, self.connection)
    }

    fn forbids(&self, ask: &VoteAsk) -> bool {
        let locked = self.locked.lock().expect("no test panics here");
        let Some(locked) = locked.as_ref().filter(|locked| locked.height == ask.height) else { return false };
        let for_anybody = match self.rule {
            Rule::NoLock => true,
            Rule::NilForAnybody => ask.block.is_none(),
            Rule::Right | Rule::KeptOverReconnection | Rule::EndsWithConnection | Rule::NilEntitles => false,
        };
        match ask.step {
            VoteStep::Precommit => false,
            VoteStep::Prevote => {
                ask.block != Some(locked.block) && !locked.entitled.contains(&self.asker()) && !for_anybody
            }
        }
    }

    /// A precommit was asked: a granted one locks, and any other one of the lock's round or later entitles.
    fn precommit(&self, ask: &VoteAsk, granted: bool) {
        let mut locked = self.locked.lock().expect("no test panics here");
        let (height, round) = (ask.height, ask.round);
        if let (Some(block), true) = (ask.block, granted)
            && locked.as_ref().is_none_or(|locked| (locked.height, locked.round) < (height, round))
        {
            *locked = Some(Locked { height, round, block, entitled: [self.asker()].into() });
            return;
        }
        let Some(locked) = locked.as_mut().filter(|locked| locked.height == height) else { return };
        if round >= locked.round && (ask.block.is_some() || self.rule == Rule::NilEntitles) {
            locked.entitled.insert(self.asker());
        }
    }

    /// The connection ends, and the node may or may not know what it knew.
    fn reconnect(&mut self) {
        let mut locked = self.locked.lock().expect("no test panics here");
        let was_entitled = locked.as_ref().is_some_and(|locked| locked.entitled.contains(&self.asker()));
        match self.rule {
            Rule::KeptOverReconnection => return,
            Rule::EndsWithConnection if was_entitled => *locked = None,
            Rule::Right
            | Rule::NoLock
            | Rule::NilForAnybody
            | Rule::EndsWithConnection
            | Rule::NilEntitles => {}
        }
        self.connection += 1;
    }
}

impl Signs for Guarded {
    async fn vote(&mut self, ask: VoteAsk) -> Result<Signed, AskError> {
        let signed = match self.forbids(&ask) {
            true => Err(Lost::Refused { code: 0, description: "the height is locked".into() }.into()),
            false => self.filepv.vote(ask.clone()).await,
        };
        if ask.step == VoteStep::Precommit {
            self.precommit(&ask, signed.is_ok());
        }
        signed
    }

    async fn proposal(&mut self, ask: ProposalAsk) -> Result<(), AskError> {
        self.filepv.proposal(ask).await
    }

    async fn restart(&mut self) -> Result<(), AskError> {
        self.reconnect();
        Ok(())
    }
}

/// Whether a message gets through, by what it is: always the same for the same one, so that nodes keep different views of
/// a round however often they are told. One node hears nearly everything, the others about half.
fn gets_through(cut: u64, said: &Said, from: usize, to: usize) -> bool {
    let what = match said {
        Said::Proposal(_) => 0,
        Said::Vote(cast) => 1 + 2 * cast.validator as u64 + u64::from(cast.step == VoteStep::Precommit),
    };
    let mut mixed = cut;
    for part in [what, said.height() as u64, said.round() as u64, from as u64, to as u64] {
        mixed = (mixed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    let hears_well = to as u64 == (cut ^ said.round() as u64) % 5;
    mixed % 100 < if hears_well { 90 } else { 50 }
}

/// Cuts, kills and reconnections by chance.
async fn storm(rounds: &mut Rounds<Guarded>, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let nodes = rounds.nodes();
    for _ in 0..40 {
        match rng.random_range(0..8) {
            0 => rounds.heal(),
            1 => {
                let side: Vec<_> = (0..nodes).map(|_| rng.random_bool(0.5)).collect();
                let of = |which| (0..nodes).filter(|node| side[*node] == which).collect::<Vec<_>>();
                rounds.cut(&[&of(true), &of(false)]);
            }
            2..=4 => {
                rounds.heal();
                let cut = rng.random();
                rounds.only(move |said, from, to| gets_through(cut, said, from, to));
            }
            5 => {
                let (from, to) = (rng.random_range(0..nodes), rng.random_range(0..nodes));
                rounds.link(from, to, rng.random_bool(0.5));
            }
            6 => {
                // The node that is locked, if one is: only there is anything to forget.
                let locked = (0..2).find(|node| rounds.locked(*node).is_some());
                let node = locked.unwrap_or_else(|| rng.random_range(0..2));
                let memory = if rng.random_bool(0.3) { Memory::Log } else { Memory::Nothing };
                rounds.restart(node, memory).await.expect("it starts again");
            }
            _ => rounds.signer(rng.random_range(0..2)).reconnect(),
        }
        for _ in 0..rng.random_range(2..12) {
            rounds.turn().await;
        }
    }
}

async fn after_storm(rule: Rule, seed: u64) -> Rounds<Guarded> {
    let setup = Setup { loss_percent: 20, ..Setup::new(CHAIN_ID, seed) };
    let mut rounds = Rounds::new(setup, Guarded::twins(rule));
    storm(&mut rounds, seed).await;
    rounds
}

/// How the twin that is not locked, or has forgotten it, comes to round 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// B has heard nothing of round 0 but that it ended.
    Unlocked,
    /// B has asked for a precommit of nil in round 0.
    AfterNil,
    /// As [`Self::Unlocked`], after A's connection was made anew.
    AfterReconnection,
    /// It is A, which was killed and has forgotten everything.
    Forgotten,
}

const WAYS: [Way; 4] = [Way::Unlocked, Way::AfterNil, Way::AfterReconnection, Way::Forgotten];

/// The twins; the others are nodes 2 (which proposes in round 0), 3 and 4.
const A: usize = 0;
const B: usize = 1;
const LAST: usize = 4;

/// A alone sees the polka of round 0 and locks. The rest goes to round 1, where nobody hears a proposal, with another
/// twin, or with A that has forgotten. Up to that twin's prevote of round 1.
async fn after_lock(rule: Rule, way: Way) -> Rounds<Guarded> {
    let mut rounds = Rounds::new(Setup::new(CHAIN_ID, 1), Guarded::twins(rule));
    let is_proposal = |said: &Said| matches!(said, Said::Proposal(_));
    rounds.only(move |said, from, to| from > B && to != B && !(to == LAST && is_proposal(said)));
    assert!(rounds.until(100, |rounds| rounds.locked(A).is_some()).await, "A locks");
    let others_locked = (B..=LAST).any(|node| rounds.locked(node).is_some());
    assert!(!others_locked && rounds.at(A).1 == 0, "nobody else locks");

    let twin = if way == Way::Forgotten { A } else { B };
    match way {
        Way::Unlocked | Way::AfterNil => {}
        Way::AfterReconnection => rounds.signer(A).reconnect(),
        Way::Forgotten => rounds.restart(A, Memory::Nothing).await.expect("it starts again"),
    }
    rounds.only(move |said, from, to| {
        let of_round_0 = |step| matches!(said, Said::Vote(cast) if (cast.round, cast.step) == (0, step));
        let hears = to > B || to == twin && (way == Way::AfterNil || !of_round_0(VoteStep::Prevote));
        from > B && hears && !is_proposal(said)
    });
    let has_prevoted = |rounds: &Rounds<Guarded>| rounds.at(twin).1 == 1 && rounds.at(twin).2 > Step::Propose;
    assert!(rounds.until(100, has_prevoted).await, "{rule:?}, {way:?}: {:?}", rounds.at(twin));
    rounds
}

/// Which of the ways breaks the lock with each rule.
fn broken_by(rule: Rule) -> &'static [Way] {
    match rule {
        Rule::Right => &[],
        Rule::NoLock | Rule::NilForAnybody => &WAYS,
        Rule::KeptOverReconnection => &[Way::Forgotten],
        Rule::EndsWithConnection => &[Way::AfterReconnection, Way::Forgotten],
        Rule::NilEntitles => &[Way::AfterNil],
    }
}

#[tokio::test]
async fn a_twin_that_is_not_locked_breaks_the_lock_with_wrong_rules_and_not_with_the_right_one() {
    for rule in [Rule::Right].into_iter().chain(WRONG) {
        for way in WAYS {
            let mut rounds = after_lock(rule, way).await;
            let wrong = rounds.wrong();
            let is_broken = matches!(wrong[..], [Wrong::LockBroken { .. }]);
            assert!(is_broken || wrong.is_empty(), "{rule:?}, {way:?}: {wrong:?}");
            assert_eq!(is_broken, broken_by(rule).contains(&way), "{rule:?}, {way:?}: {wrong:?}");
            if rule == Rule::Right {
                rounds.heal();
                let goes_on = rounds.until(500, |rounds| rounds.decided() >= 3).await;
                assert!(goes_on, "{way:?}: the chain stands still");
                assert_eq!(rounds.wrong(), [], "{way:?}");
            }
        }
    }
}

#[tokio::test]
async fn with_the_right_rule_no_storm_breaks_a_lock_and_heights_go_on_afterwards() {
    let (mut refused, mut relocked) = (0, 0);
    for seed in 0..300 {
        let mut rounds = after_storm(Rule::Right, seed).await;
        rounds.heal();
        let reached = rounds.decided();
        assert!(
            rounds.until(3_000, |rounds| rounds.decided() >= reached + 2).await,
            "seed {seed} stands still"
        );
        assert_eq!(rounds.wrong(), [], "seed {seed}");
        refused += rounds.lost().iter().filter(|(_, why)| why.to_string().contains("locked")).count();
        let locks: BTreeSet<_> = rounds
            .cast()
            .iter()
            .filter(|cast| cast.validator == 0)
            .filter(|cast| cast.step == VoteStep::Precommit)
            .filter_map(|cast| cast.block.map(|block| (cast.height, block)))
            .collect();
        let heights: BTreeSet<_> = locks.iter().map(|(height, _)| height).collect();
        relocked += locks.len() - heights.len();
    }
    // Or the storms would show nothing.
    assert!(refused > 0 && relocked > 0, "{refused} prevotes were refused, {relocked} locks moved");
}

#[tokio::test]
async fn each_wrong_rule_lets_the_lock_be_broken_in_some_storm() {
    for rule in WRONG {
        let mut caught = false;
        for seed in 0..2_000 {
            let wrong = after_storm(rule, seed).await.wrong();
            let others = wrong.iter().any(|wrong| !matches!(wrong, Wrong::LockBroken { .. }));
            assert!(!others, "{rule:?}, seed {seed}: {wrong:?}");
            caught = !wrong.is_empty();
            if caught {
                break;
            }
        }
        assert!(caught, "{rule:?} is never caught");
    }
}
