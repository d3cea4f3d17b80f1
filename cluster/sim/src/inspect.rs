//! Checks what must hold of a process after every event, and of everything it sends.

use crate::disk::Disk;
use crate::environment::Environment;
use crate::machine::Machine;
use crate::process::Process;
use raft::eraftpb::MessageType as T;
use signonce_core::replica::fence::Quarantine;
use signonce_core::replica::wire::PeerMessage;
use signonce_core::replica::{NotMember, ReplicaStatus, Role};

/// What was observed of a process before; these values only rise.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    term: u64,
    committed: u64,
    applied: u64,
}

impl Process {
    pub(crate) fn inspect(&mut self, machine: &mut Machine, environment: &mut Environment) {
        let status = self.replica().status();
        let ReplicaStatus { term, committed, applied, last, .. } = status;
        let now = Seen { term: term.0, committed: committed.0, applied: applied.0 };
        if status.role == Role::Leader && status.not_member.is_none() {
            environment.judge.leads(term.0, machine.number);
        }
        if now.applied != self.seen.applied {
            environment.judge.applied(self.seen.applied, now.applied, &self.chains, status.state_hash);
            environment.mix(now.applied ^ (now.term << 32));
            self.chains = self.chains.split_off(&now.applied);
        }
        let Seen { term, committed, applied } = self.seen;
        assert!(
            now.term >= term && now.committed >= committed && now.applied >= applied,
            "machine {} went back in one life: ({term}, {committed}, {applied}) to {status:?}",
            machine.number
        );
        assert!(
            now.applied <= now.committed && now.committed <= last.0,
            "machine {}: positions out of order: {status:?}",
            machine.number
        );
        self.seen = now;
        if let Some(NotMember::Quarantined(why)) = status.not_member
            && machine.halted.is_none()
        {
            let left = environment.judge.was_removed(machine.id);
            if why == Quarantine::Removed && !machine.damaged {
                assert!(left, "machine {}: nobody removed it", machine.number);
                machine.leaving = Some(why.to_string());
                return;
            }
            let expected = machine.damaged || left;
            assert!(expected, "machine {}, an honest one, is in quarantine: {why}", machine.number);
            environment.say(|| format!("machine {} is in quarantine: {why}", machine.number));
            environment.figures.halted += 1;
            machine.halted = Some(why.to_string());
        }
    }
}

/// Checks that a node tells only what a crash cannot take back: terms, votes and entries that are durable.
pub(crate) fn said_is_durable(message: &PeerMessage, disk: &Disk) {
    let m = &message.message;
    let hard_state = disk.durable.hard_state;
    let voted = |m_term: u64, vote: u64| hard_state.term == m_term && hard_state.vote == vote;
    let durable = match m.get_msg_type() {
        // A later term may have overwritten what was acknowledged in an earlier one.
        T::MsgAppendResponse if !m.reject => {
            hard_state.term > m.term || (hard_state.term == m.term && disk.durable.last >= m.index)
        }
        T::MsgAppend | T::MsgHeartbeat | T::MsgSnapshot => hard_state.term >= m.term,
        T::MsgRequestVote => hard_state.term > m.term || voted(m.term, m.from),
        T::MsgRequestVoteResponse if !m.reject => hard_state.term > m.term || voted(m.term, m.to),
        _ => true,
    };
    assert!(durable, "said before it was durable: {}, but {:?}", describe(message), disk.durable);
}

pub(crate) fn describe(message: &PeerMessage) -> String {
    let m = &message.message;
    let mut line = format!("{:?} term {} at {}/{}", m.get_msg_type(), m.term, m.index, m.log_term);
    if !m.entries.is_empty() {
        line += &format!(" +{} entries", m.entries.len());
    }
    if m.commit > 0 {
        line += &format!(" commit {}", m.commit);
    }
    if m.reject {
        line += " rejected";
    }
    line
}
