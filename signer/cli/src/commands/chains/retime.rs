//! `signonce chains retime`: slots of another length, from a moment on.

use super::describe;
use crate::commands::{
    common::{Confirm, Reach, Usage},
    keys::find_chain,
};
use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};
use signonce_cluster::clock::unix_ms;
use signonce_core::Change;
use signonce_protocol::Slot;
use signonce_shared::{admin::api::ChainRow, audit::words::time};

/// Changes the slot length of a chain from a moment on.
///
/// AURA chains can change it by a runtime upgrade; a slot's number is Unix time divided by the length, so the numbers
/// jump or fall. Run this before the upgrade takes effect, or as soon after it as you can: until then blocks are
/// refused. Watermarks follow in time: no slot that begins before the last one signed is ever signed again.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  \
    signonce chains retime mychain --slot-duration 24000 --first-slot 74825001\n  \
    signonce chains retime mychain --slot-duration 6000 --from 2026-11-27T20:00:12Z\n  \
    signonce chains retime mychain --take-back")]
pub(super) struct Args {
    /// The chain, by name or genesis hash.
    chain: String,
    /// The new length of a slot in milliseconds.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..), required_unless_present = "take_back")]
    slot_duration: Option<u64>,
    /// The moment: slots that begin then or later have the new length. For example 2026-11-27T20:00:12Z.
    #[arg(long, value_name = "TIME", conflicts_with = "first_slot")]
    from: Option<String>,
    /// The same moment as the first slot of the new length, in the new numbers: the slot of the first block after the
    /// upgrade took effect.
    #[arg(long, value_name = "SLOT")]
    first_slot: Option<u64>,
    /// Undo the last change instead, for a moment that was given wrongly. Works as long as no key has signed by it.
    #[arg(long, conflicts_with_all = ["slot_duration", "from", "first_slot"])]
    take_back: bool,
    #[command(flatten)]
    confirm: Confirm,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let admin = args.reach.client()?;
    let chain = find_chain(&admin, &args.chain).await?;
    let genesis = chain.genesis;
    let (change, plan) = match (args.take_back, args.slot_duration) {
        (true, _) => (Change::TakeBackTiming { chain: genesis }, plan_back(&chain)?),
        (false, Some(slot_duration_ms)) => {
            let from_ms = moment(args.from.as_deref(), args.first_slot, slot_duration_ms)?;
            let plan = plan_retiming(&chain, from_ms, slot_duration_ms);
            (Change::RetimeChain { chain: genesis, from_ms, slot_duration_ms }, plan)
        }
        (false, None) => return Err(Usage("say how long a slot lasts: --slot-duration".into()).into()),
    };
    args.confirm.ask(plan)?;
    let done = admin.change(&change).await?;
    let now = find_chain(&admin, &args.chain).await?;
    let text = format!("Done (log entry {}).\n{}", done.at, describe(std::slice::from_ref(&now)));
    args.reach.output.done(&now, text)
}

/// The moment in Unix milliseconds, in whichever form it was given.
fn moment(from: Option<&str>, first_slot: Option<u64>, slot_duration_ms: u64) -> Result<u64, Usage> {
    match (from, first_slot) {
        (_, Some(slot)) => slot
            .checked_mul(slot_duration_ms)
            .ok_or_else(|| Usage(format!("slot {slot} of {slot_duration_ms} ms is out of range"))),
        (Some(text), None) => {
            let wrong = || Usage(format!("{text:?} is not a time: write it as 2026-11-27T20:00:12Z"));
            let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
            u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|_| wrong())
        }
        (None, None) => Err(Usage(
            "say from when on: --first-slot, the slot of the first block after the upgrade took effect, or --from"
                .into(),
        )),
    }
}

fn plan_back(chain: &ChainRow) -> Result<String, Usage> {
    let Some(last) = chain.retimings.last() else {
        return Err(Usage(format!(
            "the slots of {} never changed: there is nothing to take back",
            chain.name
        )));
    };
    Ok(format!(
        "Will forget that slots of {} last {} ms from {} on. Refused once a key has signed by it.",
        chain.name,
        last.slot_duration_ms,
        time(last.from_ms)
    ))
}

fn plan_retiming(chain: &ChainRow, from_ms: u64, slot_duration_ms: u64) -> String {
    let clock = chain.clock();
    let old_ms = clock.duration_ms(clock.newest());
    let last = Slot(from_ms.saturating_sub(1) / old_ms);
    let first = Slot(from_ms.div_ceil(slot_duration_ms));
    let when = if from_ms > unix_ms() { "Until then nothing changes." } else { "That is in the past." };
    format!(
        "Will count the slots of {} by {slot_duration_ms} ms instead of {old_ms} ms from {} on. {when}\n  \
         last slot of the old length   {last}\n  first slot of the new length  {first}\n\
         Blocks of the chain must have these numbers: compare them with the upgrade. A key that has signed by the new \
         length signs no slot of the old length any more.",
        chain.name,
        time(from_ms)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_the_first_slot() {
        assert_eq!(moment(None, Some(74_825_001), 24_000).unwrap(), 1_795_800_024_000);
        assert_eq!(moment(Some("2026-11-27T21:20:24Z"), None, 24_000).unwrap(), 1_795_814_424_000);
        for wrong in ["tomorrow", "2026-11-27", "1500-01-01T00:00:00Z"] {
            assert!(moment(Some(wrong), None, 24_000).is_err(), "{wrong}");
        }
        assert!(moment(None, None, 24_000).is_err() && moment(None, Some(u64::MAX), 24_000).is_err());
    }
}
