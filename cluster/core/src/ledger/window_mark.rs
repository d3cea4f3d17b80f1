//! The watermark of most classes: a window of exact entries, held to the family's [`WindowRule`].

use super::{
    slots::{Counted, Reading},
    window::{At, Signed, Step, Window},
};
use parity_scale_codec::{DecodeAll as _, Encode};
use signonce_protocol::{
    Chain, Claim, ClaimSpec, Duty, DutyClass, Entry, Jump, Position, Refusal, Rule, ShieldContext, Verdict,
    WindowRule,
    mark::{Alone, AlreadyHigher, Context, Coverage, Floor, Mark, Rows, SignedDuty, Vote},
};

/// The row that says which counting of the chain's slots a window is of.
const COUNTING_ROW: u8 = 2;

/// A window and its rule.
#[derive(Clone, Debug)]
pub(super) struct WindowMark {
    window: Window,
    /// Of slots: the counting that the window's numbers are of. The chain's first, and always so without slots, is 0.
    counting: u32,
}

/// The rule of a class. What a window keeps and how far it reaches is by the class whose watermark it is; the form of a
/// duty, and what other keys have to do with it, by the duty's own.
fn rule_of(class: DutyClass) -> &'static WindowRule {
    match &class.claim().expect("a window is of claimed work").rule {
        Rule::Window(rule) => rule,
        Rule::Own(_) => panic!("{class} has a watermark of its own"),
    }
}

impl WindowMark {
    /// An empty watermark whose floor is stored already.
    pub(super) fn new(floor: Position) -> Self {
        Self { window: Window::new(floor), counting: 0 }
    }

    /// An empty watermark; its rows are written.
    pub(super) fn start(floor: Floor, rows: &mut dyn Rows) -> Self {
        let mut mark = Self::new(floor.at);
        rows.floor(None, floor.at);
        if floor.counting > 0 {
            mark.put_counting(floor.counting, rows);
        }
        mark
    }

    fn spec(&self) -> &'static ClaimSpec {
        self.window.floor().class().claim().expect("a watermark is of claimed work")
    }

    fn rule(&self) -> &'static WindowRule {
        rule_of(self.window.floor().class())
    }

    fn counted<'a>(&'a self, context: &Context<'a>) -> Option<Counted<'a>> {
        let retimed = self.spec().slots.is_some() && context.clock.is_retimed();
        retimed.then_some(Counted { window: &self.window, counting: self.counting, clock: context.clock })
    }

    fn put_counting(&mut self, counting: u32, rows: &mut dyn Rows) {
        let old = (self.counting > 0).then(|| self.counting.encode());
        rows.put(&[COUNTING_ROW], old.as_deref(), Some(&counting.encode()));
        self.counting = counting;
    }

    /// Brings the window into the counting of what was read.
    fn take_over(&mut self, reading: Reading, rows: &mut dyn Rows) {
        match reading {
            Reading::Same => {}
            Reading::Later { counting, floor } => {
                self.window.restart(self.window.floor().with_slot(floor), rows);
                self.put_counting(counting, rows);
            }
        }
    }

    /// Where a floor stands; `None` if it is below this one.
    fn read_floor(&self, floor: Floor, context: &Context<'_>) -> Option<Reading> {
        if self.spec().slots.is_none() {
            return (floor.at.order() >= self.window.floor().order()).then_some(Reading::Same);
        }
        let counted = Counted { window: &self.window, counting: self.counting, clock: context.clock };
        counted.read_floor(floor)
    }

    /// Refuses what is too far past the farthest. A key that starts at zero and has signed nothing has come nowhere
    /// yet: its first claim says where the chain is.
    ///
    /// Where several numbers are too far, the first one is told of; the bound is within the limits of them all.
    fn jump(&self, asked: Step, chain: &Chain) -> Option<Refusal> {
        let reference = self.window.reference();
        if reference == Step::default() && self.window.is_empty() {
            return None;
        }
        let (mut bound, mut broken) = (asked, None);
        for Jump { part, limit, restarts } in self.rule().jumps {
            // Of a number that restarts, how far it may go depends on the numbers before it, which have their bound now.
            let from = if *restarts { self.reached_in(bound, *part) } else { reference };
            let limit = limit(&chain.settings);
            let farthest = from[*part].saturating_add(limit).min(self.spec().parts[*part].max);
            if bound[*part] > farthest {
                bound[*part] = farthest;
                broken.get_or_insert((from, limit));
            }
        }
        let (from, limit) = broken?;
        let [asked, reference, bound] = [asked, from, bound].map(|step| self.window.position(step));
        Some(Refusal::JumpTooFar { asked, reference, limit, bound })
    }

    /// The farthest with the numbers of `step` before `part`: the highest signed, or the floor's; zero where the key has
    /// not come to.
    fn reached_in(&self, step: Step, part: usize) -> Step {
        let prefix = &step[..part];
        let floor = Some(self.window.floor().order()).filter(|floor| floor[..part] == *prefix);
        let reached = self.window.highest_with(prefix).or(floor);
        let mut zero = Step::default();
        zero[..part].copy_from_slice(prefix);
        reached.unwrap_or(zero)
    }

    fn is_crowded(&self, position: Position) -> Option<Refusal> {
        let limit = self.rule().per_step?;
        let crowded = self.window.crowd(position.order()) >= limit;
        crowded.then_some(Refusal::Crowded { position, limit })
    }
}

impl Mark for WindowMark {
    fn boxed(&self) -> Box<dyn Mark> {
        Box::new(self.clone())
    }

    fn floor(&self) -> Position {
        self.window.floor()
    }

    fn highest(&self) -> Option<Position> {
        self.window.highest()
    }

    fn entries(&self) -> u64 {
        self.window.len() as u64
    }

    fn last(&self) -> Option<&Entry> {
        self.window.entries().next_back().map(|(_, _, signed)| &signed.entry)
    }

    fn votes(&self) -> Box<dyn DoubleEndedIterator<Item = Vote<'_>> + '_> {
        let vote = |(position, within, signed)| {
            let Signed { facts, .. }: &Signed = signed;
            Vote { position, within, facts }
        };
        Box::new(self.window.entries().map(vote))
    }

    fn judge(&self, claim: &Claim, context: &Context<'_>) -> Verdict {
        let (duty, rule) = (&claim.duty, rule_of(claim.duty.class()));
        if rule.fits.is_some_and(|fits| !fits(duty, &context.chain.settings)) {
            return Verdict::Refused(Refusal::WrongDuty { key: claim.key, class: duty.class() });
        }
        let (at, position) = (At::of(duty), duty.position());
        if let Some(signed) = self.window.get(&at) {
            return match signed.class == duty.class() {
                true => signed.entry.compare(claim),
                false => Verdict::Refused(signed.entry.contradicted_by(claim)),
            };
        }
        let shield = || {
            let context = ShieldContext { duty, chain: context.chain, siblings: context.siblings };
            rule.shield.and_then(|shield| shield(&context))
        };
        if let (Some(counted), Some(slot)) = (self.counted(context), duty.slot()) {
            match counted.read(slot) {
                Ok(Reading::Same) => {}
                // The window that it takes over has nothing that it could be beside, or far from.
                Ok(Reading::Later { .. }) => return shield().map_or(Verdict::Granted, Verdict::Refused),
                Err(refusal) => return Verdict::Refused(*refusal),
            }
        }
        if self.window.is_below(&at) {
            let floor = self.window.floor();
            return Verdict::Refused(Refusal::BelowWatermark { asked: position, floor });
        }
        let refusal = self.is_crowded(position);
        let refusal = refusal.or_else(|| self.jump(position.order(), context.chain)).or_else(shield);
        refusal.map_or(Verdict::Granted, Verdict::Refused)
    }

    fn record(&mut self, claim: &Claim, entry: Entry, context: &Context<'_>, rows: &mut dyn Rows) {
        let duty = &claim.duty;
        let reading = match (self.counted(context), duty.slot()) {
            (Some(counted), Some(slot)) => counted.read(slot).expect("a granted slot stands in a counting"),
            (None, _) | (Some(_), None) => Reading::Same,
        };
        self.take_over(reading, rows);
        let signed = Signed { class: duty.class(), entry, facts: duty.facts().to_vec() };
        self.window.insert(At::of(duty), signed, self.rule().keep, rows);
    }

    fn covers(&self, claim: &Claim, context: &Context<'_>) -> Coverage {
        // Whatever others have signed: it is about this key's own signature.
        let alone = Context { siblings: &Alone, ..*context };
        match self.judge(claim, &alone) {
            Verdict::Repeated { .. }
            | Verdict::Refused(Refusal::BelowWatermark { .. } | Refusal::PastCounting { .. }) => {
                Coverage::Covered
            }
            Verdict::Refused(Refusal::WrongDuty { .. }) => Coverage::Foreign,
            Verdict::Refused(refusal) if refusal.contradicts() => Coverage::Contradicted,
            Verdict::Granted | Verdict::Refused(_) => Coverage::Missing,
        }
    }

    fn may_raise(&self, floor: Floor, context: &Context<'_>) -> Result<(), AlreadyHigher> {
        #[cfg(signonce_sim)]
        if crate::mutation::is(crate::mutation::Mutation::FloorFalls) {
            return Ok(());
        }
        self.read_floor(floor, context).map(drop).ok_or(AlreadyHigher)
    }

    fn raise(
        &mut self,
        floor: Floor,
        context: &Context<'_>,
        rows: &mut dyn Rows,
    ) -> Result<(), AlreadyHigher> {
        #[cfg(signonce_sim)]
        if crate::mutation::is(crate::mutation::Mutation::FloorFalls) {
            return self.window.raise(floor.at, rows);
        }
        match self.read_floor(floor, context).ok_or(AlreadyHigher)? {
            Reading::Same => self.window.raise(floor.at, rows),
            later @ Reading::Later { .. } => {
                self.take_over(later, rows);
                // Where it was taken over, the floor may be past what was asked for already.
                let higher = floor.at.order() > self.window.floor().order();
                if higher { self.window.raise(floor.at, rows) } else { Ok(()) }
            }
        }
    }

    fn signed(&self) -> Option<Vec<SignedDuty>> {
        let duty = |(position, within, signed): (Position, &[u8], &Signed)| {
            let duty = Duty::new(position, within.to_vec(), signed.facts.clone());
            SignedDuty::of(duty, &signed.entry)
        };
        Some(self.window.entries().map(duty).collect())
    }

    fn rows(&self) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + '_> {
        let counting = (self.counting > 0).then(|| (vec![COUNTING_ROW], self.counting.encode()));
        Box::new(self.window.rows().chain(counting))
    }

    fn restore(&mut self, row: &[u8], body: &[u8]) -> Result<(), String> {
        if row != [COUNTING_ROW] {
            return self.window.restore(row, body);
        }
        let counting = u32::decode_all(&mut &*body).map_err(|e| e.to_string())?;
        if self.spec().slots.is_none() || counting == 0 || self.counting != 0 {
            return Err("a counting of what has no slots, or a second one".into());
        }
        self.counting = counting;
        Ok(())
    }

    fn counting(&self) -> u32 {
        self.counting
    }

    #[cfg(signonce_sim)]
    fn unburn(&mut self, claim: &Claim, rows: &mut dyn Rows) {
        self.window.remove(&At::of(&claim.duty), rows);
    }
}
