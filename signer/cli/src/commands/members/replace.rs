//! `signonce members replace`: replaces a node that is dead or has to go, step by step.
//!
//! The cluster itself records the progress (the invitation names the node that it replaces), so the command can be
//! interrupted anywhere and run again.

use super::{
    LOOK, describe_seen, find,
    invite::{self, Invitation, InvitedAs},
    promote_now, remove_now, seen_by,
};
use crate::commands::common::{Confirm, Reach, Usage, say};
use anyhow::{Context as _, bail};
use serde_json::json;
use signonce_core::{Change, MemberRole};
use signonce_protocol::{KeyId, LogIndex, NodeId};
use signonce_shared::admin::{
    api::{AdminError, AdminErrorCode, MemberRow, ProposalRow},
    client::{AdminClient, CallError},
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How many voters must be left if a dead one is removed first: fewer survive no loss.
const VOTERS_LEFT: usize = 3;
/// How many entries a learner may be behind when it is promoted.
const CAUGHT_UP: u64 = 100;

/// Replaces a node that is dead or has to go.
///
/// Run it on the leader. It shows each step, waits for what has to be done on the new machine, and continues where it
/// was when it is run again.
///
/// The order: an old node that does not answer is removed right after the invitation, if three voters are left. A vote
/// that nobody gives counts against the quorum for as long as it is there, and a new node that fails as well must not
/// add another. If fewer would be left it is removed last, because two voters survive no loss and no restart. A node
/// that still answers is removed last too: until the new one votes it is worth more than an empty place.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    signonce members replace 3 --peer signer-4.example:7300 --token-file join-token")]
pub(super) struct Args {
    /// The node to replace.
    node: u64,
    /// The new node's address for the other members. Not needed to continue a replacement.
    #[arg(long, value_name = "HOST:PORT")]
    peer: Option<String>,
    /// Write the token to this new file, readable only by its owner, instead of showing it.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Stop after waiting this many seconds for the new machine; run the same command again to continue.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    wait: u64,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// A replacement and its progress.
struct Replacement {
    admin: AdminClient,
    old: NodeId,
    deadline: Instant,
    /// The keys that the old node was able to open.
    seen: Vec<KeyId>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let old = NodeId(args.node);
    must_lead(&admin).await?;
    let row = find(&admin, old).await?;
    let begun = successor(&admin, old).await?;
    let first = goes_first(&admin, &row).await?;
    let seen = seen_by(&row, &admin.keys().await?);
    args.confirm.ask(plan(old, first, begun.as_ref()))?;
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let replacement = Replacement { admin, old, deadline, seen };
    let new = match begun {
        Some(row) => row.node,
        None if row.is_removed() => bail!(
            "node {old} was removed, and nobody was invited in its place: `signonce members add` invites a node"
        ),
        None => replacement.invite(args.peer, args.token_file).await?,
    };
    replacement.finish(new).await?;
    let Replacement { seen, .. } = replacement;
    let value = json!({ "removed": old, "node": new, "keysSeen": seen });
    let text = format!("Node {new} has taken the place of node {old}.\n{}", describe_seen(old, &seen));
    args.reach.output.done(&value, text)
}

/// Refuses unless the node leads, as only the leader knows who answers.
async fn must_lead(admin: &AdminClient) -> Result<(), CallError> {
    let status = admin.status().await?;
    if status.leader == Some(status.node) {
        return Ok(());
    }
    let leader = status.leader.map_or_else(|| "there is none now".to_owned(), |node| format!("node {node}"));
    let why =
        format!("node {} does not lead, and only the leader sees who answers; ask it: {leader}", status.node);
    Err(AdminError::new(AdminErrorCode::NotReady, why).into())
}

/// The node that was invited to replace `old`, if any.
async fn successor(admin: &AdminClient, old: NodeId) -> Result<Option<MemberRow>, CallError> {
    let rows = admin.members().await?;
    Ok(rows.into_iter().find(|row| row.replaces == Some(old) && !row.is_removed()))
}

/// Whether the old node should be removed before the new one votes.
async fn goes_first(admin: &AdminClient, old: &MemberRow) -> Result<bool, CallError> {
    let rows = admin.members().await?;
    let left = rows.iter().filter(|row| row.voter && row.node != old.node).count();
    Ok(!old.is_removed() && old.active == Some(false) && left >= VOTERS_LEFT)
}

fn plan(node: NodeId, first: bool, begun: Option<&MemberRow>) -> String {
    let begun = match begun {
        Some(new) => {
            format!("\nIt was begun with node {} ({}): this goes on with it.", new.node, super::role(new))
        }
        None => String::new(),
    };
    let steps = if first {
        "invite a node, remove the old one, which does not answer, wait until the new one has joined and caught up, \
         promote it"
    } else {
        "invite a node, wait until it has joined and caught up, promote it, remove the old one"
    };
    format!("Will replace node {node}: {steps}, wait until all keys are sealed for the new one.{begun}")
}

impl Replacement {
    async fn invite(&self, peer: Option<String>, token_file: Option<PathBuf>) -> anyhow::Result<NodeId> {
        self.check_not_proposed().await?;
        let peer =
            peer.ok_or_else(|| Usage("say where the new node will be, with --peer HOST:PORT".into()))?;
        let invitation = Invitation { peer, token_file };
        let (invited, cluster) = invite::invite(&self.admin, &invitation, Some(self.old)).await?;
        say!("{}\n", invite::describe(&invited, &invitation, &cluster, "members replace"));
        match invited.place {
            InvitedAs::Node(node) => Ok(node),
            InvitedAs::Proposal(id) => Err(CallError::Proposed { id }.into()),
        }
    }

    /// Refuses if an undecided proposal invites the new node: another one would come with another token.
    async fn check_not_proposed(&self) -> Result<(), CallError> {
        let rows = self.admin.officers().await?.proposals;
        let same = |row: &&ProposalRow| {
            let open = row.proposal.decision.is_none() && !row.expired;
            let replaces = match &row.proposal.change {
                Change::AddMember { replaces, .. } => *replaces,
                _ => None,
            };
            open && replaces == Some(self.old)
        };
        match rows.iter().find(same) {
            Some(row) => Err(CallError::Proposed { id: row.proposal.id }),
            None => Ok(()),
        }
    }

    /// Everything after the invitation, in the order that keeps a quorum of live nodes.
    async fn finish(&self, new: NodeId) -> anyhow::Result<()> {
        let old = find(&self.admin, self.old).await?;
        if goes_first(&self.admin, &old).await? {
            self.remove("it does not answer, so it goes first").await?;
        }
        let row = self
            .wait(new, "it has joined (`signonce join` on the new machine)", |row| !row.is_invited())
            .await?;
        if row.wanted != Some(MemberRole::Voter) || row.role != Some(MemberRole::Voter) {
            let near = |row: &MemberRow| {
                row.active == Some(true)
                    && row.matched > Some(LogIndex(0))
                    && row.lag.is_some_and(|lag| lag <= CAUGHT_UP)
            };
            self.wait(new, "it answers and has caught up (`signonce start` on the new machine)", near)
                .await?;
            if row.wanted != Some(MemberRole::Voter) {
                promote_now(&self.admin, new).await?;
            }
            self.wait(new, "it votes", |row| row.voter).await?;
        }
        step(format!("node {new} is a voter"));
        if !find(&self.admin, self.old).await?.is_removed() {
            self.remove("the new one votes").await?;
        }
        self.wait_sealed(new).await
    }

    async fn remove(&self, why: &str) -> anyhow::Result<()> {
        let at = remove_now(&self.admin, self.old).await?;
        step(format!("node {} is removed (log entry {at}): {why}", self.old));
        Ok(())
    }

    /// Waits until the new node's row satisfies `done`.
    async fn wait(
        &self,
        new: NodeId,
        what: &str,
        done: impl Fn(&MemberRow) -> bool,
    ) -> anyhow::Result<MemberRow> {
        let mut told = false;
        loop {
            must_lead(&self.admin).await?;
            let row = find(&self.admin, new).await?;
            if row.is_removed() {
                bail!(
                    "node {new} was removed meanwhile; run `signonce members replace` again for a new invitation"
                );
            }
            if done(&row) {
                return Ok(row);
            }
            if !std::mem::replace(&mut told, true) {
                step(format!("node {new} is {}: waiting until {what}", super::role(&row)));
            }
            self.check_time(what)?;
            sleep(LOOK).await;
        }
    }

    /// Waits until the leader has sealed every key for the new node.
    async fn wait_sealed(&self, new: NodeId) -> anyhow::Result<()> {
        let mut told = false;
        loop {
            let keys = self.admin.keys().await?;
            let left = keys.iter().filter(|key| key.not_sealed_for.contains(&new)).count();
            if left == 0 {
                step(format!("every key is sealed for node {new}"));
                return Ok(());
            }
            if !std::mem::replace(&mut told, true) {
                step(format!("{left} keys are not sealed for node {new} yet: the leader does it by itself"));
            }
            self.check_time("every key is sealed for it")?;
            sleep(LOOK).await;
        }
    }

    fn check_time(&self, what: &str) -> anyhow::Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let why = format!("stopped waiting until {what}; run the same command again to go on");
        Err::<(), _>(CallError::from(AdminError::new(AdminErrorCode::NotReady, why))).context("not done yet")
    }
}

/// Reports a step at once, separately from the result on standard output.
fn step(text: String) {
    say!("- {text}");
}
