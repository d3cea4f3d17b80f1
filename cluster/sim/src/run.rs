//! Runs of seeds: one, many, with or without a guard; and the shrinking of a failing schedule.

use crate::environment::Figures;
use crate::mutation::Mutation;
use crate::setup::Options;
use crate::world::World;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The rule that was broken, if any.
    pub broken: Option<String>,
    /// Totals.
    pub figures: Figures,
    /// Equal for equal runs.
    pub fingerprint: u64,
    /// The events, if they were recorded.
    pub log: Vec<String>,
    /// How many things were scheduled.
    pub scheduled: usize,
}

/// Keeps the texts of panics instead of printing them. To be called once, before the first run.
pub fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("a panic without a text");
        LAST_PANIC.set(Some(format!("{text}{place}")));
    }));
}

/// Runs one seed.
pub fn run(options: &Options) -> Report {
    finish(World::new(options.clone()))
}

/// Runs a world to its end.
pub fn finish(mut world: World) -> Report {
    let end = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = end.err().map(|_| LAST_PANIC.take().unwrap_or_else(|| "a panic".into()));
    let environment = &mut world.environment;
    if let Some(broken) = &broken {
        let at = environment.now;
        environment.log.push(format!("BROKEN at {}.{:06}: {broken}", at / 1_000_000, at % 1_000_000));
    }
    environment.figures.virtual_us = environment.now;
    Report {
        broken,
        figures: environment.figures,
        fingerprint: environment.fingerprint,
        log: std::mem::take(&mut environment.log),
        scheduled: world.schedule.len(),
    }
}

/// The smallest part of a failing seed's schedule that still fails, found by leaving out halves, quarters and so on
/// down to single items. At most `runs` runs.
pub fn shrink(options: &Options, runs: usize) -> Vec<usize> {
    let fails =
        |only: &[usize]| run(&Options { only: Some(only.to_vec()), ..options.clone() }).broken.is_some();
    let mut kept: Vec<usize> = match &options.only {
        Some(only) => only.clone(),
        None => (0..run(options).scheduled).collect(),
    };
    let mut left = runs;
    let mut chunk = kept.len().div_ceil(2).max(1);
    loop {
        let before = kept.len();
        let mut start = 0;
        while start < kept.len() && left > 0 {
            let end = (start + chunk).min(kept.len());
            let without: Vec<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            left -= 1;
            if fails(&without) {
                kept = without;
            } else {
                start = end;
            }
        }
        if left == 0 || (chunk == 1 && kept.len() == before) {
            return kept;
        }
        chunk = chunk.div_ceil(2).max(1);
    }
}

/// The first seed of `seeds` in which the absence of a guard is caught, and by which rule.
pub fn caught(
    mutation: Mutation,
    seeds: std::ops::Range<u64>,
    mut options: Options,
) -> Option<(u64, String)> {
    options.mutation = Some(mutation);
    seeds.into_iter().find_map(|seed| {
        options.seed = seed;
        run(&options).broken.map(|broken| (seed, broken))
    })
}
