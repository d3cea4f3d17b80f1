//! Requests of validators and administrators at a process, and what they are told: as `cluster/node/src/handle.rs` has
//! it.

use crate::around::{Around, DutyLine, Want};
use crate::judge::Asked;
use crate::machine::{Alive, Machine};
use crate::mutation::Mutation;
use crate::process::Process;
use crate::setup::{Micros, SECOND};
use signonce_core::node_actor;
use signonce_core::{Change, Claim, ClaimRequest, RequestId, Verdict};
use signonce_driver::clock::check_slot;
use signonce_driver::{Answer, Event as Input, Request, Submission, decision};
use signonce_protocol::{Duty as AnyDuty, NodeId};
use signonce_substrate::{Duty, SetId};
use std::time::Duration;

/// Who waits for the answer to a request.
pub(crate) struct Asker {
    /// Whose it is; `None` for nobody.
    task: Option<usize>,
    /// What was claimed, if it was a claim.
    claim: Option<Claim>,
}

impl Process {
    /// Tasks without an answer: the process has died.
    pub fn unanswered(&mut self) -> impl Iterator<Item = usize> {
        std::mem::take(&mut self.askers).into_values().filter_map(|asker| asker.task)
    }

    pub(crate) fn request(&mut self, task: usize, machine: &mut Machine, around: &mut Around) -> Alive {
        around.figures.asked += 1;
        if self.replica().status().not_member.is_some() {
            around.ask_another(task);
            return Ok(());
        }
        let patience = around.tasks[task].patience;
        match around.tasks[task].want.clone() {
            Want::Claim(claim) => self.claim(task, claim, patience, machine, around),
            Want::Change(change) => {
                let request = self.next_request(machine.id);
                around.judge.asks(request, Asked::Change(change.clone()));
                let actor = match &change {
                    Change::AnnounceMember(member) | Change::JoinMember { member, .. } => {
                        node_actor(member.node)
                    }
                    Change::WidenTolerance { .. } => node_actor(machine.id),
                    _ => "simulator".to_owned(),
                };
                let change = Request::Change { request, actor, time_ms: 0, change };
                self.submit(change, Asker { task: Some(task), claim: None }, patience, machine, around)
            }
        }
    }

    fn claim(
        &mut self,
        task: usize,
        truth: Claim,
        patience: Micros,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        let mut claim = truth.clone();
        if around.mutated(Mutation::SetIdIgnored) {
            claim.duty = without_set(&claim.duty);
        }
        let (state, applied) = (self.replica().state(), self.replica().status().applied);
        let state = state.read().expect("apply does not panic");
        let known = decision::known(&state, applied, &claim);
        let now = check_slot(&state, &claim, machine.unix_ms(around), around.setup.slot_tolerance);
        drop(state);
        if let Some(known) = known {
            if let Verdict::Refused(refusal) = &known.verdict {
                around.judge.refused(&truth, refusal);
            }
            // One that decides by itself has it recorded afterwards.
            let recorded = known.verdict != Verdict::Granted;
            release_or_refuse(task, known, &truth, machine, around);
            if recorded {
                return Ok(());
            }
        } else if now.is_err() {
            late(task, around);
            return Ok(());
        }
        self.submit_claim(truth, claim, Some(task), patience, machine, around)
    }

    fn submit_claim(
        &mut self,
        truth: Claim,
        claim: Claim,
        task: Option<usize>,
        patience: Micros,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        let request = self.next_request(machine.id);
        around.say(|| format!("machine {} takes {}: {request}", machine.number, truth.duty_line()));
        around.judge.asks(request, Asked::Claim(truth));
        let asker = Asker { task, claim: Some(claim.clone()) };
        self.submit(Request::Claim(ClaimRequest { request, claim }), asker, patience, machine, around)
    }

    fn submit(
        &mut self,
        request: Request,
        asker: Asker,
        patience: Micros,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        self.askers.insert(request.id().seq, asker);
        let submitted = crate::process::moment(around.now);
        let deadline = submitted + Duration::from_micros(patience);
        self.tell(Input::Submit(Submission { request, submitted, deadline }), machine, around)
    }

    fn next_request(&mut self, node: NodeId) -> RequestId {
        self.next_seq += 1;
        RequestId { node, boot: self.proc.boot, seq: self.next_seq }
    }

    pub(crate) fn answer(
        &mut self,
        request: RequestId,
        answer: Answer,
        machine: &mut Machine,
        around: &mut Around,
    ) -> Alive {
        let asker = self.askers.remove(&request.seq);
        let Asker { task, claim } = asker.expect("every request is answered once");
        match (answer, task) {
            (Answer::Unknown, task) => {
                if let Some(claim) = claim.filter(|_| around.mutated(Mutation::Unburn)) {
                    let free = Claim { time_ms: signonce_core::mutation::UNBURN, ..claim };
                    self.submit_claim(free.clone(), free, None, SECOND, machine, around)?;
                }
                task.into_iter().for_each(|task| around.ask_another(task));
            }
            (Answer::NeverTaken, Some(task)) => around.ask_another(task),
            (Answer::SlotOutOfRange { .. }, Some(task)) => late(task, around),
            (Answer::Change(done), Some(task)) => around.tasks[task].answer = Some(done.is_ok()),
            (Answer::Claim(decision), Some(task)) => {
                let Want::Claim(truth) = around.tasks[task].want.clone() else {
                    panic!("a change is answered with a verdict");
                };
                release_or_refuse(task, decision, &truth, machine, around);
            }
            (_, None) => {}
        }
        Ok(())
    }
}

/// A signature leaves with a grant for its very bytes, or not at all.
fn release_or_refuse(
    task: usize,
    decision: decision::Decision,
    claim: &Claim,
    machine: &Machine,
    around: &mut Around,
) {
    match decision.grant {
        Some(grant) => {
            // As the signer does: what is signed has beside its statement what the grant says.
            let carry = grant.carry().clone();
            let covers = grant.covers(&claim.key, &claim.digest, &carry);
            assert!(covers, "a grant for other bytes: {claim:?}");
            around.release(task, &Claim { carry, ..claim.clone() }, machine.number);
        }
        None => {
            around.figures.refused += 1;
            around.tasks[task].answer = Some(false);
        }
    }
}

/// The duty as it is read by somebody who leaves the set id out.
fn without_set(duty: &AnyDuty) -> AnyDuty {
    let mut typed = Duty::of(duty).expect("the work is Substrate's");
    match &mut typed {
        Duty::GrandpaVote { set_id, .. } | Duty::BeefyVote { set_id, .. } => *set_id = SetId(1),
        Duty::BabeBlock { .. } | Duty::AuraBlock { .. } | Duty::ParaSide { .. } => {}
    }
    typed.to_any()
}

/// The slot is not now, by somebody's clock: no node will take it later.
fn late(task: usize, around: &mut Around) {
    around.figures.late += 1;
    around.tasks[task].answer = Some(false);
}
