//! The audit beside the log: what a node notes by itself, signs, prunes and gives to operators.
//!
//! Records come out of the replicated log ([`signonce_core::audit`]). What never reaches the log is noted in a
//! [`Notebook`] and brought there by [`Auditor::run`], merged and at a low rate; the same task signs the chain with the
//! node's certificate ([`head`]) and prunes the node's copy. [`query`] looks records up. How they are read, exported
//! and checked is in `signonce_shared::audit`.

pub mod head;
pub mod notes;
pub mod query;

use head::HeadSigner;
use notes::Notebook;
use signonce_cluster::{Handle, SubmitError, clock::unix_ms};
use signonce_core::{AuditNote, AuditSignature, Change, node_actor};
use signonce_shared::config::AuditSection;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How often the task runs, and so how soon notes reach the log.
const ROUND: Duration = Duration::from_secs(2);
/// Between two prunings.
const PRUNE: Duration = Duration::from_secs(600);
/// How long a change may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most notes in one change, so that a log entry stays small.
const NOTES_PER_CHANGE: usize = 64;

/// Runs the audit tasks of a node.
pub struct Auditor {
    handle: Handle,
    notes: Arc<Notebook>,
    signer: HeadSigner,
    section: AuditSection,
    signed: Option<(Instant, u64)>,
    pruned: Option<Instant>,
}

impl Auditor {
    /// The audit tasks of a started node.
    pub fn new(handle: Handle, notes: Arc<Notebook>, signer: HeadSigner, section: AuditSection) -> Self {
        if section.keep_records.is_some() {
            tracing::warn!(
                "audit.keep_records has no effect any more: records go by age alone (audit.keep_days)"
            );
        }
        Self { handle, notes, signer, section, signed: None, pruned: None }
    }

    /// Works until the process ends.
    pub async fn run(mut self) {
        loop {
            tokio::time::sleep(ROUND).await;
            self.prune().await;
            // A node that is not ready cannot bring any records.
            if self.handle.ready().is_err() {
                continue;
            }
            self.bring_notes().await;
            self.sign().await;
        }
    }

    /// Brings notes into the log. Those that were certainly not taken are kept. Those that may have been taken are not
    /// brought again: a count that is sometimes too low is better than one that is too high.
    async fn bring_notes(&self) {
        let notes = self.notes.take(unix_ms());
        let mut chunks = notes.chunks(NOTES_PER_CHANGE);
        while let Some(chunk) = chunks.next() {
            let change = Change::RecordAudit { notes: chunk.to_vec() };
            match self.change(change).await {
                Ok(()) | Err(SubmitError::Unknown) => {}
                Err(error) => {
                    tracing::debug!(%error, "notes for the audit wait");
                    let rest: Vec<AuditNote> = chunk.iter().chain(chunks.flatten()).cloned().collect();
                    return self.notes.give_back(rest);
                }
            }
        }
    }

    /// Signs the chain, if it has grown since the last time.
    async fn sign(&mut self) {
        let head = self.handle.read(|state| state.audit_head());
        let every = Duration::from_secs(self.section.sign_secs);
        if self.signed.is_some_and(|(at, events)| at.elapsed() < every || events == head.events) {
            return;
        }
        if head.events == 0 {
            return;
        }
        self.signer.refresh().await;
        let node = self.handle.node();
        let signature: AuditSignature = match self.signer.sign(node, head.next, head.chain) {
            Ok(signature) => signature,
            Err(error) => return tracing::warn!(%error, "the audit chain cannot be signed"),
        };
        if self.change(Change::SignAudit(signature)).await.is_ok() {
            self.signed = Some((Instant::now(), head.events));
            tracing::debug!(next = head.next, "audit chain signed");
        }
    }

    async fn change(&self, change: Change) -> Result<(), SubmitError> {
        let done = self.handle.change(node_actor(self.handle.node()), change, TIMEOUT).await?;
        if let Err(refused) = done {
            tracing::warn!(%refused, "the cluster does not take this node's notes for the audit");
        }
        Ok(())
    }

    /// Removes records that are older than the configuration allows.
    async fn prune(&mut self) {
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE) {
            return;
        }
        self.pruned = Some(Instant::now());
        let (audit, section) = (self.handle.audit(), self.section.clone());
        let pruned = tokio::task::spawn_blocking(move || {
            let Some((first, last)) = audit.ends()? else { return Ok(None) };
            let oldest = unix_ms().saturating_sub(section.keep_days.saturating_mul(86_400_000));
            // By age alone: a client that makes many records must not push out those of others. The newest record
            // stays, so that the next one has something to follow.
            let before = audit.seq_at(oldest)?.min(last.seq);
            if before > first.seq {
                audit.prune(before);
                return Ok(Some(before - first.seq));
            }
            Ok::<_, signonce_cluster::AuditError>(None)
        });
        match pruned.await {
            Ok(Ok(Some(records))) => tracing::info!(records, "old audit records pruned"),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => tracing::warn!(%error, "audit records cannot be pruned"),
        }
    }
}
