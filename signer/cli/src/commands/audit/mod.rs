//! `signonce audit`: what was asked and answered, with proof.

mod explain;
mod export;
mod tail;
mod verify;
mod watch;

use super::common::{Done, Usage};
use clap::Subcommand;
use signonce_shared::{
    admin::client::AdminClient,
    audit::query::{AuditPage, AuditQuery},
};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Iso8601};

/// What was asked and answered, with proof.
///
/// Every grant, refusal and change is a record in a chain that all signers derive from their common log, and that they
/// sign with their certificates.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Explain(explain::Args),
    Tail(tail::Args),
    Export(export::Args),
    Verify(verify::Args),
    Watch(watch::Args),
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Explain(args) => explain::run(args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Export(args) => export::run(args).await,
        Command::Verify(args) => verify::run(&args),
        Command::Watch(args) => watch::run(args).await,
    }
}

/// A time as Unix milliseconds, in the forms `2026-11-21T20:00:00Z`, `2026-11-21 20:00:00` (UTC), `2026-11-21`,
/// or `90m`, `12h`, `7d` ago.
fn moment(text: &str) -> Result<u64, String> {
    let now = OffsetDateTime::now_utc();
    let ago = |unit: u64| {
        let number: Option<u64> = text.get(..text.len() - 1).and_then(|digits| digits.parse().ok());
        number.map(|n| now - std::time::Duration::from_secs(n.saturating_mul(unit)))
    };
    let relative = match text.chars().last() {
        Some('s') => ago(1),
        Some('m') => ago(60),
        Some('h') => ago(3_600),
        Some('d') => ago(86_400),
        _ => None,
    };
    let iso = text.replacen(' ', "T", 1);
    let day = || OffsetDateTime::parse(&format!("{iso}T00:00:00Z"), &Iso8601::DEFAULT).ok();
    let known = relative
        .or_else(|| OffsetDateTime::parse(&iso, &Iso8601::DEFAULT).ok())
        .or_else(|| PrimitiveDateTime::parse(&iso, &Iso8601::DEFAULT).ok().map(PrimitiveDateTime::assume_utc))
        .or_else(day)
        .and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    known.ok_or_else(|| {
        format!("{text:?} is not a time: write 2026-11-21T20:00:00Z, 2026-11-21, or 90m, 12h, 7d ago")
    })
}

/// Calls `take` with every page that `query` finds.
async fn pages(
    admin: &AdminClient,
    mut query: AuditQuery,
    mut take: impl FnMut(AuditPage) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    loop {
        let page = admin.audit(&query).await?;
        let (next, head) = (page.next, page.head.0);
        let go_on = take(page)?;
        if !go_on || next >= head || query.from.is_some_and(|from| next <= from) {
            return Ok(());
        }
        query = AuditQuery { from: Some(next), since_ms: None, ..query };
    }
}

fn usage(why: impl Into<String>) -> anyhow::Error {
    Usage(why.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let at = |text| moment(text).unwrap();
        assert_eq!(at("1970-01-02"), 86_400_000);
        assert_eq!(at("1970-01-01T00:00:01Z"), 1_000);
        assert_eq!(at("1970-01-01 00:00:02"), 2_000);
        assert!(at("1h") > at("2h") && at("1d") > at("2d"));
        for wrong in ["", "yesterday", "h", "12", "-5m"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
