//! `signonce members add`: an id and a one-time token for a new node.

use crate::commands::common::{Confirm, Reach, Usage};
use serde_json::json;
use signonce_core::{Change, JoinToken};
use signonce_protocol::{LogIndex, NodeId};
use signonce_shared::{
    admin::client::{AdminClient, CallError},
    certs::write_new,
};
use std::path::PathBuf;

/// Invites a node: gives it a fresh id and a token to join with, once.
///
/// Nothing changes for the cluster until the node joins, and then it counts for nothing until it is promoted. The token
/// is shown here and nowhere else: the cluster keeps only its hash. To take an invitation back, remove the id.
///
/// Where changes need two officers this proposes the invitation, with the hash of a token that only you get. Once
/// another key officer has approved it, `signonce proposals list --all` shows the node's id.
#[derive(clap::Args, Debug)]
#[command(after_help = "Example:\n  \
    signonce members add --peer signer-4.example:7300 --token-file join-token")]
pub(super) struct Args {
    #[command(flatten)]
    pub invitation: Invitation,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

#[derive(clap::Args, Debug)]
pub(super) struct Invitation {
    /// The new node's address for the other members.
    #[arg(long, value_name = "HOST:PORT", value_parser = peer)]
    pub peer: String,
    /// Write the token to this new file, readable only by its owner, instead of showing it.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// What a node needs in order to join.
pub(super) struct Invited {
    pub place: InvitedAs,
    pub token: JoinToken,
}

/// The id that a node joins under, or the proposal that will give it one.
#[derive(Clone, Copy)]
pub(super) enum InvitedAs {
    Node(NodeId),
    Proposal(LogIndex),
}

fn peer(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse());
    match port {
        Some(Ok(1u16..)) => Ok(text.to_owned()),
        _ => Err("it must be host:port".into()),
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let Args { invitation, confirm, reach } = args;
    confirm.ask(format!("Will invite a node that will be at {}, as a learner.", invitation.peer))?;
    let (invited, cluster) = invite(&admin, &invitation, None).await?;
    let shown = invitation.token_file.is_none().then(|| invited.token.reveal());
    let value = match invited.place {
        InvitedAs::Node(node) => json!({
            "node": node, "token": shown, "tokenFile": invitation.token_file, "cluster": cluster,
        }),
        InvitedAs::Proposal(id) => json!({
            "state": "proposed", "proposal": id, "approve": format!("signonce proposals approve {id}"),
            "token": shown, "tokenFile": invitation.token_file, "cluster": cluster,
        }),
    };
    reach.output.done(&value, describe(&invited, &invitation, &cluster, "members add"))
}

/// Has the cluster invite a node, or proposes to; returns the invitation and the cluster's id. The token is kept in
/// either case, as nobody else ever has it.
pub(super) async fn invite(
    admin: &AdminClient,
    invitation: &Invitation,
    replaces: Option<NodeId>,
) -> anyhow::Result<(Invited, String)> {
    let cluster = admin.status().await?.cluster;
    if let Some(path) = invitation.token_file.as_ref().filter(|path| path.exists()) {
        return Err(Usage(format!("{} exists already; give another file", path.display())).into());
    }
    let token = JoinToken::new(rand::random());
    // Written before the invitation, which would be useless if its token were lost.
    if let Some(path) = &invitation.token_file {
        write_new(path, format!("{}\n", token.reveal()).as_bytes(), 0o600)?;
    }
    let change = Change::AddMember { peer_addr: invitation.peer.clone(), token: token.hash(), replaces };
    let place = match admin.change(&change).await {
        Ok(done) => InvitedAs::Node(done.node.unwrap_or(NodeId(done.at.0))),
        Err(CallError::Proposed { id }) => InvitedAs::Proposal(id),
        Err(error) => {
            // If nobody was invited, the file is useless and in the way; otherwise somebody may have been.
            if let Some(path) = invitation.token_file.as_ref().filter(|_| error.exit_code() != 3) {
                let _ = std::fs::remove_file(path);
            }
            return Err(error.into());
        }
    };
    Ok((Invited { place, token }, cluster))
}

/// What to do on the new machine.
pub(super) fn describe(invited: &Invited, invitation: &Invitation, cluster: &str, command: &str) -> String {
    let Invited { place, token } = invited;
    let host = invitation.peer.rsplit_once(':').map_or("HOST", |(host, _)| host);
    let (token, file) = match &invitation.token_file {
        Some(path) => (format!("in {}", path.display()), path.display().to_string()),
        None => (token.reveal(), "join-token".to_owned()),
    };
    let (invited, node, first) = match place {
        InvitedAs::Node(node) => (format!("Invited node {node}"), node.to_string(), String::new()),
        InvitedAs::Proposal(id) => (
            "Proposed the invitation: nothing changed yet, it takes two key officers".to_owned(),
            "ID".to_owned(),
            format!(
                "\n  0. another key officer, within a day: signonce proposals approve {id}\n     then ID is what \
                 `signonce proposals list --all` says"
            ),
        ),
    };
    let then = match command {
        "members add" => format!("\n  5. on a member: signonce members promote {node}"),
        _ => "\n  5. signonce members replace, again, goes on from there".to_owned(),
    };
    let then =
        if matches!(place, InvitedAs::Node(_)) && command != "members add" { String::new() } else { then };
    format!(
        "{invited}.\n  token  {token}\n\nThe token works once, and is kept nowhere else. Next:{first}\n  \
         1. signonce certs issue node --id {node} --cluster {cluster} --host {host}\n  \
         2. on the new machine: a configuration with node.id = {node}, this node and the others in cluster.members\n  \
         3. on the new machine, with the token in a file: signonce join --token-file {file}\n  \
         4. on the new machine: signonce start{then}"
    )
}
