//! `signonce audit tail`

use super::pages;
use crate::commands::common::{Done, Reach, stdout};
use signonce_shared::audit::{
    query::{AuditLine, AuditQuery},
    words,
};
use std::{io::Write as _, process::ExitCode, time::Duration};

/// Shows the last audit records, and with -f new ones as they come.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How many records to show.
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u64,
    /// Show new records as they come, until interrupted.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    reach: Reach,
}

/// How often new records are fetched.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn run(args: Args) -> Done {
    let admin = args.reach.client()?;
    let head = admin.audit(&AuditQuery { limit: Some(0), ..AuditQuery::default() }).await?.head.0;
    let mut from = head.saturating_sub(args.lines);
    loop {
        let query = AuditQuery { from: Some(from), ..AuditQuery::default() };
        pages(&admin, query, |page| {
            from = page.next;
            page.lines.iter().try_for_each(|line| show(line, args.reach.output.json))?;
            Ok(true)
        })
        .await?;
        if !args.follow {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn show(line: &AuditLine, json: bool) -> anyhow::Result<()> {
    let mut out = stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string(line)?)?;
    } else if let (Some(record), Some(says)) = (&line.record, &line.says) {
        writeln!(out, "{:>8}  {}  {says}", line.seq, words::time(record.time_ms))?;
    }
    Ok(())
}
