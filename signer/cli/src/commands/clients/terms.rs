//! `clients limits`, `clients rotate` and `clients show`.

use super::{allowance_of, describe_right};
use crate::commands::common::{Confirm, Reach, Usage};
use anyhow::Context as _;
use signonce_core::{Change, ClientLimits, ClientState};
use signonce_shared::{
    activity::ClientActivity,
    admin::{api::ClientRow, client::AdminClient},
    tls::PeerIdentity,
};
use std::{fmt::Write as _, path::PathBuf};

/// Sets how much a client may ask of each signer.
///
/// Every client has limits, so that none can starve another: by default 1000 requests a second, 2000 at once after a
/// pause, and 256 claims under way. Each signer counts for itself. Requests above that are refused with `rateLimited`
/// and the time to wait; nothing is signed and no duty is consumed. Numbers that are not given stay as they are.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce clients limits validator-a --per-second 200 --burst 400\n  \
    signonce clients limits validator-a --default\n  \
    signonce clients limits --everyone --in-flight 64")]
pub(super) struct Limits {
    /// The client's name.
    #[arg(required_unless_present = "everyone", conflicts_with = "everyone")]
    name: Option<String>,
    /// Every client without limits of its own.
    #[arg(long)]
    everyone: bool,
    /// Requests per second, in the long run.
    #[arg(long, value_name = "N", required_unless_present_any = ["burst", "in_flight", "default"])]
    per_second: Option<u32>,
    /// Requests that may come at once after a pause.
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// Claims that may wait for the cluster at the same time.
    #[arg(long, value_name = "N")]
    in_flight: Option<u32>,
    /// Go back to the default limits.
    #[arg(long, conflicts_with_all = ["per_second", "burst", "in_flight"])]
    default: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Replaces a client's certificate key, without a gap.
///
/// First give `--cert` with the new certificate: from then on both are accepted. Move the validator to the new one,
/// check with `clients show` which one it uses, then give `--finish`: the old one is never accepted again. A renewed
/// certificate with the same key needs none of this, as clients are known by their key.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce clients rotate validator-a --cert new/client-validator-a.pem\n  \
    signonce clients rotate validator-a --finish")]
pub(super) struct Rotate {
    /// The client's name.
    name: String,
    /// PEM: the new certificate.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["finish", "cancel"])]
    cert: Option<PathBuf>,
    /// Keep the new certificate; the old one is never accepted again.
    #[arg(long, conflicts_with_all = ["cert", "cancel"])]
    finish: bool,
    /// Keep the old certificate; the new one is never accepted again.
    #[arg(long, conflicts_with = "cert")]
    cancel: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Shows everything about a client: rights, limits, certificates, and what it asked of the node that answers.
#[derive(clap::Args, Debug)]
pub(super) struct Show {
    /// The client's name.
    name: String,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn limits(args: Limits) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let (whose, now) = match &args.name {
        Some(name) => (format!("client {name}"), find(&admin, name).await?.limits),
        None => ("every client without limits of its own".to_owned(), admin.officers().await?.default_limits),
    };
    let limits = (!args.default).then_some(ClientLimits {
        per_second: args.per_second.unwrap_or(now.per_second),
        burst: args.burst.unwrap_or(now.burst),
        in_flight: args.in_flight.unwrap_or(now.in_flight),
    });
    let to = limits.as_ref().map_or_else(|| "the default".to_owned(), describe_limits);
    args.confirm.ask(format!("Will limit {whose} to {to}; so far it was {}.", describe_limits(&now)))?;
    let done = admin.change(&Change::SetClientLimits { name: args.name.clone(), limits }).await?;
    args.reach.output.done(&done, format!("Limited {whose} to {to} (log entry {}).", done.at))
}

pub(super) async fn rotate(args: Rotate) -> anyhow::Result<()> {
    let (admin, name) = (args.reach.client()?, &args.name);
    let row = find(&admin, name).await?;
    let (change, plan, told) = if let Some(cert) = &args.cert {
        let identity = PeerIdentity::of_file(cert)?;
        if identity.admin.is_some() {
            let why =
                "an admin's certificate would let this client change the cluster; issue a client certificate";
            return Err(Usage(why.into()).into());
        }
        if identity.spki == row.spki {
            anyhow::bail!(
                "client {name} is known by this key already: a renewed certificate needs nothing here"
            );
        }
        let change = Change::RotateClient { name: name.clone(), spki: identity.spki };
        let plan = format!("Will accept {} for client {name} beside {}.", identity.spki, row.spki);
        let told = format!(
            "Client {name} may come with either. Next: move it to the new one, then signonce clients rotate {name} \
             --finish"
        );
        (change, plan, told)
    } else {
        let next = row.next_spki.with_context(|| format!("client {name} is not changing its certificate"))?;
        let (kept, gone) = if args.finish { (next, row.spki) } else { (row.spki, next) };
        let mut plan = format!("Will keep {} for client {name} and never accept {} again.", kept, gone);
        let last = row.activity.as_ref().and_then(|activity| activity.last_certificate);
        if last.is_some_and(|last| last == gone) {
            plan.push_str("\nWARNING: the client came last with the one that goes.");
        }
        let told = format!("Client {name} has one certificate, {}.", kept);
        (Change::FinishRotation { name: name.clone(), keep_new: args.finish }, plan, told)
    };
    args.confirm.ask(plan)?;
    let done = admin.change(&change).await?;
    args.reach.output.done(&done, format!("{told} (log entry {})", done.at))
}

pub(super) async fn show(args: Show) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let row = find(&admin, &args.name).await?;
    let status = admin.status().await?;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("client", format!("{} (number {})", row.name, row.id.0));
    line("certificate", row.spki.to_string());
    if let Some(next) = &row.next_spki {
        line("and", format!("{} (`clients rotate {} --finish` ends the other)", next, row.name));
    }
    line(
        "limits",
        format!("{}{}", describe_limits(&row.limits), if row.own_limits { "" } else { " (default)" }),
    );
    row.rights.iter().for_each(|right| line("may do", describe_right(right)));
    allowance_of(&row).into_iter().for_each(|allowance| line("may", allowance));
    let seen = format!("by node {} since it started", status.node);
    match &row.activity {
        None => line("never seen", seen),
        Some(known) => {
            line("last seen", format!("{}, {seen}", ago(known.last_seen_ms, status.time_ms)));
            if let Some(last) = &known.last_certificate {
                line("came with", last.to_string());
            }
            if let Some(last) = &known.last_duty {
                line(
                    "last duty",
                    format!("{} of {}, {}", last.duty, last.key, ago(last.time_ms, status.time_ms)),
                );
            }
            line("signed", known.signed.to_string());
            known.refused.iter().for_each(|(code, count)| line("refused", format!("{count} {code}")));
        }
    }
    args.reach.output.print(&row, text)
}

async fn find(admin: &AdminClient, name: &str) -> anyhow::Result<ClientRow> {
    let rows = admin.clients().await?;
    let row = rows.into_iter().find(|row| row.name == name && row.state == ClientState::Active);
    row.with_context(|| format!("no client is called {name}; `signonce clients list` shows all"))
}

pub(super) fn describe_limits(limits: &ClientLimits) -> String {
    let ClientLimits { per_second, burst, in_flight } = limits;
    format!("{per_second}/s, burst {burst}, {in_flight} in flight")
}

/// The cells of a list: last seen, last duty, refusals.
pub(super) fn describe_activity(activity: Option<&ClientActivity>, now_ms: u64) -> [String; 3] {
    let Some(known) = activity else { return ["-", "-", "-"].map(str::to_owned) };
    let refused: Vec<String> = known.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
    let duty = known.last_duty.as_ref().map_or_else(|| "-".to_owned(), |last| last.duty.to_string());
    let refused = if refused.is_empty() { "-".to_owned() } else { refused.join(", ") };
    [ago(known.last_seen_ms, now_ms), duty, refused]
}

fn ago(then_ms: u64, now_ms: u64) -> String {
    match now_ms.saturating_sub(then_ms) / 1_000 {
        seconds @ 0..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7_199 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
