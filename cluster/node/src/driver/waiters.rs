//! Requests of this node that wait for the log's answer.
//!
//! A waiter is registered before its request is proposed, is answered by whichever commit of the request is applied
//! here first, and is never failed because leadership moved: the request may still commit. It is sent again, the same
//! bytes under the same id, when another leader appears: a claim that was recorded meanwhile is then a repeat.

use crate::metrics::Latency;
use crate::transport::frame::{Decline, Request};
use signonce_core::replica::{Decided, MemberHazard};
use signonce_core::{Outcome, RequestId};
use signonce_protocol::{LogIndex, NodeId, Term};
use std::collections::BTreeMap;
use std::time::Instant;
use tokio::sync::oneshot;

/// What a waiter is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The log decided.
    Decided(LogIndex, Outcome),
    /// The deadline passed after the request may have been proposed.
    Unknown,
    /// The deadline passed, or the node stopped, and no leader ever took the request.
    NeverTaken,
    /// The leader's clock says that the slot is not now.
    SlotOutOfRange { slot: u64, now: u64 },
    /// The leader sees what speaks against a change of the membership.
    Hazard(NodeId, MemberHazard),
}

/// A request handed to the driver.
pub(crate) struct Submission {
    pub request: Request,
    pub submitted: Instant,
    pub deadline: Instant,
    pub answer: oneshot::Sender<Answer>,
}

struct Waiter {
    submission: Submission,
    /// The leadership it was last sent to; `None` when it must be sent.
    sent_to: Option<Leadership>,
    /// Times it was sent and not declined: each may still commit.
    maybe_taken: u32,
}

/// A leader and its term: a request sent to one is lost with it, perhaps.
pub(crate) type Leadership = (NodeId, Term);

#[derive(Default)]
pub(crate) struct Waiters {
    waiting: BTreeMap<u64, Waiter>,
    /// How long requests wait before they are sent for the first time.
    queued: Latency,
}

impl Waiters {
    pub(crate) fn new(queued: Latency) -> Self {
        Self { waiting: BTreeMap::new(), queued }
    }

    pub(crate) fn add(&mut self, submission: Submission) {
        let seq = submission.request.id().seq;
        self.waiting.insert(seq, Waiter { submission, sent_to: None, maybe_taken: 0 });
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that `leadership` has not been sent yet, marked as sent.
    pub(crate) fn take_unsent(&mut self, leadership: Leadership) -> Vec<Request> {
        let mut requests = Vec::new();
        let now = Instant::now();
        for waiter in self.waiting.values_mut().filter(|w| w.sent_to != Some(leadership)) {
            if waiter.maybe_taken == 0 {
                self.queued.observe(now.saturating_duration_since(waiter.submission.submitted));
            }
            waiter.sent_to = Some(leadership);
            waiter.maybe_taken += 1;
            requests.push(waiter.submission.request.clone());
        }
        requests
    }

    /// Sends everything again at the next occasion: the state jumped over answers by a snapshot.
    pub(crate) fn ask_again(&mut self) {
        for waiter in self.waiting.values_mut() {
            waiter.sent_to = None;
        }
    }

    /// What was sent to `peer`, or its answer, may have been lost with a stream; it is sent again. Returns whether
    /// there was any.
    pub(crate) fn lost(&mut self, peer: NodeId) -> bool {
        let mut any = false;
        for waiter in self.waiting.values_mut().filter(|w| w.sent_to.is_some_and(|(to, _)| to == peer)) {
            waiter.sent_to = None;
            any = true;
        }
        any
    }

    pub(crate) fn decided(&mut self, decided: Decided) {
        if let Some(waiter) = self.waiting.remove(&decided.request.seq) {
            // The receiver may be gone: the client hung up. What was decided stays decided.
            let _ = waiter.submission.answer.send(Answer::Decided(decided.at, decided.outcome));
        }
    }

    fn answer(&mut self, seq: u64, answer: Answer) {
        if let Some(waiter) = self.waiting.remove(&seq) {
            let _ = waiter.submission.answer.send(answer);
        }
    }

    /// The leader did not propose these.
    pub(crate) fn declined(&mut self, requests: &[RequestId], why: Decline) {
        for id in requests {
            let Some(waiter) = self.waiting.get_mut(&id.seq) else { continue };
            waiter.maybe_taken = waiter.maybe_taken.saturating_sub(1);
            match why {
                Decline::NotLeader(_) | Decline::Busy => waiter.sent_to = None,
                // If an earlier leader may have taken it, its answer is still awaited.
                Decline::SlotOutOfRange { .. } | Decline::Hazard(..) if waiter.maybe_taken > 0 => {}
                Decline::SlotOutOfRange { slot, now } => {
                    self.answer(id.seq, Answer::SlotOutOfRange { slot, now });
                }
                Decline::Hazard(node, hazard) => self.answer(id.seq, Answer::Hazard(node, hazard)),
            }
        }
    }

    /// Answers those whose time is up, and forgets those whose client has hung up.
    pub(crate) fn expire(&mut self, now: Instant) {
        let over: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, w)| w.submission.deadline <= now || w.submission.answer.is_closed())
            .map(|(seq, _)| *seq)
            .collect();
        for seq in over {
            if let Some(waiter) = self.waiting.remove(&seq) {
                let answer = if waiter.maybe_taken > 0 { Answer::Unknown } else { Answer::NeverTaken };
                let _ = waiter.submission.answer.send(answer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::Change;
    use std::time::Duration;

    const FIRST: Leadership = (NodeId(1), Term(1));
    const SECOND: Leadership = (NodeId(2), Term(2));

    fn submit(waiters: &mut Waiters, seq: u64) -> (RequestId, oneshot::Receiver<Answer>) {
        let id = RequestId { node: NodeId(1), boot: 1, seq };
        let change = Change::RemoveClient { name: "a".into() };
        let request = Request::Change { request: id, actor: "test".into(), time_ms: 0, change };
        let (answer, answered) = oneshot::channel();
        let submitted = Instant::now();
        let deadline = submitted + Duration::from_secs(5);
        waiters.add(Submission { request, submitted, deadline, answer });
        (id, answered)
    }

    fn long_after() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_request_is_sent_once_to_each_leader() {
        let mut waiters = Waiters::default();
        let (_, _answered) = submit(&mut waiters, 1);
        assert_eq!(waiters.take_unsent(FIRST).len(), 1);
        assert_eq!(waiters.take_unsent(FIRST).len(), 0);
        assert_eq!(waiters.take_unsent(SECOND).len(), 1);
    }

    #[test]
    fn a_request_that_no_leader_took_is_not_unknown() {
        let mut waiters = Waiters::default();
        let (id, mut answered) = submit(&mut waiters, 1);
        waiters.take_unsent(FIRST);
        waiters.declined(&[id], Decline::Busy);
        waiters.expire(long_after());
        assert!(matches!(answered.try_recv(), Ok(Answer::NeverTaken)));
    }

    #[test]
    fn a_request_that_an_earlier_leader_may_have_taken_stays_unknown() {
        let mut waiters = Waiters::default();
        let (id, mut answered) = submit(&mut waiters, 1);
        waiters.take_unsent(FIRST);
        waiters.take_unsent(SECOND);
        waiters.declined(&[id], Decline::SlotOutOfRange { slot: 9, now: 1 });
        assert!(answered.try_recv().is_err(), "the first leader may still commit it");
        waiters.expire(long_after());
        assert!(matches!(answered.try_recv(), Ok(Answer::Unknown)));
    }

    #[test]
    fn a_request_lost_with_a_stream_is_sent_again_and_stays_unknown_until_answered() {
        let mut waiters = Waiters::default();
        let (_, mut answered) = submit(&mut waiters, 1);
        waiters.take_unsent(FIRST);
        assert!(!waiters.lost(SECOND.0));
        assert_eq!(waiters.take_unsent(FIRST).len(), 0, "it was sent to another node");
        assert!(waiters.lost(FIRST.0));
        assert_eq!(waiters.take_unsent(FIRST).len(), 1);
        waiters.expire(long_after());
        assert!(matches!(answered.try_recv(), Ok(Answer::Unknown)));
    }

    #[test]
    fn a_client_that_hung_up_leaves_nothing_behind() {
        let mut waiters = Waiters::default();
        drop(submit(&mut waiters, 1));
        waiters.expire(Instant::now());
        assert_eq!(waiters.len(), 0);
    }
}
