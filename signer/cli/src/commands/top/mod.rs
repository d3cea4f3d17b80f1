//! `signonce top`: the cluster at work, redrawn every second.
//!
//! Each round asks one node for an overview; [`frame`] computes the figures from two of them, [`screen`] draws them. On
//! a terminal the drawing stays in place until Ctrl-C; elsewhere, or with --once, it is printed as text.

mod frame;
mod screen;

use super::common::{Done, Reach, stdout};
use frame::Frame;
use screen::Terminal;
use signonce_shared::{admin::client::AdminClient, overview::Overview, signals::StopSignals};
use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

/// Shows the cluster at work: nodes, rates, latency by stage, refusals, keys.
///
/// Rates and latencies are those of the last interval, over all nodes that answer. Needs no terminal: where there is
/// none, each interval is printed as text. Ends with Ctrl-C.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    reach: Reach,
    /// Seconds between two updates.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    interval: f64,
    /// Show one interval and end.
    #[arg(long)]
    once: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it must be between 0.1 and 3600".into()),
    }
}

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let interval = Duration::from_secs_f64(args.interval);
    // The first overview must succeed: a wrong address is not a dead node.
    let first = admin.overview().await?;
    let printed = args.once || args.reach.output.json || !io::stdout().is_terminal();
    if printed { print(&admin, first, interval, &args).await } else { watch(&admin, first, interval).await }
}

async fn print(admin: &AdminClient, mut before: Overview, interval: Duration, args: &Args) -> Done {
    loop {
        tokio::time::sleep(interval).await;
        let now = admin.overview().await?;
        let frame = Frame::between(&before, &now);
        let text = if args.reach.output.json {
            serde_json::to_string(&frame)?
        } else {
            screen::lines(&frame, None).join("\n")
        };
        let mut out = stdout();
        writeln!(out, "{text}")?;
        out.flush()?;
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

/// Runs until a signal. A node that does not answer for a while does not end it.
async fn watch(admin: &AdminClient, mut before: Overview, interval: Duration) -> Done {
    let mut signals = StopSignals::listen()?;
    let terminal = Terminal::take()?;
    let mut frame = Frame::between(&before, &before);
    let mut trouble = None;
    loop {
        terminal.draw(&screen::lines(&frame, trouble.as_deref()))?;
        tokio::select! {
            _ = signals.next() => return Ok(ExitCode::SUCCESS),
            () = tokio::time::sleep(interval) => {}
        }
        match admin.overview().await {
            Ok(now) => {
                frame = Frame::between(&before, &now);
                before = now;
                trouble = None;
            }
            Err(error) => trouble = Some(error.to_string()),
        }
    }
}
