//! The GRANDPA gate: when the node's voter may have its key.
//!
//! A vote that the signers refuse ends the voter, and a voter that starts again in the same round asks for the same
//! vote again. So `has_keys` answers "no" for a GRANDPA key until the voter is past everything that was ever signed
//! with it: a voter without a key still follows rounds, and takes part again at the start of the first round where it
//! may. The signers refuse whatever would equivocate in any case; the gate keeps the voter alive.
//!
//! This file has the rules for all keys of a node: [`Rules`] takes in what happened, with its time, and returns what to
//! do. It has no clock, no thread and no I/O; [`Gate`] (in `poll.rs`) has those.
//!
//! ```text
//!                 never voted │ database past all votes │ recorded votes signed again
//!   first watermark ──────────┴────────────┬────────────┴───────────> open ──┐
//!          └── else: closed <──────────────┼─────────────── refused ─────────┘
//!                      └── past the watermark and no other signer for QUIET ──> open
//!                      └── the chain stands still: a try, with longer pauses ──> open
//! ```

mod memory;
mod poll;
mod reason;
#[cfg(test)]
mod tests;

pub(crate) use poll::{Gate, Preflight};
pub use poll::{VoterPosition, VoterView};

use memory::Recorded;
use reason::{Opened, Shut};
use signonce_protocol::PublicKey;
use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

/// How long nobody else may have signed with the key before the gate opens: someone who does is alive.
const QUIET: Duration = Duration::from_secs(10);
/// The same after many refusals without a signature between them.
const QUIET_MOST: Duration = Duration::from_secs(300);
/// How long the voter stands still before a closed gate is opened as an attempt.
const STANDSTILL: Duration = Duration::from_secs(30);
/// The longest pause between attempts.
const TRY_PAUSE_MOST: Duration = Duration::from_secs(600);
/// How long after opening the voter may go without a vote in its round before it is restarted: a round that began
/// without a key ends without one, and if the chain needs this vote it never ends.
const IDLE: Duration = Duration::from_secs(6);
/// For how long the set id must have been stable: the node knows of a new set a moment before its voter does, and until
/// then the voter's round belongs to the old set.
const SETTLED: Duration = Duration::from_secs(2);
/// The pause before the signers are asked again about recorded votes.
const PREFLIGHT_PAUSE: Duration = Duration::from_secs(2);
/// The first round of a chain.
const FIRST: VotePosition = VotePosition { set_id: 0, round: 1 };

/// A position in the order of votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VotePosition {
    /// The authority set.
    pub(crate) set_id: u64,
    /// The round within the set: they begin at 1 in every set.
    pub(crate) round: u64,
}

impl fmt::Display for VotePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {} round {}", self.set_id, self.round)
    }
}

/// What the shell has to do or report.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Output {
    Opened {
        key: PublicKey,
        why: Opened,
        highest: Option<VotePosition>,
    },
    Closed {
        key: PublicKey,
        why: Shut,
        highest: Option<VotePosition>,
    },
    /// A closed gate stays closed, because another node signs with the key.
    StandingBy {
        key: PublicKey,
        highest: VotePosition,
    },
    /// Ask the signers for these votes and tell [`Rules::preflighted`].
    Preflight {
        key: PublicKey,
        at: VotePosition,
        votes: Vec<Vec<u8>>,
    },
    /// Have the voter restarted and tell [`Rules::restarted`].
    RestartVoter,
}

/// The gates of all keys of the node: after a rotation there are an old and a new one.
#[derive(Default)]
struct Rules {
    keys: BTreeMap<PublicKey, Key>,
    voter: Voter,
}

/// What is known of the node's voter.
#[derive(Default)]
struct Voter {
    /// `None` until the record was read; `Some(None)` if there is none.
    recorded: Option<Option<Recorded>>,
    seen: Option<Seen>,
    /// Whether a voter was running at the last check.
    running: bool,
    cannot_restart: bool,
}

/// The last known position of the voter.
struct Seen {
    at: VotePosition,
    /// Since when it has been there.
    since: Instant,
    set_since: Instant,
}

/// What is known of one key. Exists once the signers have reported its watermark.
struct Key {
    gate: State,
    /// The lowest place where anything may still be signed; `None` before the key is armed.
    floor: Option<VotePosition>,
    /// The highest place where anything was signed with it, by anyone.
    highest: Option<VotePosition>,
    /// The highest place where this process got a signature.
    own: Option<VotePosition>,
    /// The highest place where this process was refused.
    refused: Option<VotePosition>,
    /// When the watermark last moved without a signature of ours.
    foreign: Option<Foreign>,
    /// Refusals since the last signature, not counting attempts.
    refusals: u32,
    /// Attempts since the voter last advanced.
    tries: u32,
}

/// A move of the watermark that no signature of ours explains so far; the answer can come after the event.
#[derive(Clone, Copy)]
struct Foreign {
    at: VotePosition,
    when: Instant,
}

#[derive(Clone, Copy)]
enum State {
    Open(Open),
    Closed(Closed),
}

#[derive(Clone, Copy)]
struct Open {
    since: Instant,
    /// The voter's place then, or the first one seen after.
    from: Option<VotePosition>,
    is_try: bool,
    /// Whether the voter will be restarted if it does not vote.
    may_restart: bool,
}

#[derive(Clone, Copy)]
struct Closed {
    since: Instant,
    phase: Phase,
    /// Whether it was reported that another node signs.
    standing_by: bool,
}

/// The phase of a closed gate.
#[derive(Clone, Copy)]
enum Phase {
    /// The start: nothing is decided, because the voter's record or the key's floor is not known.
    Undecided,
    /// The recorded votes of this round were not yet answered by the signers.
    Preflight { at: VotePosition, next: Instant },
    /// Waiting until the voter is past the watermark.
    Behind,
}

impl Rules {
    fn is_open(&self, key: &PublicKey) -> bool {
        self.keys.get(key).is_some_and(|key| matches!(key.gate, State::Open(_)))
    }

    /// The signers reported how far a key has signed.
    fn watermark(
        &mut self,
        id: &PublicKey,
        floor: Option<VotePosition>,
        highest: Option<VotePosition>,
        now: Instant,
    ) -> Vec<Output> {
        let key = self.keys.entry(*id).or_insert_with(|| Key::new(highest, now));
        key.floor = key.floor.max(floor);
        key.advance(highest, now);
        key.decide(id, &self.voter, now).into_iter().collect()
    }

    /// This process got a signature.
    fn signed(&mut self, id: &PublicKey, at: VotePosition) {
        if let Some(key) = self.keys.get_mut(id) {
            key.signed(at);
        }
    }

    /// This process was denied a vote.
    fn refused(&mut self, id: &PublicKey, at: VotePosition, now: Instant) -> Option<Output> {
        self.keys.get_mut(id)?.refused(id, at, now)
    }

    /// The key is not this node's any more. If it comes back, its watermark tells how far it has signed.
    fn forget(&mut self, id: &PublicKey) {
        self.keys.remove(id);
    }

    /// The voter's record was read; `None` if there is none, or none that can be read.
    fn recorded(&mut self, recorded: Option<Recorded>, now: Instant) -> Vec<Output> {
        self.voter.recorded = Some(recorded);
        let Self { keys, voter } = self;
        keys.iter_mut().filter_map(|(id, key)| key.decide(id, voter, now)).collect()
    }

    /// The voter's position was read, `None` if none runs. To be called about every second.
    fn tick(&mut self, position: Option<VotePosition>, now: Instant) -> Vec<Output> {
        let Self { keys, voter } = self;
        voter.look(position, now);
        let mut outputs: Vec<_> = keys.iter_mut().flat_map(|(id, key)| key.tick(id, voter, now)).collect();
        // One restart serves all keys, after all of them have opened.
        let told = outputs.len();
        outputs.retain(|output| *output != Output::RestartVoter);
        if outputs.len() < told {
            outputs.push(Output::RestartVoter);
        }
        outputs
    }

    /// The signers answered the votes recorded for `at`.
    fn preflighted(
        &mut self,
        id: &PublicKey,
        at: VotePosition,
        answer: Preflight,
        now: Instant,
    ) -> Option<Output> {
        self.keys.get_mut(id)?.preflighted(id, at, answer, &self.voter, now)
    }

    /// The node was asked to restart its voter.
    fn restarted(&mut self, done: bool, now: Instant) -> Vec<Output> {
        self.voter.cannot_restart = !done;
        if done {
            return Vec::new();
        }
        let tries =
            self.keys.iter_mut().filter(|(_, key)| matches!(key.gate, State::Open(open) if open.is_try));
        tries.map(|(id, key)| key.close(id, Shut::NoRestart, now)).collect()
    }
}

impl Voter {
    fn look(&mut self, position: Option<VotePosition>, now: Instant) {
        self.running = position.is_some();
        let Some(at) = position else { return };
        self.seen = Some(match self.seen.take() {
            Some(seen) if seen.at == at => seen,
            Some(seen) if seen.at.set_id == at.set_id => Seen { at, since: now, set_since: seen.set_since },
            _ => Seen { at, since: now, set_since: now },
        });
    }

    /// Where a running voter certainly is.
    fn settled(&self, now: Instant) -> Option<VotePosition> {
        let seen =
            self.seen.as_ref().filter(|seen| self.running && now.duration_since(seen.set_since) >= SETTLED);
        seen.map(|seen| seen.at)
    }
}

impl Key {
    fn new(highest: Option<VotePosition>, now: Instant) -> Self {
        Self {
            gate: State::Closed(Closed { since: now, phase: Phase::Undecided, standing_by: false }),
            floor: None,
            highest,
            own: None,
            refused: None,
            foreign: None,
            refusals: 0,
            tries: 0,
        }
    }

    /// Whether nothing is in the way of voting at `place`.
    fn allows(&self, place: VotePosition) -> bool {
        let past = Some(place) > self.highest && Some(place) > self.refused;
        past && self.floor.is_some_and(|floor| place >= floor)
    }

    /// Follows the watermark, which only rises; an older state from a signer that lags behind changes nothing.
    fn advance(&mut self, highest: Option<VotePosition>, now: Instant) {
        let Some(at) = highest.filter(|_| highest > self.highest) else { return };
        self.highest = highest;
        // Our own signatures raised it when they came: see `signed`.
        self.foreign = Some(Foreign { at, when: now });
    }

    fn signed(&mut self, at: VotePosition) {
        self.own = self.own.max(Some(at));
        self.highest = self.highest.max(Some(at));
        // What is at or below it was ours: the event was faster than the answer.
        self.foreign = self.foreign.filter(|foreign| Some(foreign.at) > self.own);
        self.refusals = 0;
        if Some(at) > self.refused {
            self.tries = 0;
        }
        if let State::Open(open) = &mut self.gate {
            open.is_try = false;
            open.may_restart = false;
        }
    }

    fn refused(&mut self, id: &PublicKey, at: VotePosition, now: Instant) -> Option<Output> {
        self.refused = self.refused.max(Some(at));
        let State::Open(open) = self.gate else { return None };
        if !open.is_try {
            self.refusals = self.refusals.saturating_add(1);
        }
        Some(self.close(id, Shut::Refused { at }, now))
    }

    fn open(&mut self, id: &PublicKey, why: Opened, from: Option<VotePosition>, now: Instant) -> Output {
        let is_try = matches!(why, Opened::Try { .. });
        self.gate = State::Open(Open { since: now, from, is_try, may_restart: !is_try });
        Output::Opened { key: *id, why, highest: self.highest }
    }

    fn close(&mut self, id: &PublicKey, why: Shut, now: Instant) -> Output {
        self.gate = State::Closed(Closed { since: now, phase: Phase::Behind, standing_by: false });
        Output::Closed { key: *id, why, highest: self.highest }
    }

    /// The decision at the start, as soon as there is enough to decide it.
    fn decide(&mut self, id: &PublicKey, voter: &Voter, now: Instant) -> Option<Output> {
        let State::Closed(Closed { phase: Phase::Undecided, .. }) = self.gate else { return None };
        let floor = self.floor?;
        let from = voter.seen.as_ref().map(|seen| seen.at);
        if self.highest.is_none() && floor <= FIRST {
            return Some(self.open(id, Opened::NeverVoted, from, now));
        }
        let Some(recorded) = voter.recorded.as_ref()? else {
            return Some(self.close(id, Shut::NothingRecorded, now));
        };
        let next = recorded.next();
        if self.allows(next) {
            return Some(self.open(id, Opened::DatabaseAhead { next }, from, now));
        }
        if self.highest != Some(next) {
            return Some(self.close(id, Shut::RecordBehind { next }, now));
        }
        if recorded.votes(id, next).is_empty() {
            return Some(self.close(id, Shut::VotesNotRecorded { at: next }, now));
        }
        self.set_phase(Phase::Preflight { at: next, next: now });
        None
    }

    fn set_phase(&mut self, to: Phase) {
        if let State::Closed(closed) = &mut self.gate {
            closed.phase = to;
        }
    }

    fn preflighted(
        &mut self,
        id: &PublicKey,
        at: VotePosition,
        answer: Preflight,
        voter: &Voter,
        now: Instant,
    ) -> Option<Output> {
        match self.gate {
            State::Closed(Closed { phase: Phase::Preflight { at: asked, .. }, .. }) if asked == at => {}
            _ => return None,
        }
        match answer {
            Preflight::Unknown => {
                self.set_phase(Phase::Preflight { at, next: now + PREFLIGHT_PAUSE });
                None
            }
            // Somebody else voted on: these votes are safe, but the ones after them are not ours.
            Preflight::Signed if self.highest > Some(at) => {
                Some(self.close(id, Shut::RecordBehind { next: at }, now))
            }
            Preflight::Signed => {
                self.own = self.own.max(Some(at));
                let from = voter.seen.as_ref().map(|seen| seen.at);
                Some(self.open(id, Opened::VotesConfirmed { at }, from, now))
            }
            Preflight::Refused => {
                self.refused = self.refused.max(Some(at));
                Some(self.close(id, Shut::Refused { at }, now))
            }
        }
    }

    fn tick(&mut self, id: &PublicKey, voter: &Voter, now: Instant) -> Vec<Output> {
        match self.gate {
            State::Open(open) => self.tick_open(open, voter, now).into_iter().collect(),
            State::Closed(closed) => match closed.phase {
                Phase::Undecided => Vec::new(),
                Phase::Preflight { at, next } => {
                    self.ask_again(id, at, next, voter, now).into_iter().collect()
                }
                Phase::Behind => self.tick_behind(id, closed, voter, now),
            },
        }
    }

    /// A voter that stays in the round in which the gate opened, without voting, began it without a key.
    fn tick_open(&mut self, open: Open, voter: &Voter, now: Instant) -> Option<Output> {
        let seen =
            voter.seen.as_ref().filter(|_| open.may_restart && voter.running && !voter.cannot_restart)?;
        let next = match open.from {
            None => Open { from: Some(seen.at), since: now, ..open },
            Some(from) if from == seen.at && now.duration_since(open.since) < IDLE => return None,
            Some(_) => Open { may_restart: false, ..open },
        };
        self.gate = State::Open(next);
        let idle = open.from == Some(seen.at) && !next.may_restart;
        idle.then_some(Output::RestartVoter)
    }

    fn ask_again(
        &mut self,
        id: &PublicKey,
        at: VotePosition,
        next: Instant,
        voter: &Voter,
        now: Instant,
    ) -> Option<Output> {
        if self.highest > Some(at) {
            return Some(self.close(id, Shut::RecordBehind { next: at }, now));
        }
        if now < next {
            return None;
        }
        self.set_phase(Phase::Preflight { at, next: now + PREFLIGHT_PAUSE });
        let votes = voter.recorded.iter().flatten().flat_map(|recorded| recorded.votes(id, at)).collect();
        Some(Output::Preflight { key: *id, at, votes })
    }

    fn tick_behind(&mut self, id: &PublicKey, closed: Closed, voter: &Voter, now: Instant) -> Vec<Output> {
        let others = self.foreign.map(|foreign| foreign.when).filter(|when| *when >= closed.since);
        if let (Some(highest), true, false) = (self.highest, others.is_some(), closed.standing_by) {
            self.gate = State::Closed(Closed { standing_by: true, ..closed });
            return vec![Output::StandingBy { key: *id, highest }];
        }
        let quiet_for = now.duration_since(others.unwrap_or(closed.since));
        let Some(seen) = voter.seen.as_ref().filter(|_| voter.running) else { return Vec::new() };
        if let Some(position) = voter.settled(now).filter(|place| self.allows(*place))
            && quiet_for >= doubled(QUIET, self.refusals.saturating_sub(1), QUIET_MOST)
        {
            return vec![self.open(id, Opened::Past { position }, Some(position), now)];
        }
        let stands = now.duration_since(seen.since) >= STANDSTILL;
        if !voter.cannot_restart && stands && quiet_for >= doubled(STANDSTILL, self.tries, TRY_PAUSE_MOST) {
            self.tries = self.tries.saturating_add(1);
            let position = seen.at;
            return vec![self.open(id, Opened::Try { position }, Some(position), now), Output::RestartVoter];
        }
        Vec::new()
    }
}

/// `first`, twice as long for each of `times`, but no longer than `most`.
fn doubled(first: Duration, times: u32, most: Duration) -> Duration {
    2u32.checked_pow(times).and_then(|factor| first.checked_mul(factor)).map_or(most, |wait| wait.min(most))
}
