//! What the commands share: exit codes, reaching a node, plans and confirmation, tables and JSON, and everything that
//! is written to standard output and standard error.
//!
//! Commands write only with [`Output`], [`stdout`] and [`say!`], never with `println!`, which panics where nobody
//! reads. If a plan cannot be shown, the command stops before the change; if a result cannot, the exit code is 3, as
//! the change stands.

use anyhow::Context as _;
use serde::Serialize;
use signonce_protocol::LogIndex;
use signonce_shared::{
    admin::client::{AdminClient, CallError},
    config::{Config, DEFAULT_PATH, Loaded, TlsFiles},
    enroll::EnrollError,
};
use signonce_substrate_rpc::{node::NodeError, quiet::QuietError};
use std::{
    fmt::Display,
    io::{self, BufRead as _, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// How a command ends.
pub(super) type Done = anyhow::Result<ExitCode>;

/// Wrong usage: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub String);

/// Something else has to happen first: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotYet(pub String);

/// Standard output failed: exit code 1, and no message if the reader has left, as in `status | head`.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
struct Unread(io::Error);

/// A change was made but could not be reported: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error(
    "done, but {0}. Do not repeat the command before `signonce status` and the list commands have shown what is there now"
)]
struct DoneUntold(String);

/// Marks an error in writing something down after a change, which does not undo the change.
pub(super) fn recorded(written: anyhow::Result<()>) -> anyhow::Result<()> {
    let untold = |error| DoneUntold(format!("it could not be written down: {}", told(&error)));
    written.map_err(|error| untold(error).into())
}

/// Standard output, with errors that are marked as such.
pub(super) fn stdout() -> impl Write {
    Stdout(io::stdout().lock())
}

struct Stdout(io::StdoutLock<'static>);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unread)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unread)
    }
}

/// Marks an error as one of standard output.
pub(super) fn unread(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unread(error))
}

/// Writes a line to standard error. A missing reader must not end the command, least of all half-way through a change.
macro_rules! say {
    ($($text:tt)*) => { $crate::commands::common::write_stderr(format_args!($($text)*)) };
}
pub(super) use say;

/// The implementation of [`say!`].
pub(super) fn write_stderr(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// An error with its causes, each only once: many errors repeat their cause in their own text.
pub(super) fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        let said = [": ", "("].iter().any(|before| text.contains(&format!("{before}{cause}")));
        if !said && text != cause {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Prints why a command failed and returns its exit code.
pub(super) fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(id) = proposed(error) {
        return tell_proposed(id).unwrap_or_else(|error| failed(&error));
    }
    let reader_left = |cause: &(dyn std::error::Error + 'static)| {
        unread_in(cause).is_some_and(|unread| unread.0.kind() == io::ErrorKind::BrokenPipe)
    };
    if !error.chain().any(reader_left) {
        say!("signonce: {}", told(error));
    }
    ExitCode::from(exit_code(error))
}

fn unread_in<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a Unread> {
    cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// The exit code of a failed command: 1 refused or failed, 2 wrong usage, 3 unknown outcome, 4 not ready.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    let of = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<Usage>() {
            return Some(2);
        }
        if cause.is::<NotYet>() {
            return Some(4);
        }
        if cause.is::<DoneUntold>() {
            return Some(3);
        }
        let node = cause.downcast_ref().or(match cause.downcast_ref() {
            Some(QuietError::Node(node)) => Some(node),
            _ => None,
        });
        if let Some(error) = node {
            return match error {
                NodeError::BadUrl { .. } | NodeError::Authorities(_) => Some(2),
                error => error.is_temporary().then_some(4),
            };
        }
        if let Some(QuietError::StandsStill { .. } | QuietError::OutOfSight(_)) = cause.downcast_ref() {
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

/// The proposal that a command ended with, if it made no change.
fn proposed(error: &anyhow::Error) -> Option<LogIndex> {
    let of = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref::<CallError>() {
        Some(CallError::Proposed { id }) => Some(*id),
        _ => match cause.downcast_ref::<EnrollError>() {
            Some(EnrollError::Call(CallError::Proposed { id })) => Some(*id),
            _ => None,
        },
    };
    error.chain().find_map(of)
}

/// Tells what the other officer has to do. A proposal is the command's purpose, so this is not a failure.
fn tell_proposed(id: LogIndex) -> Done {
    // Every such command has the switch under this name.
    let output = Output { json: std::env::args().any(|argument| argument == "--json") };
    let approve = format!("signonce proposals approve {id}");
    let value = serde_json::json!({ "state": "proposed", "proposal": id, "approve": approve });
    let text = format!(
        "Proposed, and nothing changed yet: this takes two key officers. Another one approves it within a day with:\n  \
         {approve}"
    );
    output.done(&value, text)?;
    Ok(ExitCode::SUCCESS)
}

/// `--config`
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ConfigFile {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", env = "SIGNONCE_CONFIG", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Loads the configuration from a file, the environment and `section.key=value` overrides.
pub(super) fn load(file: &Path, overrides: &[String]) -> anyhow::Result<Loaded> {
    let split = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Usage(format!("{text:?} is not section.key=value"))),
    };
    let overrides = overrides.iter().map(split).collect::<Result<Vec<_>, _>>()?;
    // Variables that are not text cannot be settings.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Config::load(Some(file), environment, &overrides).map_err(|error| Usage(error.to_string()).into())
}

/// Which node to ask, and the form of the answer.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Reach {
    /// The admin API of a node: https://HOST:PORT (with --admin-cert, --admin-key and --ca) or unix:SOCKET. By default
    /// the admin socket of the node that --config describes.
    #[arg(long, value_name = "URL|unix:PATH", env = "SIGNONCE_ADMIN", help_heading = "Reaching a node")]
    admin: Option<String>,
    /// The configuration of a node on this machine, which names its admin socket.
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
    /// Print only JSON on standard output.
    #[arg(long)]
    pub json: bool,
}

/// `--yes`
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Confirm {
    /// Do what the plan says without asking. Needed where there is no terminal.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

impl Reach {
    /// The path of the configuration.
    pub fn config_file(&self) -> &Path {
        &self.config
    }

    /// A client of the node's admin API.
    pub fn client(&self) -> anyhow::Result<AdminClient> {
        let Some(place) = &self.admin else {
            let loaded = load(&self.config, &[]).map_err(|error| {
                Usage(format!(
                    "{}; or say which node to ask with --admin unix:SOCKET or https://HOST:PORT",
                    told(&error)
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
    /// Prints `value` as JSON with `--json`, else `text`. For commands that change nothing.
    pub fn print(self, value: &impl Serialize, text: impl Display) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { text.to_string() };
        let mut out = stdout();
        writeln!(out, "{}", text.trim_end())?;
        Ok(out.flush()?)
    }

    /// Prints the result of a change. If that fails, the change still stands.
    pub fn done(self, value: &impl Serialize, text: impl Display) -> anyhow::Result<()> {
        self.print(value, text).map_err(|error| match error.downcast::<io::Error>() {
            Ok(error) => DoneUntold(format!("its result could not be printed ({error})")).into(),
            Err(error) => error,
        })
    }
}

impl Confirm {
    /// Shows the plan on standard error and asks for confirmation, unless `--yes`.
    ///
    /// # Errors
    /// If there is no terminal (wrong usage), or the answer is no.
    pub fn ask(self, plan: impl Display) -> anyhow::Result<()> {
        let plan = plan.to_string();
        if self.yes {
            say!("{}", plan.trim_end());
            return Ok(());
        }
        let unseen = "nothing was done: the plan cannot be shown on standard error";
        writeln!(io::stderr(), "{}", plan.trim_end()).context(unseen)?;
        if !io::stdin().is_terminal() {
            let why = "nothing was done: there is no terminal to ask at; look at the plan and give --yes";
            return Err(Usage(why.into()).into());
        }
        let answer = question("Go on? [y/N] ")?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => anyhow::bail!("nothing was done"),
        }
    }
}

/// Asks at the terminal, on standard error: standard output is for the result.
pub(super) fn question(text: &str) -> io::Result<String> {
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
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
    use signonce_shared::admin::api::AdminError;
    use signonce_shared::admin::api::AdminErrorCode;

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
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read x: {source}")]
        struct Read {
            source: io::Error,
        }
        let error = Read { source: io::Error::other("the disk is gone") };
        let error = Err::<(), _>(error).context("while importing").unwrap_err();
        assert_eq!(told(&error), "while importing: cannot read x: the disk is gone");
        assert_eq!(told(&anyhow::anyhow!("no").context("nothing was done")), "nothing was done: no");
    }

    #[test]
    fn what_cannot_be_printed_after_a_change_is_told_from_what_cannot_be_shown() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(exit_code(&unread(full()).into()), 1);
        let untold = recorded(Err(full()).context("cannot write rotate-a.json")).unwrap_err();
        assert_eq!(exit_code(&untold), 3);
        assert!(
            told(&untold).starts_with("done, but it could not be written down: cannot write"),
            "{untold}"
        );
    }

    #[test]
    fn tables_line_up() {
        let rows = [["a".into(), "1".into()], ["long".into(), "2".into()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\na     1\nlong  2\n");
    }
}
