//! The rules of the gate, with made-up time: tables of what must happen, and two nodes with one key on a chain.

use super::{
    memory::tests::{LastVote, Record},
    *,
};

const A: VotePosition = VotePosition { set_id: 3, round: 10 };

fn key(n: u8) -> PublicKey {
    PublicKey::try_from([n; 32].as_slice()).expect("32 bytes")
}

fn at(set_id: u64, round: u64) -> VotePosition {
    VotePosition { set_id, round }
}

/// The round after.
fn next(place: VotePosition) -> VotePosition {
    at(place.set_id, place.round + 1)
}

/// The rules of one node, its clock and what they said last.
struct Bench {
    rules: Rules,
    now: Instant,
    position: Option<VotePosition>,
}

impl Bench {
    /// A node whose voter stands at `position`.
    fn new(position: Option<VotePosition>) -> Self {
        let now = Instant::now();
        let mut bench = Self { rules: Rules::default(), now, position };
        assert_eq!(bench.tick(), []);
        bench
    }

    /// A node that starts beside signers that know `highest`, with what its database recorded.
    fn started(
        position: VotePosition,
        recorded: Option<Recorded>,
        highest: Option<VotePosition>,
    ) -> (Self, Vec<Output>) {
        let mut bench = Self::new(Some(position));
        let mut outputs = bench.rules.recorded(recorded, bench.now);
        outputs.extend(bench.watermark(1, highest));
        (bench, outputs)
    }

    /// A wiped node, closed behind `A`.
    fn behind() -> Self {
        let (bench, outputs) = Self::started(at(3, 1), None, Some(A));
        assert_eq!(outputs, [shut(1, Shut::NothingRecorded, A)]);
        bench
    }

    /// A node whose gate is open at `A`, with a voter that had the key from the start.
    fn open() -> Self {
        let (mut bench, outputs) = Self::started(A, Some(recorded(A, &[])), Some(at(3, 9)));
        assert_eq!(outputs, [opened(1, Opened::DatabaseAhead { next: A }, at(3, 9))]);
        bench.vote(A);
        bench
    }

    fn watermark(&mut self, n: u8, highest: Option<VotePosition>) -> Vec<Output> {
        self.rules.watermark(&key(n), Some(FIRST), highest, self.now)
    }

    /// Another node signs.
    fn foreign(&mut self, place: VotePosition) -> Vec<Output> {
        self.watermark(1, Some(place))
    }

    /// This node signs.
    fn vote(&mut self, place: VotePosition) {
        self.rules.signed(&key(1), place);
        assert_eq!(self.watermark(1, Some(place)), []);
    }

    fn refuse(&mut self, place: VotePosition) -> Option<Output> {
        self.rules.refused(&key(1), place, self.now)
    }

    fn tick(&mut self) -> Vec<Output> {
        self.rules.tick(self.position, self.now)
    }

    /// Lets seconds pass and tells what came in them, each with the second it came in.
    fn pass(&mut self, seconds: u64) -> Vec<(u64, Output)> {
        (1..=seconds)
            .flat_map(|second| {
                self.now += Duration::from_secs(1);
                self.tick().into_iter().map(move |output| (second, output))
            })
            .collect()
    }

    fn is_open(&self) -> bool {
        self.rules.is_open(&key(1))
    }
}

fn opened(n: u8, why: Opened, highest: VotePosition) -> Output {
    Output::Opened { key: key(n), why, highest: Some(highest) }
}

fn shut(n: u8, why: Shut, highest: VotePosition) -> Output {
    Output::Closed { key: key(n), why, highest: Some(highest) }
}

/// A record that goes on at `next`, with prevotes of these keys in that round.
fn recorded(next: VotePosition, voters: &[u8]) -> Recorded {
    let votes = voters.iter().map(|voter| (next.round, Some((*voter, LastVote::Precommit(None, 8, 9)))));
    let current = if voters.is_empty() { vec![(next.round, None)] } else { votes.collect() };
    let record = Record { set_id: next.set_id, completed: vec![next.round - 1], current, paused: false };
    Recorded::decode(&record.encode()).expect("as the voter writes it")
}

#[test]
fn before_the_signers_have_told_anything_the_gate_is_closed() {
    let mut bench = Bench::new(Some(A));
    assert_eq!(bench.rules.recorded(Some(recorded(A, &[])), bench.now), []);
    assert_eq!(bench.pass(600), []);
    assert!(!bench.is_open());
}

#[test]
fn a_key_that_never_voted_may_vote_at_once_even_on_an_empty_database() {
    for record in [None, Some(recorded(A, &[]))] {
        let (bench, outputs) = Bench::started(at(0, 1), record, None);
        assert_eq!(outputs, [Output::Opened { key: key(1), why: Opened::NeverVoted, highest: None }]);
        assert!(bench.is_open());
    }
}

#[test]
fn a_key_that_is_not_armed_waits_for_its_floor() {
    let mut bench = Bench::new(Some(A));
    bench.rules.recorded(None, bench.now);
    assert_eq!(bench.rules.watermark(&key(1), None, None, bench.now), []);
    assert_eq!(bench.pass(100), []);
    assert!(!bench.is_open());
    let armed = bench.rules.watermark(&key(1), Some(FIRST), None, bench.now);
    assert_eq!(armed, [Output::Opened { key: key(1), why: Opened::NeverVoted, highest: None }]);
}

#[test]
fn a_floor_of_an_imported_key_is_waited_for_like_a_vote() {
    let mut bench = Bench::new(Some(at(3, 9)));
    bench.rules.recorded(None, bench.now);
    let outputs = bench.rules.watermark(&key(1), Some(A), None, bench.now);
    assert_eq!(outputs, [Output::Closed { key: key(1), why: Shut::NothingRecorded, highest: None }]);
    assert_eq!(bench.pass(20), []);
    bench.position = Some(A);
    let why = Opened::Past { position: A };
    assert_eq!(bench.pass(1), [(1, Output::Opened { key: key(1), why, highest: None })]);
    let (bench, _) = Bench::started(A, Some(recorded(A, &[])), None);
    assert!(bench.is_open(), "the floor itself may be voted on");
}

#[test]
fn a_database_that_goes_on_past_every_vote_opens_the_gate_at_the_start() {
    for (goes_on, opens) in [(at(3, 11), true), (at(4, 1), true), (at(3, 10), false), (at(2, 99), false)] {
        let (bench, outputs) = Bench::started(goes_on, Some(recorded(goes_on, &[])), Some(A));
        assert_eq!(bench.is_open(), opens, "{goes_on}: {outputs:?}");
        assert_eq!(outputs.len(), 1, "{outputs:?}");
    }
}

#[test]
fn the_order_in_which_record_and_watermark_come_does_not_matter() {
    for (record, opens) in [(None, false), (Some(recorded(next(A), &[])), true)] {
        let mut bench = Bench::new(Some(A));
        assert_eq!(bench.watermark(1, Some(A)), []);
        let late = bench.rules.recorded(record.clone(), bench.now);
        let (other, early) = Bench::started(A, record, Some(A));
        assert_eq!(late, early);
        assert_eq!((bench.is_open(), other.is_open()), (opens, opens));
    }
}

fn asks_for_votes(outputs: Vec<(u64, Output)>, second: u64) {
    let votes = recorded(A, &[1]).votes(&key(1), A);
    assert_eq!(votes.len(), 2);
    assert_eq!(outputs, [(second, Output::Preflight { key: key(1), at: A, votes })]);
}

/// A node that was restarted in the round it had voted in; it asks for its votes in the first second.
fn restarted_in_its_round() -> Bench {
    let (mut bench, outputs) = Bench::started(A, Some(recorded(A, &[1])), Some(A));
    assert_eq!(outputs, []);
    asks_for_votes(bench.pass(1), 1);
    bench
}

#[test]
fn recorded_votes_that_are_signed_again_open_the_gate() {
    let mut bench = restarted_in_its_round();
    let output = bench.rules.preflighted(&key(1), A, Preflight::Signed, bench.now);
    assert_eq!(output, Some(opened(1, Opened::VotesConfirmed { at: A }, A)));
    assert!(bench.is_open());
}

#[test]
fn a_recorded_vote_that_is_refused_leaves_the_gate_closed_until_the_next_round() {
    let mut bench = restarted_in_its_round();
    let output = bench.rules.preflighted(&key(1), A, Preflight::Refused, bench.now);
    assert_eq!(output, Some(shut(1, Shut::Refused { at: A }, A)));
    assert_eq!(bench.pass(20), []);
    bench.position = Some(next(A));
    assert_eq!(bench.pass(1), [(1, opened(1, Opened::Past { position: next(A) }, A))]);
}

#[test]
fn recorded_votes_are_asked_for_again_until_the_signers_are_back() {
    let mut bench = restarted_in_its_round();
    for _ in 0..50 {
        assert_eq!(bench.rules.preflighted(&key(1), A, Preflight::Unknown, bench.now), None);
        assert!(!bench.is_open());
        asks_for_votes(bench.pass(2), 2);
    }
    bench.rules.preflighted(&key(1), A, Preflight::Signed, bench.now);
    assert!(bench.is_open());
}

#[test]
fn votes_recorded_under_another_key_are_none_of_this_one() {
    let (bench, outputs) = Bench::started(A, Some(recorded(A, &[2])), Some(A));
    assert_eq!(outputs, [shut(1, Shut::VotesNotRecorded { at: A }, A)]);
    assert!(!bench.is_open());
}

#[test]
fn another_node_that_voted_on_during_the_restart_keeps_the_gate_closed() {
    // Seen before the answer, with it, and before the next question.
    let mut bench = restarted_in_its_round();
    assert_eq!(bench.foreign(next(A)), []);
    let output = bench.rules.preflighted(&key(1), A, Preflight::Signed, bench.now);
    assert_eq!(output, Some(shut(1, Shut::RecordBehind { next: A }, next(A))));
    let mut bench = restarted_in_its_round();
    bench.rules.preflighted(&key(1), A, Preflight::Unknown, bench.now);
    bench.foreign(next(A));
    assert_eq!(bench.pass(1), [(1, shut(1, Shut::RecordBehind { next: A }, next(A)))]);
    let stale = bench.rules.preflighted(&key(1), A, Preflight::Signed, bench.now);
    assert_eq!((stale, bench.is_open()), (None, false));
}

#[test]
fn a_wiped_node_votes_again_when_its_voter_is_past_the_watermark_and_nobody_else_signs() {
    let mut bench = Bench::behind();
    assert_eq!(bench.pass(8), []);
    bench.position = Some(A);
    assert_eq!(bench.pass(20), [], "in the round of the last vote");
    bench.position = Some(next(A));
    assert_eq!(bench.pass(1), [(1, opened(1, Opened::Past { position: next(A) }, A))]);
    let mut early = Bench::behind();
    early.position = Some(next(A));
    assert_eq!(early.pass(10), [(10, opened(1, Opened::Past { position: next(A) }, A))]);
}

#[test]
fn without_a_running_voter_a_closed_gate_stays_closed() {
    let mut bench = Bench::behind();
    bench.position = Some(next(A));
    bench.pass(5);
    bench.position = None;
    assert_eq!(bench.pass(600), []);
    assert!(!bench.is_open());
}

#[test]
fn a_refusal_closes_the_gate_and_it_opens_in_a_later_round() {
    let mut bench = Bench::open();
    assert_eq!(bench.refuse(A), Some(shut(1, Shut::Refused { at: A }, A)));
    assert!(!bench.is_open());
    assert_eq!(bench.refuse(A), None, "told once");
    assert_eq!(bench.pass(20), [], "the same round is not tried again");
    bench.position = Some(next(A));
    assert_eq!(bench.pass(1), [(1, opened(1, Opened::Past { position: next(A) }, A))]);
}

#[test]
fn a_refused_round_past_the_watermark_is_not_tried_again_either() {
    let mut bench = Bench::open();
    let far = at(3, 500);
    bench.position = Some(far);
    bench.refuse(far);
    assert_eq!(bench.pass(25), []);
    bench.position = Some(next(far));
    assert_eq!(bench.pass(1).len(), 1);
}

#[test]
fn refusal_after_refusal_makes_the_pauses_longer_and_a_signature_makes_them_short_again() {
    let mut bench = Bench::open();
    let mut place = A;
    let mut pauses = Vec::new();
    for _ in 0..8 {
        bench.refuse(place);
        // The chain goes on, so that only the pause keeps the gate closed.
        let waited = (1..=1000).find(|_| {
            place = next(place);
            bench.position = Some(place);
            !bench.pass(1).is_empty()
        });
        pauses.push(waited.expect("it opens"));
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    bench.vote(place);
    bench.refuse(next(place));
    bench.position = Some(at(4, 1));
    assert_eq!(bench.pass(10).len(), 1);
}

#[test]
fn a_standby_follows_the_node_that_signs_and_takes_over_when_it_falls_silent() {
    let mut bench = Bench::open();
    bench.refuse(A);
    let mut place = A;
    let mut told = Vec::new();
    for _ in 0..100 {
        place = next(place);
        bench.position = Some(place);
        assert_eq!(bench.foreign(place), []);
        told.extend(bench.pass(3));
    }
    assert_eq!(told, [(1, Output::StandingBy { key: key(1), highest: next(A) })], "said once");
    assert!(!bench.is_open());
    // The last foreign vote was 3 s ago.
    bench.position = Some(next(place));
    assert_eq!(bench.pass(7), [(7, opened(1, Opened::Past { position: next(place) }, place))]);
}

#[test]
fn own_signatures_are_not_another_nodes_whichever_comes_first_the_answer_or_the_event() {
    for event_first in [false, true] {
        let mut bench = Bench::open();
        let last = next(A);
        bench.position = Some(last);
        bench.now += Duration::from_secs(1);
        if event_first {
            bench.foreign(last);
            bench.rules.signed(&key(1), last);
        } else {
            bench.rules.signed(&key(1), last);
            bench.foreign(last);
        }
        bench.refuse(last);
        bench.position = Some(next(last));
        assert_eq!(bench.pass(10), [(10, opened(1, Opened::Past { position: next(last) }, last))]);
    }
}

#[test]
fn the_answer_to_a_vote_may_come_after_the_gate_closed() {
    let mut bench = Bench::open();
    bench.refuse(A);
    bench.now += Duration::from_secs(1);
    bench.foreign(next(A));
    bench.rules.signed(&key(1), next(A));
    bench.position = Some(at(3, 12));
    assert_eq!(bench.pass(9), [(9, opened(1, Opened::Past { position: at(3, 12) }, next(A)))]);
}

#[test]
fn a_signer_that_lags_behind_does_not_lower_the_watermark() {
    let mut bench = Bench::behind();
    assert_eq!(bench.watermark(1, Some(at(3, 2))), []);
    assert_eq!(bench.watermark(1, None), []);
    bench.position = Some(at(3, 5));
    assert_eq!(bench.pass(20), []);
    let mut bench = Bench::new(Some(at(3, 9)));
    bench.rules.recorded(None, bench.now);
    bench.rules.watermark(&key(1), Some(A), None, bench.now);
    assert_eq!(bench.watermark(1, None), [], "with a lower floor");
    assert_eq!(bench.pass(20), []);
}

#[test]
fn a_round_of_a_newer_set_is_past_every_round_of_an_older_one() {
    let mut bench = Bench::behind();
    bench.position = Some(at(4, 1));
    assert_eq!(bench.pass(12), [(10, opened(1, Opened::Past { position: at(4, 1) }, A))]);
}

#[test]
fn the_round_seen_right_at_a_set_change_is_not_trusted() {
    // The key voted in the new set already; the node knows the set, its voter is still in a round of the old one.
    let (mut bench, _) = Bench::started(at(3, 70), None, Some(at(4, 2)));
    bench.pass(15);
    bench.position = Some(at(4, 70));
    assert_eq!(bench.pass(1), []);
    bench.position = Some(at(4, 1));
    assert_eq!(bench.pass(9), []);
    bench.position = Some(at(4, 3));
    assert_eq!(bench.pass(1), [(1, opened(1, Opened::Past { position: at(4, 3) }, at(4, 2)))]);
}

/// When a standing voter was given the key, if each try is refused at once.
fn tries(bench: &mut Bench, seconds: u64) -> Vec<u64> {
    let position = bench.position.expect("a voter stands somewhere");
    let mut tried = Vec::new();
    for second in 1..=seconds {
        let outputs: Vec<_> = bench.pass(1).into_iter().map(|(_, output)| output).collect();
        if outputs.is_empty() {
            continue;
        }
        let why = Opened::Try { position };
        assert_eq!(outputs, [opened(1, why, A), Output::RestartVoter]);
        assert_eq!(bench.rules.restarted(true, bench.now), []);
        assert!(bench.is_open());
        assert!(bench.refuse(position).is_some());
        tried.push(second);
    }
    tried
}

#[test]
fn when_the_chain_stands_still_the_gate_is_tried_with_longer_and_longer_pauses() {
    let mut bench = Bench::behind();
    bench.position = Some(A);
    bench.pass(1);
    let tried = tries(&mut bench, 3600);
    let pauses: Vec<_> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(tried[0], 30);
    assert_eq!(pauses, [60, 120, 240, 480, 600, 600, 600, 600]);
}

#[test]
fn refused_tries_do_not_delay_the_opening_that_is_due_when_the_chain_goes_on() {
    let mut bench = Bench::behind();
    bench.position = Some(A);
    bench.pass(1);
    assert_eq!(tries(&mut bench, 100).len(), 2);
    bench.position = Some(next(A));
    assert_eq!(bench.pass(1), [(1, opened(1, Opened::Past { position: next(A) }, A))]);
}

#[test]
fn a_try_that_is_signed_leaves_the_gate_open() {
    let mut bench = Bench::behind();
    bench.position = Some(A);
    bench.pass(1);
    assert_eq!(bench.pass(30).len(), 2);
    bench.rules.restarted(true, bench.now);
    bench.vote(A);
    assert_eq!(bench.pass(600), []);
    assert!(bench.is_open());
}

#[test]
fn a_try_that_gets_half_a_round_signed_does_not_shorten_the_pauses() {
    let mut bench = Bench::behind();
    bench.position = Some(A);
    bench.pass(1);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let waited = (1..=1000).find(|_| !bench.pass(1).is_empty());
        pauses.push(waited.expect("it is tried"));
        bench.vote(A);
        bench.refuse(A);
    }
    assert_eq!(pauses, [30, 30, 60, 120, 240]);
}

#[test]
fn nothing_is_tried_while_another_node_signs_or_no_voter_runs_or_rounds_go_on() {
    let mut bench = Bench::behind();
    bench.position = Some(at(3, 5));
    for n in 11..40 {
        bench.foreign(at(3, n));
        bench.pass(20);
    }
    assert!(!bench.is_open());
    let mut bench = Bench::behind();
    bench.position = None;
    assert_eq!(bench.pass(600), []);
    let (mut bench, _) = Bench::started(at(3, 1), None, Some(at(3, 900)));
    for round in 2..80 {
        bench.position = Some(at(3, round));
        assert_eq!(bench.pass(10), []);
    }
}

#[test]
fn a_node_that_cannot_restart_its_voter_says_so_once_and_waits_for_a_later_round() {
    let mut bench = Bench::behind();
    bench.position = Some(A);
    bench.pass(1);
    assert_eq!(bench.pass(30).len(), 2);
    assert_eq!(bench.rules.restarted(false, bench.now), [shut(1, Shut::NoRestart, A)]);
    assert_eq!(bench.pass(3600), []);
    bench.position = Some(next(A));
    assert_eq!(bench.pass(1).len(), 1);
    assert!(bench.is_open());
    assert_eq!(bench.pass(600), [], "nor is a restart asked for the round without a key");
}

#[test]
fn a_voter_that_stays_in_the_round_it_began_without_a_key_is_restarted_once() {
    let mut bench = Bench::behind();
    bench.position = Some(next(A));
    assert_eq!(bench.pass(10).len(), 1);
    assert_eq!(bench.pass(600), [(6, Output::RestartVoter)]);
}

#[test]
fn a_voter_that_votes_or_gets_on_is_not_restarted() {
    let mut votes = Bench::behind();
    votes.position = Some(next(A));
    votes.pass(12);
    votes.vote(next(A));
    assert_eq!(votes.pass(600), []);
    let mut gets_on = Bench::behind();
    gets_on.position = Some(next(A));
    gets_on.pass(12);
    gets_on.position = Some(at(3, 12));
    assert_eq!(gets_on.pass(600), []);
}

#[test]
fn a_gate_that_opens_before_a_voter_is_seen_gives_it_time_to_vote() {
    let mut bench = Bench::new(None);
    bench.watermark(1, None);
    assert_eq!(bench.pass(60), []);
    bench.position = Some(FIRST);
    assert_eq!(bench.pass(6), []);
    assert_eq!(bench.pass(600), [(1, Output::RestartVoter)]);
}

#[test]
fn each_key_has_a_gate_of_its_own() {
    let mut bench = Bench::open();
    let new = bench.watermark(2, None);
    assert_eq!(new, [Output::Opened { key: key(2), why: Opened::NeverVoted, highest: None }]);
    bench.refuse(A);
    assert_eq!((bench.rules.is_open(&key(1)), bench.rules.is_open(&key(2))), (false, true));
    assert!(!bench.rules.is_open(&key(3)));
    bench.rules.signed(&key(2), at(4, 1));
    bench.position = Some(next(A));
    let again = opened(1, Opened::Past { position: next(A) }, A);
    assert!(bench.pass(20).contains(&(10, again)), "a vote with the other key is no foreign one");
}

#[test]
fn one_restart_serves_all_keys_that_wait_for_it() {
    let mut bench = Bench::behind();
    bench.watermark(2, Some(A));
    bench.position = Some(A);
    bench.pass(1);
    let outputs: Vec<_> = bench.pass(30).into_iter().map(|(_, output)| output).collect();
    let why = Opened::Try { position: A };
    assert_eq!(outputs, [opened(1, why, A), opened(2, why, A), Output::RestartVoter]);
}

/// Two nodes with one key on a chain whose other validators keep the rounds going, one a second; signers that give a
/// vote of a round to whoever asks first. The two vote differently.
struct Twins {
    nodes: [Bench; 2],
    /// What each had from its gate when the present round began.
    has_key: [bool; 2],
    alive: [bool; 2],
    /// Who voted in a round.
    votes: BTreeMap<u64, usize>,
    refusals: usize,
    random: u64,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let node = || Bench::started(FIRST, Some(recorded(FIRST, &[])), None).0;
        Self {
            nodes: [node(), node()],
            has_key: [true; 2],
            alive: [true; 2],
            votes: BTreeMap::new(),
            refusals: 0,
            random: seed,
        }
    }

    /// Knuth's generator; the high bits are good enough.
    fn random(&mut self) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize
    }

    fn second(&mut self, round: u64) {
        let place = at(0, round);
        let first = self.random() % 2;
        for n in [first, 1 - first] {
            if self.alive[n] && self.has_key[n] {
                self.vote(n, place);
            }
        }
        for n in 0..2 {
            let node = &mut self.nodes[n];
            node.now += Duration::from_secs(1);
            node.position = self.alive[n].then_some(next(place));
            let _ = node.tick();
            self.has_key[n] = node.is_open();
        }
    }

    fn vote(&mut self, n: usize, place: VotePosition) {
        let by = *self.votes.entry(place.round).or_insert(n);
        let event_first = self.random().is_multiple_of(2);
        if by == n && !event_first {
            self.nodes[n].rules.signed(&key(1), place);
        }
        self.nodes.iter_mut().for_each(|node| drop(node.foreign(place)));
        if by == n {
            self.nodes[n].rules.signed(&key(1), place);
        } else {
            self.refusals += 1;
            self.nodes[n].refuse(place);
            self.has_key[n] = false;
        }
    }
}

#[test]
fn of_two_nodes_with_one_key_one_votes_and_the_other_takes_over_whichever_dies() {
    for seed in 0..50 {
        let mut twins = Twins::new(seed);
        let mut round = 1;
        for dies in 0..10 {
            for _ in 0..200 {
                twins.second(round);
                round += 1;
            }
            let voted = (round - 30..round).filter_map(|round| twins.votes.get(&round)).collect::<Vec<_>>();
            assert_eq!(voted.len(), 30, "seed {seed}: a vote in every round");
            assert!(voted.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: of one node");
            // Whoever is down comes back with its process and its gate closed; now and then the active one dies.
            twins.alive = [true; 2];
            if dies % 2 == 0 {
                twins.alive[*voted[0]] = false;
            }
        }
        assert!(twins.refusals <= 12, "seed {seed}: {} refusals", twins.refusals);
    }
}

/// The rules as the keystore reaches them, with a clock of their own.
struct Together {
    rules: std::sync::Mutex<Rules>,
    now: std::sync::Mutex<Instant>,
}

impl Together {
    fn rules<T>(&self, act: impl FnOnce(&mut Rules, Instant) -> T) -> T {
        let now = *self.now.lock().unwrap();
        act(&mut self.rules.lock().unwrap(), now)
    }

    /// A second passes, with the voter at this place.
    fn second(&self, position: VotePosition) -> Vec<Output> {
        *self.now.lock().unwrap() += Duration::from_secs(1);
        self.rules(|rules, now| rules.tick(Some(position), now))
    }
}

impl crate::ask::NodeSide for Together {
    fn header(&self, _: &[u8; 32]) -> Option<Vec<u8>> {
        None
    }
    fn commitment(&self, _: &[u8; 32]) -> Option<Vec<u8>> {
        None
    }
    fn vrf(&self, _: &sp_core::sr25519::vrf::VrfSignData) -> Option<signonce_substrate::VrfRequest> {
        None
    }
    fn may_vote(&self, key: &PublicKey) -> bool {
        self.rules(|rules, _| rules.is_open(key))
    }
    fn watermark(&self, key: &PublicKey, floor: Option<VotePosition>, highest: Option<VotePosition>) {
        self.rules(|rules, now| rules.watermark(key, floor, highest, now));
    }
    fn voted(&self, key: &PublicKey, at: VotePosition) {
        self.rules(|rules, _| rules.signed(key, at));
    }
    fn vote_refused(&self, key: &PublicKey, at: VotePosition) {
        self.rules(|rules, now| rules.refused(key, at, now));
    }
    fn key_gone(&self, key: &PublicKey) {
        self.rules(|rules, _| rules.forget(key));
    }
}

/// Asker, memory of refusals and rules together: a voter that stands still in a round in which another vote of its key
/// was signed asks for its recorded vote again whenever it has the key. The signers are asked once, and the gate hears of
/// every denial, so that the tries come with longer and longer pauses.
#[test]
fn a_vote_that_is_refused_from_memory_closes_the_gate_again_and_the_pauses_grow() {
    use crate::{
        keystore::{AskedBy, RemoteKeystore},
        testing::{Behaviour, FakeSigners, asker, id, vote},
    };
    use sp_core::{Pair as _, crypto::key_types::GRANDPA, ed25519};
    use sp_keystore::Keystore as _;
    use std::sync::{Arc, Mutex};

    let pair = ed25519::Pair::from_seed(&[1; 32]);
    let key = id(signonce_substrate::GRANDPA, pair.public()).public;
    let signers = Arc::new(FakeSigners::default().with_grandpa(&pair));
    signers.behave(Behaviour::Refuse(signonce_protocol::rpc::ErrorCode::Equivocation));
    let node = Arc::new(Together { rules: Mutex::default(), now: Mutex::new(Instant::now()) });
    let asker = asker(signers.clone(), node.clone(), crate::UnsignedVotes::EndTheVoter);
    assert!(asker.keys.wait_for_list(Duration::from_secs(60)));
    let keystore = RemoteKeystore::new(asker, AskedBy::Consensus);
    node.rules(|rules, now| {
        rules.recorded(None, now);
        rules.watermark(&key, Some(FIRST), Some(A), now)
    });

    let (mut asked_at, mut restarted) = (Vec::new(), None);
    for second in 0..1_000 {
        for output in node.second(A) {
            if output == Output::RestartVoter {
                restarted = Some(second);
            }
        }
        // A voter that ended is started again ten seconds later, without having been asked for.
        let starts = restarted.is_some_and(|at: u64| second >= at && (second - at).is_multiple_of(10));
        if starts && keystore.has_keys(&[(pair.public().0.to_vec(), GRANDPA)]) {
            let vote = vote(A.set_id, A.round, [7; 32]);
            assert!(keystore.ed25519_sign(GRANDPA, &pair.public(), &vote).is_err());
            asked_at.push(second);
        }
    }
    assert_eq!(signers.calls(), ["grandpaVote"], "the rest is answered from memory");
    let pauses: Vec<_> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [60, 120, 240, 480], "{asked_at:?}");
}
