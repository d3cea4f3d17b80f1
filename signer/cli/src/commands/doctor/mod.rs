//! `signonce doctor`: finds what would keep a node from serving well, before it matters.

mod certificates;
mod disk;
mod machine;
mod network;

use super::{
    common::{ConfigFile, Done, Output, load, table, told},
    status::bytes,
};
use serde::Serialize;
use signonce_cluster::identity;
use signonce_keys::NodeIdentity;
use signonce_shared::{
    admin::{api::AdminStatus, client::AdminClient},
    config::Config,
};
use std::{fmt::Display, process::ExitCode, time::Duration};
use tokio::{net::UnixStream, time::timeout};

/// How long a running node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The memory in bytes that opening the identity takes, with some to spare.
const UNLOCK_MEMORY: u64 = 320 << 20;

/// Checks a node's machine and configuration.
///
/// Settings, store and identity, how fast the disk makes writes durable and whether its file system keeps them, room,
/// swap, limits of the process, the time service, certificates (names, authority, expiry), ports, the other members,
/// and the clock against theirs. Exits with 1 if something is wrong. Can be run before the first start and beside a
/// running node.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    output: Output,
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// As it should be.
    Fine,
    /// Works, or may be intended.
    Warning,
    /// Does not work, or will not for long.
    Wrong,
}

/// A finding about one subject.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    what: String,
    level: Level,
    said: String,
}

/// The findings so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn note(&mut self, level: Level, what: impl Into<String>, said: impl Display) {
        self.0.push(Finding { what: what.into(), level, said: said.to_string() });
    }

    fn fine(&mut self, what: impl Into<String>, said: impl Display) {
        self.note(Level::Fine, what, said);
    }

    fn warning(&mut self, what: impl Into<String>, said: impl Display) {
        self.note(Level::Warning, what, said);
    }

    fn wrong(&mut self, what: impl Into<String>, said: impl Display) {
        self.note(Level::Wrong, what, said);
    }

    fn worst_is_wrong(&self) -> bool {
        self.0.iter().any(|finding| finding.level == Level::Wrong)
    }
}

pub(super) async fn run(args: Args) -> Done {
    let mut findings = Findings::default();
    match load(&args.config.config, &[]) {
        Err(error) => findings.wrong("configuration", told(&error)),
        Ok(loaded) => {
            findings.fine("configuration", args.config.config.display());
            for warning in &loaded.warnings {
                findings.warning("environment", warning);
            }
            examine(&loaded.config, &mut findings).await;
        }
    }
    let rows = findings.0.iter().map(|finding| {
        let mark = match finding.level {
            Level::Fine => "ok",
            Level::Warning => "warning",
            Level::Wrong => "WRONG",
        };
        [mark.to_owned(), finding.what.clone(), finding.said.clone()]
    });
    args.output.print(&findings.0, table(["", "WHAT", "FOUND"], rows))?;
    Ok(if findings.worst_is_wrong() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn examine(config: &Config, findings: &mut Findings) {
    let node = NodeState::of(config).await;
    store(config, findings);
    unlock(config, &node, findings);
    disk::check(&config.node.data_dir, findings);
    machine::check(config, findings).await;
    disk::check_audit(config, findings);
    certificates::check(config, findings);
    node.report(findings);
    network::own_ports(config, !matches!(node, NodeState::Absent), findings);
    network::members(config, findings).await;
}

fn store(config: &Config, findings: &mut Findings) {
    let dir = &config.node.data_dir;
    match identity::read(dir) {
        Err(error) => findings.wrong("store", error),
        Ok(found) => {
            let same = found.node == config.node.id
                && found.cluster.to_string().eq_ignore_ascii_case(&config.cluster.id);
            let text = format!("node {} of cluster {} in {}", found.node, found.cluster, dir.display());
            if same {
                findings.fine("store", text);
            } else {
                findings.wrong("store", format!("{text}: the configuration means another node or cluster"));
            }
        }
    }
}

fn unlock(config: &Config, node: &NodeState, findings: &mut Findings) {
    // Where memory is short the kernel kills the biggest process, which is the signer.
    match (node, machine::memory_left()) {
        (NodeState::Starting, _) => return findings.fine("unlocking", "left to the node, which is starting"),
        (NodeState::Running(_), Some(left)) if left < UNLOCK_MEMORY => {
            let left = bytes(left);
            let why = format!(
                "not tried: it takes 256 MiB for a second, there are {left} left here, and the node would be ended"
            );
            return findings.warning("unlocking", why);
        }
        _ => {}
    }
    let passphrase = match config.passphrase_source().read() {
        Ok(passphrase) => passphrase,
        Err(error) => return findings.wrong("unlocking", error),
    };
    match NodeIdentity::load(&config.identity_file(), &passphrase) {
        Ok(identity) => findings.fine("unlocking", format!("recipient {}", identity.recipient())),
        Err(error) => findings.wrong("unlocking", error),
    }
}

/// The state of the node that the configuration describes.
enum NodeState {
    Absent,
    /// It has its socket, but does not answer yet.
    Starting,
    Running(Box<AdminStatus>),
}

impl NodeState {
    async fn of(config: &Config) -> Self {
        let socket = config.admin_socket();
        if UnixStream::connect(&socket).await.is_err() {
            return Self::Absent;
        }
        let answer = timeout(PATIENCE, AdminClient::unix(socket).status()).await;
        answer.ok().and_then(Result::ok).map_or(Self::Starting, |status| Self::Running(Box::new(status)))
    }

    fn report(&self, findings: &mut Findings) {
        match self {
            Self::Absent => findings.warning("node", "does not run"),
            Self::Starting => findings.warning("node", "is starting, or does not answer"),
            Self::Running(status) if status.readiness.ready => findings
                .fine("node", format!("runs and is ready, as {} in term {}", status.role, status.term)),
            Self::Running(status) => {
                let reasons = status.readiness.reasons.join("; ");
                findings.warning("node", format!("runs and is not ready: {reasons}"));
            }
        }
        if let Self::Running(status) = self
            && let Some(unpinned) = super::officers::unpinned(&status.unpinned_officers)
        {
            findings.warning("officers", unpinned);
        }
    }
}
