//! `signonce restore`: a backup into a new cluster.

mod floors;
mod work;

use super::{
    backup::{age, authority},
    common::{Confirm, Done, Reach, Usage, question, say, table},
    keys::wait_open,
};
use anyhow::Context as _;
use floors::{Bounds, FloorArgs, Outcome, Plan, PlannedKey};
use serde::Serialize;
use serde_json::json;
use signonce_cluster::clock::unix_ms;
use signonce_core::{BackupError, ClientState, Floors, MAX_SLOT_TOLERANCE};
use signonce_keys::{NodeIdentity, PassphraseSource, harden_process};
use signonce_shared::{
    admin::{api::AdminStatus, client::AdminClient},
    backup::{
        Verified,
        used::{self, Used},
        verify,
    },
    enroll::recipients,
    hint,
};
use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

/// Restores a backup into a new cluster, when a majority of the old one is lost.
///
/// The new cluster is made first, like any other: new machines (or wiped ones), a new cluster id, `signonce init` and
/// `signonce start` on each. This command then brings in chains, clients and keys. A key signs only from a floor on
/// that is past everything the old cluster can have signed: BABE and AURA keys from some slots after now; GRANDPA,
/// BEEFY and para keys from where you say, since no clock tells how far they voted after the backup was made. Without a
/// floor from you, such a key stays disarmed.
///
/// STOP every machine of the old cluster first, and never start one again: it would sign beside the new one. To
/// practise while the old cluster runs, use --drill: the cluster restored with it can never arm a key.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce restore --new-cluster --from /backups/signonce-0a1b2c3d-node2-000000081234-1760000000000 \\\n    \
      --backup-ca ca.pem --identity old-node2/identity.age --unlock-file old-node2/unlock \\\n    \
      --grandpa-floor 4022:0 --beefy-floor 4022:26113000 --para-floor 11900")]
pub struct Args {
    /// Confirms that the cluster is a new one: nothing is ever restored in place.
    #[arg(long, required = true)]
    new_cluster: bool,
    /// The backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// PEM: the authority that issued the certificates of the OLD cluster's nodes. By default the one in --config.
    #[arg(long = "backup-ca", value_name = "FILE")]
    backup_ca: Option<PathBuf>,
    /// The sealed identity (identity.age) of a node of the old cluster, which opens the keys of the backup.
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// The passphrase of that identity.
    #[arg(long, value_name = "FILE")]
    unlock_file: PathBuf,
    #[command(flatten)]
    floors: FloorArgs,
    /// The id of the OLD cluster, to confirm that it is stopped for good. Without it you are asked to type it.
    #[arg(long, value_name = "CLUSTER-ID", conflicts_with = "drill")]
    confirm: Option<String>,
    /// For practice, beside the running cluster: brings everything in and shows from where on each key would sign. The
    /// new cluster can never arm a key, and neither can any cluster restored from it.
    #[arg(long)]
    drill: bool,
    /// Do not ask for confirmation before a drill.
    #[arg(long, requires = "drill")]
    yes: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let ca = authority(args.backup_ca.as_deref(), args.reach.config_file())?;
    let backup = verify(&args.from, &ca)?;
    let admin = args.reach.client()?;
    let status = admin.status().await?;
    check_cluster(&backup, &status)?;
    if let Some(drill) = backup.state.registry().drill() {
        anyhow::bail!(
            "this is a backup of a drill (since its log entry {}), whose keys sign in another cluster; restore one of \
             that cluster",
            drill.begun
        );
    }
    if let (Some(drill), false) = (status.drill, args.drill) {
        anyhow::bail!(hint::told(&BackupError::Drill { begun: drill.begun }.into()));
    }
    if !args.drill {
        used::check(&args.from, &status.cluster)?;
    }
    let plan = plan(&args, &backup, &admin, &status).await?;
    confirm(&args, &backup, &status, &plan)?;
    work::begin(&admin, &backup, args.drill).await?;
    if !args.drill {
        used::mark(&args.from, &Used { cluster: status.cluster.clone(), time_ms: unix_ms() })?;
    }
    let report = work::restore(&admin, &backup, plan).await.with_context(
        || "the restore was interrupted; what was done stays done, and the same command goes on from there",
    )?;
    let brought: Vec<_> =
        report.iter().filter(|line| line.outcome != Outcome::Removed).map(|line| line.key).collect();
    wait_open(&admin, &brought).await?;
    let value = json!({
        "cluster": status.cluster,
        "backup": backup.manifest,
        "chains": backup.state.chains().map(|chain| chain.name.clone()).collect::<Vec<_>>(),
        "clients": active_clients(&backup),
        "keys": report,
        "drill": args.drill,
    });
    args.reach.output.done(&value, tell(&backup, &status, &report, args.drill))?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to restore in place, or into a cluster that has another backup.
fn check_cluster(backup: &Verified, status: &AdminStatus) -> anyhow::Result<()> {
    if backup.manifest.cluster.eq_ignore_ascii_case(&status.cluster) {
        anyhow::bail!(
            "the node that was asked is of the very cluster that the backup is of ({}); a backup is restored into a \
             new cluster, with an id of its own",
            status.cluster
        );
    }
    if let Some(origin) = &status.restored_from
        && origin.backup != backup.name
    {
        anyhow::bail!(
            "this cluster is being restored, or was, from another backup: of cluster {}, after its log entry {}",
            origin.backup.cluster,
            origin.backup.applied
        );
    }
    Ok(())
}

async fn plan(
    args: &Args,
    backup: &Verified,
    admin: &AdminClient,
    status: &AdminStatus,
) -> anyhow::Result<Plan> {
    // Before any secret is in memory.
    harden_process();
    let passphrase = PassphraseSource::File(args.unlock_file.clone()).read()?;
    let identity = NodeIdentity::load(&args.identity, &passphrase)?;
    let recipients = recipients(admin).await?;
    // A clock that is behind must not make a floor too low.
    let now_ms = unix_ms().max(status.time_ms).max(backup.manifest.created_ms);
    let there = admin.keys().await?;
    // What the backup says of it is what was so when it was made; until the cluster ended it can have been made as wide
    // as it gets.
    let tolerance = backup.manifest.slot_tolerance.max(MAX_SLOT_TOLERANCE);
    let bounds = Bounds { now_ms, tolerance };
    let mut keys = args.floors.plan(&backup.state, &there, bounds)?;
    if args.drill {
        keys.iter_mut().for_each(PlannedKey::rehearse);
    }
    // All of them before anything is changed: a key that does not open must not stop the restore half-way.
    let seal = |planned: PlannedKey| work::reseal(&backup.state, planned, &identity, &recipients);
    let keys = keys.into_iter().map(seal).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Plan { keys, members: recipients.len() })
}

fn active_clients(backup: &Verified) -> Vec<&str> {
    let clients = backup.state.clients().filter(|client| client.state == ClientState::Active);
    clients.map(|client| client.name.as_str()).collect()
}

fn confirm(args: &Args, backup: &Verified, status: &AdminStatus, plan: &Plan) -> anyhow::Result<()> {
    let old = &backup.manifest.cluster;
    let text = describe(backup, status, plan, args.drill);
    if args.drill {
        return Confirm { yes: args.yes }.ask(text);
    }
    say!("{text}");
    let typed = match &args.confirm {
        Some(given) => given.clone(),
        None if !io::stdin().is_terminal() => {
            let why = format!("nothing was done: there is no terminal to ask at; give --confirm {old}");
            return Err(Usage(why).into());
        }
        None => question("Type the id of the OLD cluster to continue, if it is stopped for good: ")?,
    };
    if typed.trim().eq_ignore_ascii_case(old) {
        return Ok(());
    }
    anyhow::bail!("nothing was done: {:?} is not the id of the old cluster, {old}", typed.trim());
}

fn describe(backup: &Verified, status: &AdminStatus, plan: &Plan, drill: bool) -> String {
    let manifest = &backup.manifest;
    let warning = if drill {
        "This is a DRILL: the cluster gets everything and can never arm a key. Its machines hold the secrets all the \
         same: destroy their disks when you are done."
    } else {
        "Every machine of the old cluster must be STOPPED now and never start again with its old disk: what it signed \
         after the backup nobody here knows, and whatever it signs from now on is signed twice."
    };
    format!(
        "Will restore a backup of cluster {} (by node {}, after log entry {}, {} ago) into the new cluster {}.\n\
         {} chains, {} clients, {} keys sealed to {} members:\n\n{}\n\
         {warning}\n",
        manifest.cluster,
        manifest.node,
        manifest.applied,
        age(manifest.created_ms),
        status.cluster,
        manifest.counts.chains,
        manifest.counts.clients,
        manifest.counts.keys,
        plan.members,
        keys_table(plan.keys.iter().map(|planned| &planned.line))
    )
}

/// One key in the plan and in the report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyLine {
    key: signonce_protocol::KeyId,
    chain: String,
    group: Option<String>,
    outcome: Outcome,
    /// The lowest position not signed by the backup: everything from here to `to` is given up.
    from: Option<Floors>,
    to: Option<Floors>,
    /// What is left for the operator to do.
    next: Option<String>,
}

fn keys_table<'a>(lines: impl Iterator<Item = &'a KeyLine>) -> String {
    let show = |at: Option<&Floors>| {
        let all = at.map(|at| at.positions().map(|at| at.to_string()).collect::<Vec<_>>().join(", "));
        all.unwrap_or_else(|| "-".to_owned())
    };
    let cells = lines.map(|line| {
        [
            line.group.clone().unwrap_or_default(),
            line.key.to_string(),
            line.outcome.to_string(),
            show(line.from.as_ref()),
            show(line.to.as_ref()),
        ]
    });
    table(["GROUP", "KEY", "WILL BE", "BURNT FROM", "SIGNS FROM"], cells)
}

fn tell(backup: &Verified, status: &AdminStatus, lines: &[KeyLine], drill: bool) -> String {
    let mut text = format!(
        "Cluster {} holds what cluster {} held.\n\n{}",
        status.cluster,
        backup.manifest.cluster,
        keys_table(lines.iter())
    );
    for line in lines.iter().filter(|line| line.next.is_some()) {
        text.push_str(&format!("\n{}: {}", line.key, line.next.as_deref().unwrap_or_default()));
    }
    if drill {
        text.push_str(
            "\n\nThat was a drill: no key of this cluster can ever be armed. Look around, then stop its machines and \
             destroy their disks, which hold the keys' secrets.",
        );
        return text;
    }
    text.push_str(
        "\n\nNext:\n  1. point the validators at the new cluster\n  2. destroy the old nodes' disks\n  \
         3. rotate the session keys on chain if the old identity or backup may have been seen by others",
    );
    text
}
