//! `signonce audit explain`

use super::{moment, pages, usage};
use crate::commands::common::{Done, Reach};
use signonce_core::{AuditEvent, Verdict};
use signonce_protocol::{Digest, KeyId, PublicKey};
use signonce_shared::audit::{
    query::{AuditLine, AuditQuery, DutyQuery},
    words,
};
use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

/// Tells who asked for a duty, when, and what was answered, refused attempts included.
///
/// For example: `audit explain --slot 123456`, `audit explain --key 0x… --set 2 --round 5`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Only this public key.
    #[arg(long, value_name = "0xPUBLIC")]
    key: Option<PublicKey>,
    /// A BABE or AURA block's slot.
    #[arg(long)]
    slot: Option<u64>,
    /// A GRANDPA or BEEFY vote's set.
    #[arg(long)]
    set: Option<u64>,
    /// A GRANDPA vote's round.
    #[arg(long)]
    round: Option<u64>,
    /// A BEEFY vote's block, or the target of GRANDPA votes.
    #[arg(long)]
    block: Option<u64>,
    /// A parachain session.
    #[arg(long)]
    session: Option<u32>,
    /// Any other number of a duty, of any family, by name: `--at round=5`. Repeatable.
    #[arg(long, value_name = "WHAT=NUMBER", value_parser = named)]
    at: Vec<(String, u64)>,
    /// Skip older records, for a faster search in a long log. Forms as for `audit export --since`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<u64>,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    let given = [
        ("slot", args.slot),
        ("set", args.set),
        ("round", args.round),
        ("block", args.block),
        ("session", args.session.map(u64::from)),
    ];
    let given = given.into_iter().filter_map(|(word, number)| Some((word.to_owned(), number?)));
    let duty = DutyQuery(given.chain(args.at).collect());
    if duty.is_empty() {
        return Err(usage(
            "say which duty: --slot N, --set S --round R, --block N, --session N or --at WHAT=N",
        ));
    }
    let admin = args.reach.client()?;
    let query = AuditQuery { since_ms: args.since, key: args.key, duty: Some(duty), ..AuditQuery::default() };
    let (mut lines, mut first) = (Vec::new(), None);
    pages(&admin, query, |page| {
        first = first.or(page.first);
        lines.extend(page.lines);
        Ok(true)
    })
    .await?;
    args.reach.output.print(&lines, describe(&lines, first))?;
    Ok(ExitCode::SUCCESS)
}

fn named(text: &str) -> Result<(String, u64), String> {
    let (word, number) = text.split_once('=').ok_or("it is WHAT=NUMBER, as in round=5")?;
    Ok((word.to_owned(), number.parse().map_err(|_| format!("{number:?} is not a number"))?))
}

fn describe(lines: &[AuditLine], first: Option<u64>) -> String {
    let mut text = String::new();
    let mut granted: BTreeMap<(KeyId, String), Vec<Digest>> = BTreeMap::new();
    for line in lines {
        let (Some(record), Some(says)) = (&line.record, &line.says) else { continue };
        let _ = writeln!(text, "{}  (log entry {}) {says}", words::time(record.time_ms), record.at);
        if let AuditEvent::Claim { key, duty, digest, answer: Verdict::Granted, .. } = &record.event {
            granted.entry((*key, duty.to_string())).or_default().push(*digest);
        }
    }
    if lines.is_empty() {
        let _ = write!(text, "Nobody asked this cluster for that duty");
        let _ = match first {
            Some(1..) => writeln!(text, " as far as this node's records go back."),
            _ => writeln!(text, "."),
        };
        return text;
    }
    let _ = writeln!(text);
    if granted.is_empty() {
        let _ = writeln!(text, "Nothing was signed.");
    }
    for ((key, duty), digests) in granted {
        let _ = match digests.as_slice() {
            [one] => writeln!(text, "Signed: {duty} with {key}, once, digest {one}."),
            // Several payloads on one side of a parachain candidate are honest.
            many => writeln!(text, "Signed: {duty} with {key}, {} payloads.", many.len()),
        };
    }
    text
}
