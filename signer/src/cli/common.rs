//! What the commands share: exit codes, reaching a node, plans and questions, tables and JSON.

use crate::{
    admin::client::{AdminClient, CallError},
    config::{Config, DEFAULT_PATH, Loaded, TlsFiles},
    enroll::EnrollError,
};
use serde::Serialize;
use signonce_protocol::LogIndex;
use std::{
    fmt::Display,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// How a command ends.
pub(super) type Done = anyhow::Result<ExitCode>;

/// The command was called wrongly: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// Something else has to happen first: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotYet(pub String);

/// The exit code of a failed command: 1 refused or failed, 2 wrong usage, 3 unknown, 4 not ready.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<Usage>() {
            return Some(2);
        }
        if cause.is::<NotYet>() {
            return Some(4);
        }
        if let Some(EnrollError::NotAnnounced(_)) = cause.downcast_ref() {
            return Some(4);
        }
        if let Some(EnrollError::Call(call)) = cause.downcast_ref() {
            return Some(call.exit_code());
        }
        cause.downcast_ref::<CallError>().map(CallError::exit_code)
    };
    error.chain().find_map(of).unwrap_or(1)
}

/// The proposal that a command ended with, instead of a change.
pub(super) fn proposed(error: &anyhow::Error) -> Option<LogIndex> {
    let of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<CallError>() {
        Some(CallError::Proposed { id }) => Some(*id),
        _ => match cause.downcast_ref::<EnrollError>() {
            Some(EnrollError::Call(CallError::Proposed { id })) => Some(*id),
            _ => None,
        },
    };
    error.chain().find_map(of)
}

/// Says what the other officer has to do. That is what the command was for: no failure.
pub(super) fn tell_proposed(id: LogIndex) -> ExitCode {
    // Whatever command it was, each has the switch under this name.
    let output = Output { json: std::env::args().any(|argument| argument == "--json") };
    let approve = format!("signonce proposals approve {id}");
    let value = serde_json::json!({ "state": "proposed", "proposal": id, "approve": approve });
    let text = format!(
        "Proposed, and nothing changed yet: this takes two key officers. Another one approves it within a day with:\n  \
         {approve}"
    );
    match output.print(&value, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `--config`
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ConfigFile {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_CONFIG", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// The configuration in a file, under the environment and `section.key=value` overrides.
pub(super) fn load(file: &Path, overrides: &[String]) -> anyhow::Result<Loaded> {
    let split = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Usage(format!("{text:?} is not section.key=value"))),
    };
    let overrides = overrides.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    // Variables that are not text are none of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(Some(file), environment, &overrides).map_err(|error| Usage(error.to_string()).into())
}

/// Which node to ask, and how the answer is wanted.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Reach {
    /// The admin API of a node: https://HOST:PORT (with --admin-cert, --admin-key and --ca) or unix:SOCKET. Without
    /// it the admin socket of the node that --config describes is used.
    #[arg(long, value_name = "URL|unix:PATH", env = "SIGNONCE_ADMIN", help_heading = "Reaching a node")]
    admin: Option<String>,
    /// The configuration of a node on this machine, to find its admin socket.
    #[arg(
        long,
        value_name = "FILE",
        env = "SIGNONCE_CONFIG",
        default_value = DEFAULT_PATH,
        help_heading = "Reaching a node"
    )]
    config: PathBuf,
    /// PEM: the admin certificate (`signonce certs issue admin`).
    #[arg(long, value_name = "FILE", env = "SIGNONCE_ADMIN_CERT", help_heading = "Reaching a node")]
    admin_cert: Option<PathBuf>,
    /// PEM: its private key.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_ADMIN_KEY", help_heading = "Reaching a node")]
    admin_key: Option<PathBuf>,
    /// PEM: the authority that issued the nodes' certificates.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_ADMIN_CA", help_heading = "Reaching a node")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

/// `--json`
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Output {
    /// Print JSON for machines on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
}

/// `--yes`
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Confirm {
    /// Do what the plan says without asking. Needed where nobody can be asked (no terminal).
    #[arg(long, short = 'y')]
    pub yes: bool,
}

impl Reach {
    /// The configuration that was named.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// A client of the node's admin API.
    pub fn client(&self) -> anyhow::Result<AdminClient> {
        let Some(place) = &self.admin else {
            let loaded = load(&self.config, &[]).map_err(|error| {
                Usage(format!(
                    "{error:#}; or say which node to ask with --admin unix:SOCKET or https://HOST:PORT"
                ))
            })?;
            return Ok(AdminClient::unix(loaded.config.admin_socket()));
        };
        if let Some(path) = place.strip_prefix("unix:") {
            return Ok(AdminClient::unix(path));
        }
        let (Some(cert), Some(key), Some(ca)) = (&self.admin_cert, &self.admin_key, &self.ca) else {
            let why = "an https:// admin URL needs --admin-cert, --admin-key and --ca";
            return Err(Usage(why.into()).into());
        };
        let files = TlsFiles { ca: ca.clone(), cert: cert.clone(), key: key.clone() };
        Ok(AdminClient::https(place, &files)?)
    }
}

impl Output {
    /// Prints `value` as JSON with `--json`, else `text` as it is.
    pub fn print(self, value: &impl Serialize, text: impl Display) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", text.to_string().trim_end())?;
        }
        Ok(())
    }
}

impl Confirm {
    /// Shows the plan on standard error and asks, unless `--yes`.
    ///
    /// # Errors
    /// If nobody can be asked (usage), or the answer is no.
    pub fn ask(self, plan: impl Display) -> anyhow::Result<()> {
        eprintln!("{}", plan.to_string().trim_end());
        if self.yes {
            return Ok(());
        }
        if !io::stdin().is_terminal() {
            let why = "nothing was done: there is no terminal to ask at; look at the plan and give --yes";
            return Err(Usage(why.into()).into());
        }
        eprint!("Go on? [y/N] ");
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => anyhow::bail!("nothing was done"),
        }
    }
}

/// Columns as wide as their widest cell, two spaces apart.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{AdminError, AdminErrorCode};
    use anyhow::Context as _;

    #[test]
    fn the_exit_code_says_what_kind_of_failure_it_was() {
        let failed = |code| CallError::Failed(AdminError::new(code, "no"));
        for (error, code) in [
            (anyhow::anyhow!("no"), 1),
            (Usage("no".into()).into(), 2),
            (NotYet("no".into()).into(), 4),
            (failed(AdminErrorCode::Refused).into(), 1),
            (failed(AdminErrorCode::UnknownOutcome).into(), 3),
            (EnrollError::Call(failed(AdminErrorCode::NotReady)).into(), 4),
            (EnrollError::NotAnnounced(2.into()).into(), 4),
        ] {
            assert_eq!(exit_code(&error), code, "{error}");
            let wrapped = Err::<(), _>(error).context("while importing").unwrap_err();
            assert_eq!(exit_code(&wrapped), code);
        }
    }

    #[test]
    fn tables_line_up() {
        let rows = [["a".into(), "1".into()], ["long".into(), "2".into()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\na     1\nlong  2\n");
    }
}
