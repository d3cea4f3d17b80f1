//! The way of a request from this node to the log: proposed where it leads, else sent to the leader once, and never
//! further. What does not fit the leader's clock, or what it sees of the members, is declined before it is proposed.

use crate::clock::check_slot;
use crate::driver::{Driver, Effect, Now, Observed};
use crate::frame::Frame;
use crate::request::{CLAIMS_PER_ENTRY, Decline, Request, into_commands};
use signonce_core::RequestId;
#[cfg(signonce_sim)]
use signonce_core::mutation::{self, Mutation};
use signonce_core::replica::ProposeError;
use signonce_protocol::NodeId;

/// Requests in one forwarded frame at most.
const REQUESTS_PER_FRAME: usize = 64;

impl Driver {
    /// Proposes what is waiting, or sends it to the leader.
    pub(crate) fn route(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let leader = self.replica.leader();
        let leads = leader == Some(self.node);
        if !leads {
            self.proposals.forget();
        }
        for (from, requests) in std::mem::take(&mut self.forwarded) {
            if leads {
                self.propose(from, requests, now, effects);
            } else {
                let ids = requests.iter().map(Request::id).collect();
                self.decline(from, ids, Decline::NotLeader(leader), effects);
            }
        }
        let Some(leader) = leader.filter(|_| !self.hold_off) else { return };
        let unsent = self.waiters.take_unsent((leader, self.replica.term()), now.at, effects);
        if leads {
            return self.propose(leader, unsent, now, effects);
        }
        effects.extend(unsent.chunks(REQUESTS_PER_FRAME).map(|some| Effect::Forward(leader, some.to_vec())));
    }

    fn propose(&mut self, from: NodeId, requests: Vec<Request>, now: Now, effects: &mut Vec<Effect>) {
        let requests = self.without_hazards(from, requests, effects);
        let requests = self.in_time(from, requests, now, effects);
        for (ids, command) in into_commands(requests, CLAIMS_PER_ENTRY) {
            let why = match self.replica.propose(&command) {
                Ok(()) => {
                    self.proposals.proposed(self.replica.last(), now.at);
                    #[cfg(signonce_sim)]
                    if mutation::is(Mutation::ReleaseBeforeCommit) && from == self.node {
                        self.answer_uncommitted(&command, effects);
                    }
                    effects.push(Effect::Observe(Observed::Proposed(ids)));
                    continue;
                }
                Err(ProposeError::NotLeader { leader }) => Decline::NotLeader(leader),
                Err(ProposeError::Busy | ProposeError::NotMember) => Decline::Busy,
            };
            self.decline(from, ids, why, effects);
        }
    }

    /// Declines changes of the membership that something speaks against at the moment.
    fn without_hazards(
        &mut self,
        from: NodeId,
        requests: Vec<Request>,
        effects: &mut Vec<Effect>,
    ) -> Vec<Request> {
        let mut safe = Vec::with_capacity(requests.len());
        for request in requests {
            let hazard = match &request {
                Request::Change { change, .. } => self.replica.hazard(change),
                Request::Claim(_) => None,
            };
            match hazard {
                Some((node, hazard)) => {
                    self.decline(from, vec![request.id()], Decline::Hazard(node, hazard), effects);
                }
                None => safe.push(request),
            }
        }
        safe
    }

    /// Declines claims whose slot is not now: the leader's own look at the clock.
    fn in_time(
        &mut self,
        from: NodeId,
        mut requests: Vec<Request>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Vec<Request> {
        #[cfg(signonce_sim)]
        if mutation::is(Mutation::LeaderReadsNoClock) {
            return requests;
        }
        let mut late: Vec<(RequestId, Decline)> = Vec::new();
        let state = self.state.read().expect("apply does not panic");
        requests.retain(|request| {
            let Request::Claim(claim) = request else { return true };
            let checked = check_slot(&state, &claim.claim, now.unix_ms, self.config.slot_tolerance);
            let Err(off) = checked else { return true };
            late.push((request.id(), Decline::SlotOutOfRange { slot: off.slot.0, now: off.now.0 }));
            false
        });
        drop(state);
        for (id, why) in late {
            self.decline(from, vec![id], why, effects);
        }
        requests
    }

    fn decline(&mut self, from: NodeId, requests: Vec<RequestId>, why: Decline, effects: &mut Vec<Effect>) {
        if from == self.node {
            self.hold_off |= why.passes();
            self.waiters.declined(&requests, why, effects);
        } else {
            // If this frame is lost, the peer asks again once it hears this node on another stream.
            effects.push(Effect::Say(from, Frame::Declined(requests, why)));
        }
    }

    /// The answer before there is one: what the state says before the log does.
    #[cfg(signonce_sim)]
    fn answer_uncommitted(&mut self, command: &signonce_core::Command, effects: &mut Vec<Effect>) {
        let signonce_core::Command::Claims(claims) = command else { return };
        for claim in claims {
            let verdict = self.state.read().expect("apply does not panic").check(&claim.claim);
            if verdict == signonce_core::Verdict::Granted {
                let outcome = signonce_core::Outcome::Verdict(verdict);
                let (request, at) = (claim.request, self.replica.last());
                self.waiters.decided(signonce_core::replica::Decided { request, at, outcome }, effects);
            }
        }
    }
}
