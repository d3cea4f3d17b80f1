//! Requests of this node that wait for the log's answer.
//!
//! A waiter is registered before its request is proposed, is answered by whichever commit of the request is applied
//! here first, and is never failed because leadership moved: the request may still commit. It is sent again, the same
//! bytes under the same id, when another leader appears: a claim that was recorded meanwhile is then a repeat.

use crate::decision::Decision;
use crate::driver::{Effect, Moment, Observed};
use crate::request::{Answer, Decline, Request, Submission};
use signonce_core::replica::Decided;
use signonce_core::{ChangeError, MemberError, Outcome, RequestId};
use signonce_protocol::{NodeId, Term};
use std::collections::BTreeMap;

struct Waiter {
    submission: Submission,
    /// The leadership it was last sent to; `None` when it must be sent.
    sent_to: Option<Leadership>,
    /// Times it was sent and not declined: each may still commit.
    maybe_taken: u32,
}

/// A leader and its term: a request sent to one is lost with it, perhaps.
pub(crate) type Leadership = (NodeId, Term);

/// All of them, by sequence number.
#[derive(Default)]
pub(crate) struct Waiters(BTreeMap<u64, Waiter>);

impl Waiters {
    pub(crate) fn add(&mut self, submission: Submission) {
        let seq = submission.request.id().seq;
        self.0.insert(seq, Waiter { submission, sent_to: None, maybe_taken: 0 });
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Requests that `leadership` has not been sent yet, marked as sent.
    pub(crate) fn take_unsent(
        &mut self,
        leadership: Leadership,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        for waiter in self.0.values_mut().filter(|w| w.sent_to != Some(leadership)) {
            if waiter.maybe_taken == 0 {
                let queued = now.saturating_sub(waiter.submission.submitted);
                effects.push(Effect::Observe(Observed::Queued(queued)));
            }
            waiter.sent_to = Some(leadership);
            waiter.maybe_taken += 1;
            requests.push(waiter.submission.request.clone());
        }
        requests
    }

    /// Sends everything again at the next occasion: the state jumped over answers by a snapshot.
    pub(crate) fn ask_again(&mut self) {
        self.0.values_mut().for_each(|waiter| waiter.sent_to = None);
    }

    /// What was sent to `peer`, or its answer, may have been lost with a stream; it is sent again. Returns whether
    /// there was any.
    pub(crate) fn lost(&mut self, peer: NodeId) -> bool {
        let mut any = false;
        for waiter in self.0.values_mut().filter(|w| w.sent_to.is_some_and(|(to, _)| to == peer)) {
            waiter.sent_to = None;
            any = true;
        }
        any
    }

    /// The log has answered.
    pub(crate) fn decided(&mut self, decided: Decided, effects: &mut Vec<Effect>) {
        let Some(waiter) = self.0.remove(&decided.request.seq) else { return };
        let answer = match (waiter.submission.request, decided.outcome) {
            (Request::Claim(claim), Outcome::Verdict(verdict)) => {
                Answer::Claim(Decision::from_log(decided.at, verdict, &claim.claim))
            }
            (Request::Change { .. }, Outcome::Change(done)) => Answer::Change(done),
            (Request::Claim(_), Outcome::Change(_)) | (Request::Change { .. }, Outcome::Verdict(_)) => {
                unreachable!("claims are answered with verdicts, and nothing else is")
            }
        };
        effects.push(Effect::Answer(decided.request, answer));
    }

    /// The leader did not propose these.
    pub(crate) fn declined(&mut self, requests: &[RequestId], why: Decline, effects: &mut Vec<Effect>) {
        for id in requests {
            let Some(waiter) = self.0.get_mut(&id.seq) else { continue };
            waiter.maybe_taken = waiter.maybe_taken.saturating_sub(1);
            let answer = match why {
                Decline::NotLeader(_) | Decline::Busy => {
                    waiter.sent_to = None;
                    continue;
                }
                // If an earlier leader may have taken it, its answer is still awaited.
                Decline::SlotOutOfRange { .. } | Decline::Hazard(..) if waiter.maybe_taken > 0 => continue,
                Decline::SlotOutOfRange { slot, now } => Answer::SlotOutOfRange { slot, now },
                Decline::Hazard(node, hazard) => {
                    Answer::Change(Err(ChangeError::Member(MemberError::MemberHazard { node, hazard })))
                }
            };
            self.0.remove(&id.seq);
            effects.push(Effect::Answer(*id, answer));
        }
    }

    /// Answers those whose time is up.
    pub(crate) fn expire(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for (_, waiter) in self.0.extract_if(.., |_, waiter| waiter.submission.deadline <= now) {
            let answer = if waiter.maybe_taken > 0 { Answer::Unknown } else { Answer::NeverTaken };
            effects.push(Effect::Answer(waiter.submission.request.id(), answer));
        }
    }

    /// Nobody waits for these any more.
    pub(crate) fn forget(&mut self, numbers: &[u64]) {
        for seq in numbers {
            self.0.remove(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{change, claim};
    use signonce_core::MemberHazard;

    const FIRST: Leadership = (NodeId(1), Term(1));
    const SECOND: Leadership = (NodeId(2), Term(2));
    const DEADLINE: Moment = Moment::from_secs(5);
    const FAR_SLOT: Decline = Decline::SlotOutOfRange { slot: 9, now: 1 };

    /// One waiter, and what its owner is told.
    struct Trial {
        waiters: Waiters,
        id: RequestId,
        told: Vec<Answer>,
    }

    impl Trial {
        fn of(request: Request) -> Self {
            let id = request.id();
            let mut waiters = Waiters::default();
            waiters.add(Submission { request, submitted: Moment::ZERO, deadline: DEADLINE });
            Self { waiters, id, told: Vec::new() }
        }

        /// How many are sent to this leadership now.
        fn send(&mut self, leadership: Leadership) -> usize {
            self.waiters.take_unsent(leadership, Moment::ZERO, &mut Vec::new()).len()
        }

        fn hear(&mut self, say: impl FnOnce(&mut Waiters, RequestId, &mut Vec<Effect>)) {
            let mut effects = Vec::new();
            say(&mut self.waiters, self.id, &mut effects);
            for effect in effects {
                let Effect::Answer(id, answer) = effect else { panic!("{effect:?}") };
                assert_eq!(id, self.id);
                self.told.push(answer);
            }
        }

        fn decline(&mut self, why: Decline) {
            self.hear(|waiters, id, effects| waiters.declined(&[id], why, effects));
        }

        fn expire(&mut self) {
            self.hear(|waiters, _, effects| waiters.expire(DEADLINE, effects));
            assert_eq!(self.waiters.len(), 0);
        }
    }

    #[test]
    fn a_request_is_sent_once_to_each_leader() {
        let mut trial = Trial::of(change(1));
        assert_eq!([FIRST, FIRST, SECOND, SECOND].map(|leader| trial.send(leader)), [1, 0, 1, 0]);
    }

    #[test]
    fn what_is_unanswered_at_the_deadline_is_unknown_if_a_leader_may_have_taken_it() {
        type Steps = fn(&mut Trial);
        let cases: [(&str, Steps, bool); 6] = [
            ("never sent", |_| {}, false),
            ("sent", |t| assert_eq!(t.send(FIRST), 1), true),
            (
                "sent and declined",
                |t| {
                    t.send(FIRST);
                    t.decline(Decline::Busy);
                },
                false,
            ),
            (
                "declined by the second leader only",
                |t| {
                    t.send(FIRST);
                    t.send(SECOND);
                    t.decline(Decline::NotLeader(None));
                },
                true,
            ),
            (
                "the second leader's clock is against it, and the first may have taken it",
                |t| {
                    t.send(FIRST);
                    t.send(SECOND);
                    t.decline(FAR_SLOT);
                    assert!(t.told.is_empty(), "the first leader may still commit it");
                },
                true,
            ),
            (
                "lost with a stream",
                |t| {
                    t.send(FIRST);
                    assert!(!t.waiters.lost(SECOND.0), "it was sent to another node");
                    assert_eq!(t.send(FIRST), 0);
                    assert!(t.waiters.lost(FIRST.0));
                    assert_eq!(t.send(FIRST), 1, "it is sent again");
                },
                true,
            ),
        ];
        for (what, steps, maybe_taken) in cases {
            let mut trial = Trial::of(claim(1));
            steps(&mut trial);
            trial.hear(|waiters, _, effects| waiters.expire(DEADLINE - Moment::from_millis(1), effects));
            assert!(trial.told.is_empty(), "{what}: before its deadline");
            trial.expire();
            let unknown = matches!(trial.told[..], [Answer::Unknown]);
            let never = matches!(trial.told[..], [Answer::NeverTaken]);
            assert_eq!((unknown, never), (maybe_taken, !maybe_taken), "{what}: {:?}", trial.told);
        }
    }

    #[test]
    fn what_no_leader_will_take_is_answered_at_once() {
        let mut late = Trial::of(claim(1));
        late.send(FIRST);
        late.decline(FAR_SLOT);
        assert!(matches!(late.told[..], [Answer::SlotOutOfRange { slot: 9, now: 1 }]));
        let mut hazard = Trial::of(change(1));
        hazard.send(FIRST);
        hazard.decline(Decline::Hazard(NodeId(4), MemberHazard::NotActive));
        assert!(matches!(
            hazard.told[..],
            [Answer::Change(Err(ChangeError::Member(MemberError::MemberHazard { .. })))]
        ));
        assert_eq!((late.waiters.len(), hazard.waiters.len()), (0, 0));
    }

    #[test]
    fn after_a_jump_over_answers_everything_is_asked_again() {
        let mut trial = Trial::of(claim(1));
        trial.send(FIRST);
        trial.waiters.ask_again();
        assert_eq!(trial.send(FIRST), 1);
    }

    #[test]
    fn a_client_that_hung_up_leaves_nothing_behind() {
        let mut trial = Trial::of(claim(1));
        trial.send(FIRST);
        trial.waiters.forget(&[trial.id.seq]);
        assert_eq!(trial.waiters.len(), 0);
        trial.expire();
        assert!(trial.told.is_empty());
    }
}
