//! Requests of validators and administrators to a process, and its answers, as in `cluster/node/src/handle.rs`.

use crate::environment::{DutyLine, Environment, Want};
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
    /// The task; `None` if nobody waits.
    task: Option<usize>,
    /// What was claimed, if it was a claim.
    claim: Option<Claim>,
}

impl Process {
    /// Tasks that get no answer because the process has died.
    pub fn unanswered(&mut self) -> impl Iterator<Item = usize> {
        std::mem::take(&mut self.askers).into_values().filter_map(|asker| asker.task)
    }

    pub(crate) fn request(
        &mut self,
        task: usize,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        environment.figures.asked += 1;
        if self.replica().status().not_member.is_some() {
            environment.ask_another(task);
            return Ok(());
        }
        let patience = environment.tasks[task].patience;
        match environment.tasks[task].want.clone() {
            Want::Claim(claim) => self.claim(task, claim, patience, machine, environment),
            Want::Change(change) => {
                let request = self.next_request(machine.id);
                environment.judge.asks(request, Asked::Change(change.clone()));
                let actor = match &change {
                    Change::AnnounceMember(member) | Change::JoinMember { member, .. } => {
                        node_actor(member.node)
                    }
                    Change::WidenTolerance { .. } => node_actor(machine.id),
                    _ => "simulator".to_owned(),
                };
                let change = Request::Change { request, actor, time_ms: 0, change };
                self.submit(change, Asker { task: Some(task), claim: None }, patience, machine, environment)
            }
        }
    }

    fn claim(
        &mut self,
        task: usize,
        truth: Claim,
        patience: Micros,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        let mut claim = truth.clone();
        if environment.mutated(Mutation::SetIdIgnored) {
            claim.duty = without_set(&claim.duty);
        }
        let (state, applied) = (self.replica().state(), self.replica().status().applied);
        let state = state.read().expect("apply does not panic");
        let known = decision::known(&state, applied, &claim);
        let now = check_slot(&state, &claim, machine.unix_ms(environment), environment.setup.slot_tolerance);
        drop(state);
        if let Some(known) = known {
            if let Verdict::Refused(refusal) = &known.verdict {
                environment.judge.refused(&truth, refusal);
            }
            // A node that decides by itself has the claim recorded afterwards.
            let recorded = known.verdict != Verdict::Granted;
            release_or_refuse(task, known, &truth, machine, environment);
            if recorded {
                return Ok(());
            }
        } else if now.is_err() {
            late(task, environment);
            return Ok(());
        }
        self.submit_claim(truth, claim, Some(task), patience, machine, environment)
    }

    fn submit_claim(
        &mut self,
        truth: Claim,
        claim: Claim,
        task: Option<usize>,
        patience: Micros,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        let request = self.next_request(machine.id);
        environment.say(|| format!("machine {} takes {}: {request}", machine.number, truth.duty_line()));
        environment.judge.asks(request, Asked::Claim(truth));
        let asker = Asker { task, claim: Some(claim.clone()) };
        self.submit(Request::Claim(ClaimRequest { request, claim }), asker, patience, machine, environment)
    }

    fn submit(
        &mut self,
        request: Request,
        asker: Asker,
        patience: Micros,
        machine: &mut Machine,
        environment: &mut Environment,
    ) -> Alive {
        self.askers.insert(request.id().seq, asker);
        let submitted = crate::process::moment(environment.now);
        let deadline = submitted + Duration::from_micros(patience);
        self.tell(Input::Submit(Submission { request, submitted, deadline }), machine, environment)
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
        environment: &mut Environment,
    ) -> Alive {
        let asker = self.askers.remove(&request.seq);
        let Asker { task, claim } = asker.expect("every request is answered once");
        match (answer, task) {
            (Answer::Unknown, task) => {
                if let Some(claim) = claim.filter(|_| environment.mutated(Mutation::Unburn)) {
                    let free = Claim { time_ms: signonce_core::mutation::UNBURN, ..claim };
                    self.submit_claim(free.clone(), free, None, SECOND, machine, environment)?;
                }
                task.into_iter().for_each(|task| environment.ask_another(task));
            }
            (Answer::NeverTaken, Some(task)) => environment.ask_another(task),
            (Answer::SlotOutOfRange { .. }, Some(task)) => late(task, environment),
            (Answer::Change(done), Some(task)) => environment.tasks[task].answer = Some(done.is_ok()),
            (Answer::Claim(decision), Some(task)) => {
                let Want::Claim(truth) = environment.tasks[task].want.clone() else {
                    panic!("a change is answered with a verdict");
                };
                release_or_refuse(task, decision, &truth, machine, environment);
            }
            (_, None) => {}
        }
        Ok(())
    }
}

/// Releases a signature with a grant for its very bytes, or not at all.
fn release_or_refuse(
    task: usize,
    decision: decision::Decision,
    claim: &Claim,
    machine: &Machine,
    environment: &mut Environment,
) {
    match decision.grant {
        Some(grant) => {
            // As in the signer: the carry that is signed is the one in the grant.
            let carry = grant.carry().clone();
            let covers = grant.covers(&claim.key, &claim.digest, &carry);
            assert!(covers, "a grant for other bytes: {claim:?}");
            environment.release(task, &Claim { carry, ..claim.clone() }, machine.number);
        }
        None => {
            environment.figures.refused += 1;
            environment.tasks[task].answer = Some(false);
        }
    }
}

/// The duty as a reader that ignores the set id would see it.
fn without_set(duty: &AnyDuty) -> AnyDuty {
    let mut typed = Duty::of(duty).expect("the work is Substrate's");
    match &mut typed {
        Duty::GrandpaVote { set_id, .. } | Duty::BeefyVote { set_id, .. } => *set_id = SetId(1),
        Duty::BabeBlock { .. } | Duty::AuraBlock { .. } | Duty::ParaSide { .. } => {}
    }
    typed.to_any()
}

/// Ends a task whose slot is not now, by somebody's clock: no node will accept it later.
fn late(task: usize, environment: &mut Environment) {
    environment.figures.late += 1;
    environment.tasks[task].answer = Some(false);
}
