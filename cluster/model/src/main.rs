//! `signonce-model`: checks the models in every state, and then that each rule is needed.

use signonce_model::{explore, fence, in_place, lock, service};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let mut sound = true;
    let mut check =
        |name: &str, must_hold: bool, (found, states): (Vec<&'static str>, usize), took: Instant| {
            let verdict = match (must_hold, found.is_empty()) {
                (true, true) => "holds in every state".to_owned(),
                (false, false) => format!("breaks, as it must: {found:?}"),
                (true, false) => format!("BROKEN: {found:?}"),
                (false, true) => "NOT NOTICED: the model is blind to it".to_owned(),
            };
            sound &= must_hold == found.is_empty();
            println!("{name:<42} {states:>9} states {:>6.1} s  {verdict}", took.elapsed().as_secs_f64());
        };
    use service::Without as S;
    for without in [S::Nothing, S::Commit, S::OneStep, S::WholeSnapshot, S::Floor] {
        let took = Instant::now();
        let checked = explore(service::Service(without), without == S::Nothing);
        check(&format!("service without {without:?}"), without == S::Nothing, checked, took);
    }
    use fence::Without as F;
    let of_three = [F::Nothing, F::Fence, F::Majority];
    let of_five = [F::Nothing, F::Fence, F::Majority, F::Witnesses, F::Lives, F::StartingOver];
    let all = of_three.map(|without| (3, without)).into_iter().chain(of_five.map(|without| (5, without)));
    for (nodes, without) in all {
        let took = Instant::now();
        let checked = explore(fence::Fence { nodes, without }, without == F::Nothing);
        check(&format!("fence of {nodes} without {without:?}"), without == F::Nothing, checked, took);
    }
    use in_place::Without as I;
    for without in
        [I::Nothing, I::Gone, I::Floors, I::Silence, I::Both, I::Durable, I::Disarmed, I::Afterwards]
    {
        let took = Instant::now();
        let checked = explore(in_place::InPlace(without), without == I::Nothing);
        check(&format!("in place without {without:?}"), without == I::Nothing, checked, took);
    }
    use lock::{Lock, Watched, Without as L};
    for (semantics, byzantine, blocks) in lock::BOUNDS {
        let took = Instant::now();
        let lock = Lock { without: L::Nothing, semantics, byzantine, blocks, watched: Watched::Votes };
        let byzantine = if byzantine { ", one Byzantine" } else { "" };
        check(&format!("lock, {semantics:?}, {blocks} blocks{byzantine}"), true, explore(lock, true), took);
    }
    // What a front may do that knows a node by its life: the one guard that can be left out.
    for semantics in [lock::Semantics::Code, lock::Semantics::Paper] {
        let (took, without) = (Instant::now(), L::SameLife);
        let lock = Lock { without, semantics, byzantine: true, blocks: 2, watched: Watched::Votes };
        check(&format!("lock, {semantics:?}, per life"), true, explore(lock, true), took);
    }
    for (without, semantics, watched) in lock::mistakes() {
        let took = Instant::now();
        let lock = Lock { without, semantics, byzantine: true, blocks: 2, watched };
        let name = format!("lock without {without:?}, {semantics:?}, {watched:?}");
        check(&name, false, explore(lock, false), took);
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
