//! `signonce watermarks`: what was signed, and the positions from which on keys sign.

use super::{
    common::{Confirm, Done, Reach, Usage, table},
    interchange,
    keys::find_key,
};
use clap::Subcommand;
use serde_json::json;
use signonce_cluster::clock::unix_ms;
use signonce_core::{Change, Floors, Halt, Position, SlotClock};
use signonce_protocol::KeyType;
use std::{fmt::Write as _, process::ExitCode};

/// More than the difference between the clocks of any two machines involved, in milliseconds.
const A_DAY_MS: u64 = 86_400_000;

/// What was signed, and the positions from which on keys sign.
///
/// Watermarks only ever rise.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(Show),
    Raise(Raise),
    Lift(Lift),
    Export(interchange::Export),
    Import(interchange::Import),
}

/// Shows the watermarks of every armed or disabled key, or of one.
#[derive(clap::Args, Debug)]
struct Show {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: Option<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Raises a key's watermark: nothing below it is ever signed again.
///
/// It also moves the point from which jumps are measured, so that a key can continue after the chain went far ahead
/// without it. There is no way back.
#[derive(clap::Args, Debug)]
struct Raise {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: String,
    /// The lowest position that may be signed from now on: SLOT for babe and aura keys, SET:ROUND for gran keys,
    /// SET:BLOCK for beef keys, SESSION for para keys.
    #[arg(long, value_name = "COORDINATE")]
    to: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

/// Ends the halt of a key whose watermark cannot be raised past what was shown without losing the key.
///
/// A key halts when a client shows a signature by it that this cluster does not know; raising the watermark past it
/// lifts the halt (`watermarks raise`). If that would be beyond anything the chain can reach, this command ends the
/// halt instead. What was shown is still never signed, and nor is anything else in its place. You vouch that the key
/// has signed nothing else at or above --from.
#[derive(clap::Args, Debug)]
struct Lift {
    /// The key: type:0xPUBLIC, or 0xPUBLIC.
    key: String,
    /// The lowest position that may be signed from now on, as for `raise`: past everything that the key has signed
    /// except what was shown.
    #[arg(long, value_name = "COORDINATE")]
    from: String,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> Done {
    match args.command {
        Command::Export(args) => return interchange::export(args).await,
        Command::Import(args) => return interchange::import(args).await,
        Command::Show(args) => show(args).await?,
        Command::Raise(args) => raise(args).await?,
        Command::Lift(args) => lift(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(args: Show) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let rows = match &args.key {
        Some(key) => vec![find_key(&admin, key).await?],
        None => admin.keys().await?,
    };
    let marks = || rows.iter().flat_map(|row| row.watermarks.iter().map(move |mark| (row, mark)));
    let value = marks()
        .map(
            |(row, mark)| json!({
                "key": row.id, "chain": row.chain, "group": row.group, "watermark": mark, "barred": row.barred,
            }),
        )
        .collect::<Vec<_>>();
    let cells = marks().map(|(row, mark)| {
        [
            row.group.clone().unwrap_or_default(),
            row.id.to_string(),
            mark.class.name().to_owned(),
            mark.floor.to_string(),
            mark.highest.map_or_else(|| "-".to_owned(), |at| at.to_string()),
            mark.entries.to_string(),
        ]
    });
    let mut text = table(["GROUP", "KEY", "CLASS", "FLOOR", "HIGHEST SIGNED", "ENTRIES KEPT"], cells);
    for (row, place) in rows.iter().flat_map(|row| row.barred.iter().map(move |place| (row, place))) {
        let position = place.duty.position();
        let _ = writeln!(text, "{}: {position} is barred (log entry {})", row.id, place.at);
    }
    args.reach.output.print(&value, text)
}

async fn raise(args: Raise) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    let floors = floors(row.id.key_type, "--to", &args.to)?;
    let now = row.watermarks.iter().map(|mark| format!("{} now", mark.floor)).collect::<Vec<_>>().join(", ");
    let to = floors.positions().map(|position| position.to_string()).collect::<Vec<_>>().join(", ");
    args.confirm.ask(format!(
        "Will raise the watermark of {} to {to} ({now}). Nothing below is ever signed again.",
        row.id
    ))?;
    let done = admin.change(&Change::RaiseWatermark { key: row.id, floors }).await?;
    args.reach
        .output
        .done(&done, format!("Raised the watermark of {} to {to} (log entry {}).", row.id, done.at))
}

async fn lift(args: Lift) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let row = find_key(&admin, &args.key).await?;
    let id = row.id;
    let Some(Halt { duty: shown, at: halted, .. }) = row.halted else {
        return Err(Usage(format!("key {id} is not halted")).into());
    };
    let floors = floors(id.key_type, "--from", &args.from)?;
    let place = shown.position();
    let chains = admin.chains().await?;
    let chain = chains.iter().find(|chain| chain.genesis == row.genesis);
    let past = floors.positions().any(|floor| place.is_below(floor) == Some(true));
    if past || chain.is_some_and(|chain| has_come(place, chain.clock(), unix_ms())) {
        return Err(Usage(format!(
            "{place}, which was shown, can have been signed in normal operation: raise the watermark past it and past \
             all that was signed since (`signonce watermarks raise {id} --to COORDINATE`), which lifts the halt"
        ))
        .into());
    }
    let now = row.watermarks.iter().map(|mark| format!("{} now", mark.floor)).collect::<Vec<_>>().join(", ");
    let from = floors.positions().map(|position| position.to_string()).collect::<Vec<_>>().join(", ");
    args.confirm.ask(format!(
        "Will end the halt of {id} (log entry {halted}). It was caused by a signature for the {shown}: nothing is ever \
         signed at {place}. The key signs again from {from} ({now}). You vouch that it has signed nothing else at or above \
         {from}: if it has, it may vote twice. If the chain can have come to {place}, raise the watermark instead."
    ))?;
    let done = admin.change(&Change::LiftHalt { key: id, halted, floors }).await?;
    let text = format!(
        "Ended the halt of {id}: it signs again from {from}, and {place} is barred (log entry {}).",
        done.at
    );
    args.reach.output.done(&done, text)
}

/// Whether a slot is not in the future. For other positions, no clock can tell.
fn has_come(place: Position, clock: SlotClock<'_>, now_ms: u64) -> bool {
    let Some(slot) = place.slot() else { return false };
    let begin = clock.read(slot, now_ms).map(|(_, begin_ms)| begin_ms);
    begin.is_some_and(|begin_ms| begin_ms <= now_ms.saturating_add(A_DAY_MS))
}

/// The floors of a key of this type, from the value of `option`: a position, or `CLASS=POSITION,…` for keys with
/// several watermarks.
pub(super) fn floors(key_type: KeyType, option: &str, text: &str) -> Result<Floors, Usage> {
    let marks: Vec<_> = key_type.marks().collect();
    let read = |class, text: &str| {
        Position::parse(class, text)
            .map_err(|_| Usage(format!("{option} {text:?}: a {key_type} key needs {}", form(key_type))))
    };
    match marks[..] {
        [] => Err(Usage(format!("a {key_type} key signs nothing that has a watermark"))),
        [class] => read(class, text).map(Floors::from),
        [..] => {
            let one = |text: &str| {
                let (class, at) = text.split_once('=').unwrap_or_default();
                let class = marks.iter().find(|mark| mark.name() == class);
                let wrong = || Usage(format!("{option} {text:?}: a {key_type} key needs {}", form(key_type)));
                read(*class.ok_or_else(wrong)?, at)
            };
            text.split(',').map(one).collect()
        }
    }
}

/// The form in which the floors of a key of this type are written.
pub(super) fn form(key_type: KeyType) -> String {
    let marks: Vec<_> = key_type.marks().collect();
    match marks[..] {
        [class] => Position::form(class),
        _ => marks
            .iter()
            .map(|class| format!("{class}={}", Position::form(*class)))
            .collect::<Vec<_>>()
            .join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use signonce_core::Retiming;
    use signonce_protocol::{ChainId, LogIndex};
    use signonce_substrate::{
        BABE, BABE_BLOCK, BEEFY, BEEFY_VOTE, ChainFormat, ChainSettings, GRANDPA, GRANDPA_VOTE, IM_ONLINE,
        Limits, PARA, PARA_SIDE,
    };

    #[test]
    fn a_coordinate_is_read_in_the_form_of_the_key_type() {
        signonce_shared::families::install();
        for (key_type, text, class, parts) in [
            (BABE, "12", BABE_BLOCK, &[12][..]),
            (GRANDPA, "3:4", GRANDPA_VOTE, &[3, 4]),
            (BEEFY, "3:4", BEEFY_VOTE, &[3, 4]),
            (PARA, "5", PARA_SIDE, &[5]),
        ] {
            let expected = Position::new(class, parts).unwrap();
            assert_eq!(floors(key_type, "--to", text).unwrap(), Floors::from(expected));
        }
    }

    #[test]
    fn a_halt_for_a_slot_that_can_have_come_is_lifted_by_a_watermark_alone() {
        signonce_shared::families::install();
        let chain = |slot_duration_ms| {
            let (format, limits) = (ChainFormat::default(), Limits::default());
            ChainSettings { format, slot_duration_ms, limits }.chain(ChainId([1; 32]), "c")
        };
        let slot = |slot| Position::new(BABE_BLOCK, &[slot]).unwrap();
        let (chain, longer, now) = (chain(6_000), chain(12_000), 1_000 * 6_000);
        let has_come = |place| has_come(place, SlotClock::new(&chain, &[]), now);
        assert!(has_come(slot(1_000)) && has_come(slot(1_000 + A_DAY_MS / 6_000)));
        assert!(!has_come(slot(1_001 + A_DAY_MS / 6_000)));
        assert!(!has_come(slot(u64::MAX)));
        // Slots that got shorter have higher numbers.
        let shorter = [Retiming { from_ms: now / 2, slot_duration_ms: 6_000, at: LogIndex(1) }];
        let clock = SlotClock::new(&longer, &shorter);
        assert!(super::has_come(slot(1_000 + A_DAY_MS / 6_000), clock, now));
    }

    #[test]
    fn another_form_is_wrong_usage() {
        signonce_shared::families::install();
        for (key_type, text) in
            [(BABE, "1:2"), (GRANDPA, "12"), (BEEFY, "a:b"), (PARA, "4294967296"), (IM_ONLINE, "1")]
        {
            assert!(floors(key_type, "--to", text).is_err(), "{key_type} {text}");
        }
    }
}
