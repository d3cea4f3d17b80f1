//! Requests that wait on a node for the log's answer, by the rules of `cluster/node/src/driver/waiters.rs`: sent once
//! to each leadership, never failed because it moved, unknown at the deadline unless nobody can have taken them.

use crate::around::Request;
use crate::setup::Micros;
use signonce_core::RequestId;
use signonce_protocol::{NodeId, Term};
use std::collections::BTreeMap;

/// A leader and its term.
pub type Leadership = (NodeId, Term);

/// One of them.
pub struct Waiter {
    /// What waits.
    pub request: Request,
    /// Whose it is; `None` for nobody.
    pub task: Option<usize>,
    deadline: Micros,
    sent_to: Option<Leadership>,
    maybe_taken: u32,
}

/// All of them, by sequence number.
#[derive(Default)]
pub struct Waiters(BTreeMap<u64, Waiter>);

impl Waiters {
    /// Adds one.
    pub fn add(&mut self, request: Request, task: Option<usize>, deadline: Micros) {
        let waiter = Waiter { task, deadline, sent_to: None, maybe_taken: 0, request };
        self.0.insert(waiter.request.id().seq, waiter);
    }

    /// Those that `leadership` has not been sent yet, marked as sent.
    pub fn take_unsent(&mut self, leadership: Leadership) -> Vec<Request> {
        let unsent = self.0.values_mut().filter(|waiter| waiter.sent_to != Some(leadership));
        unsent
            .map(|waiter| {
                waiter.sent_to = Some(leadership);
                waiter.maybe_taken += 1;
                waiter.request.clone()
            })
            .collect()
    }

    /// The state jumped over answers.
    pub fn ask_again(&mut self) {
        self.0.values_mut().for_each(|waiter| waiter.sent_to = None);
    }

    /// A stream to or from `peer` broke. Whether any was sent there.
    pub fn lost(&mut self, peer: NodeId) -> bool {
        let mut any = false;
        for waiter in self.0.values_mut().filter(|w| w.sent_to.is_some_and(|(to, _)| to == peer)) {
            waiter.sent_to = None;
            any = true;
        }
        any
    }

    /// The leader did not propose these.
    pub fn declined(&mut self, requests: &[RequestId]) {
        for id in requests {
            if let Some(waiter) = self.0.get_mut(&id.seq) {
                waiter.maybe_taken = waiter.maybe_taken.saturating_sub(1);
                waiter.sent_to = None;
            }
        }
    }

    /// The log has answered.
    pub fn decided(&mut self, id: RequestId) -> Option<Waiter> {
        self.0.remove(&id.seq)
    }

    /// Those whose time is up, each with whether it may have been taken.
    pub fn expire(&mut self, now: Micros) -> Vec<(Waiter, bool)> {
        let over: Vec<u64> =
            self.0.iter().filter(|(_, waiter)| waiter.deadline <= now).map(|(seq, _)| *seq).collect();
        let waiters = over.into_iter().filter_map(|seq| self.0.remove(&seq));
        waiters
            .map(|waiter| (waiter.maybe_taken > 0, waiter))
            .map(|(taken, waiter)| (waiter, taken))
            .collect()
    }

    /// All of them: the process has died.
    pub fn drain(&mut self) -> Vec<Waiter> {
        std::mem::take(&mut self.0).into_values().collect()
    }
}
