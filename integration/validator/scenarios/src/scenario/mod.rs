//! The scenarios. Each file tells one story.

mod bad_input;
mod cost;
mod held_up;
mod kill_leader;
mod move_in;
mod one_validator;
mod outage;
mod polled;
mod rotate;
mod rotate_cli;
mod set;
mod tenants;
mod twins;
mod wiped;

use crate::{report::Report, stage::Stage};
use std::time::Duration;

/// What can be played.
#[derive(clap::Subcommand, Clone, Debug)]
pub enum Scenario {
    /// One validator, three signers, no key on the node: blocks, finality, BEEFY, sessions; every duty counted.
    OneValidator {
        /// How long to watch.
        #[arg(long, default_value_t = 300)]
        seconds: u64,
    },
    /// The leading signer is killed, returns, and then another is killed: how long does the chain stand still?
    KillLeader,
    /// All signers are away for 30 seconds; and then the validator is interrupted while they are away again.
    Outage,
    /// All signers are away while many ask where the voter is: the node imports another validator's blocks and answers.
    Polled,
    /// Two live validators with the same keys: guarded they never equivocate, unguarded they do.
    Twins,
    /// A validator loses its database and comes back with the same keys.
    Wiped,
    /// Four validators share a signer cluster, and none can use another's keys.
    Tenants,
    /// New session keys by `author_rotateKeys`, registered on chain, and the chain goes on with them.
    Rotate,
    /// `keys rotate` for a validator that runs: a new set, registered on chain, and the old one's end.
    RotateCli,
    /// A validator with keys on its disk: stopped, its keys moved into the cluster, and on with a remote signer.
    MoveIn,
    /// What a signature costs through the remote keystore, beside one from memory.
    Cost,
    /// Wrong URLs, wrong certificates, wrong clocks, wrong signatures: the validator lives and says so once.
    BadInput,
}

impl Scenario {
    /// As on the command line.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OneValidator { .. } => "one-validator",
            Self::KillLeader => "kill-leader",
            Self::Outage => "outage",
            Self::Polled => "polled",
            Self::Twins => "twins",
            Self::Wiped => "wiped",
            Self::Tenants => "tenants",
            Self::Rotate => "rotate",
            Self::RotateCli => "rotate-cli",
            Self::MoveIn => "move-in",
            Self::Cost => "cost",
            Self::BadInput => "bad-input",
        }
    }

    /// It is broken off after this time.
    pub const fn time_at_most(&self) -> Duration {
        let minutes = match self {
            Self::OneValidator { seconds } => *seconds / 60 + 5,
            Self::Cost => 5,
            Self::KillLeader | Self::Outage | Self::Polled | Self::Tenants | Self::Rotate | Self::Wiped => 12,
            Self::Twins | Self::BadInput | Self::MoveIn | Self::RotateCli => 20,
        };
        Duration::from_secs(minutes * 60)
    }

    /// Plays it.
    ///
    /// # Errors
    /// If it could not be played to its end. What did not hold is in the report.
    pub async fn run(&self, stage: &Stage) -> anyhow::Result<Report> {
        match self {
            Self::OneValidator { seconds } => one_validator::run(stage, Duration::from_secs(*seconds)).await,
            Self::KillLeader => kill_leader::run(stage).await,
            Self::Outage => outage::run(stage).await,
            Self::Polled => polled::run(stage).await,
            Self::Twins => twins::run(stage).await,
            Self::Wiped => wiped::run(stage).await,
            Self::Tenants => tenants::run(stage).await,
            Self::Rotate => rotate::run(stage).await,
            Self::RotateCli => rotate_cli::run(stage).await,
            Self::MoveIn => move_in::run(stage).await,
            Self::Cost => cost::run(stage).await,
            Self::BadInput => bad_input::run(stage).await,
        }
    }
}
