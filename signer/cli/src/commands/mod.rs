//! One file or folder for each command. Parses the arguments, runs the command, and turns failures into exit codes.

mod audit;
mod backup;
mod bench;
mod certs;
mod chains;
mod clients;
mod common;
pub mod demo;
mod dev;
mod doctor;
mod init;
mod interchange;
mod join;
mod keys;
mod kube;
mod leader;
mod members;
mod officers;
mod privval;
mod race;
mod restore;
mod shell;
mod start;
mod status;
mod top;
mod watermarks;

use clap::{Parser, Subcommand};
use futures::future::BoxFuture;
use signonce_protocol::Family;
use signonce_shared::config::{Config, LogSection};
use std::{process::ExitCode, time::Duration};

/// Signs every validator duty once.
///
/// Several signers agree on every signature before it leaves them, so that one key can serve several validators and
/// survive the loss of any one machine without ever signing two different things for one duty.
#[derive(Parser, Debug)]
#[command(name = "signonce", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 outcome unknown, or done but not reported (look before \
     trying again), \
     4 not ready (try again later).";

#[derive(Subcommand, Debug)]
enum Command {
    /// Shows a cluster in trouble: kills the leader, freezes a node, and checks that nothing was signed twice.
    Demo(demo::Args),
    Dev(dev::Args),
    Init(init::Args),
    Join(join::Args),
    Start(start::Args),
    Status(status::Args),
    Top(top::Args),
    Doctor(doctor::Args),
    Certs(certs::Args),
    Chains(chains::Args),
    Keys(keys::Args),
    Leader(leader::Args),
    Members(members::Args),
    Clients(clients::Args),
    Officers(officers::Args),
    Proposals(officers::ProposalArgs),
    Watermarks(watermarks::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Audit(audit::Args),
    Privval(Box<privval::Args>),
    Race(race::Args),
    Kube(kube::Args),
    Completions(shell::Completions),
    Man(shell::Man),
    /// Measures what a protected signature costs on this machine.
    Bench(bench::Args),
}

/// How long a finished command waits for work that it left on other threads.
const LEFTOVERS: Duration = Duration::from_secs(5);

/// What the command line needs from the program that contains it.
#[derive(Clone, Copy)]
pub struct Program {
    /// The chain families that the program knows.
    pub families: &'static [&'static Family],
    /// Runs a signer with this configuration, and these warnings about it, until it is stopped.
    pub serve: fn(Config, Vec<String>) -> BoxFuture<'static, anyhow::Result<()>>,
    /// Prepares a process that runs until it is stopped: logs to standard error as the settings say, and aborts on a
    /// panic.
    pub prepare: fn(&LogSection) -> anyhow::Result<()>,
    /// Logs why a signer ends. Never waits for a reader of the log that has stopped reading.
    pub last_words: fn(&str),
}

/// Parses the arguments of the process and runs the command they name.
pub fn main(program: Program) -> ExitCode {
    signonce_protocol::install(program.families);
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return explain(&error),
    };
    let done = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    let done = done.and_then(|runtime| {
        let done = runtime.block_on(run(command, program));
        // Work that hangs, for instance on a file system that does not answer, does not hold up the end.
        runtime.shutdown_timeout(LEFTOVERS);
        done
    });
    done.unwrap_or_else(|error| common::failed(&error))
}

/// Prints clap's message: the help that was asked for, or what is wrong with the arguments.
fn explain(error: &clap::Error) -> ExitCode {
    match error.print() {
        Err(unprinted) if !error.use_stderr() => common::failed(&common::unread(unprinted).into()),
        _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
    }
}

async fn run(command: Command, program: Program) -> common::Done {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Init(args) => init::run(args),
        Command::Join(args) => join::run(args).await,
        Command::Start(args) => start::run(args, program).await,
        Command::Status(args) => status::run(args).await,
        Command::Top(args) => top::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Certs(args) => certs::run(args),
        Command::Chains(args) => chains::run(args).await,
        Command::Keys(args) => keys::run(args).await,
        Command::Leader(args) => leader::run(args).await,
        Command::Members(args) => members::run(args).await,
        Command::Clients(args) => clients::run(args).await,
        Command::Officers(args) => officers::run(args).await,
        Command::Proposals(args) => officers::proposals(args).await,
        Command::Watermarks(args) => watermarks::run(args).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::Audit(args) => audit::run(args).await,
        Command::Privval(args) => privval::run(*args, program).await,
        Command::Race(args) => race::run(args).await,
        Command::Kube(args) => kube::run(args).await,
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Bench(args) => bench::run(args).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_is_well_formed_and_explains_itself() {
        let mut root = Cli::command();
        root.build();
        root.clone().debug_assert();
        fn look(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} says nothing of itself", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}: {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().filter(|c| c.get_name() != "help").for_each(look);
        }
        look(&root);
    }
}
