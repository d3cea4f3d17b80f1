//! Where the leader should be: at the pinned place, or else where a signature costs least, without needless moves.
//!
//! The leader checks once a round and hands over if [`Placement::judge`] says so. A pin is followed as soon as its node
//! can lead. Without a pin, another node must be clearly faster for minutes on end: a handover costs every request
//! under way some milliseconds, and the figures of one minute say little.

use signonce_cluster::{Handle, Measured};
use signonce_core::{LeaderPin, State, replica::ReplicaStatus};
use signonce_protocol::NodeId;
use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

/// How long a leader must have led, and a node must have been fit to lead, before leadership moves there by itself: a
/// node that stops has handed over and must not get it back while it still answers.
const SETTLED: Duration = Duration::from_secs(15);
/// How much faster it must be: its cost times this is still below the leader's ...
const FACTOR: f64 = 1.5;
/// ... and lower by at least this, so that nobody moves over microseconds.
const MARGIN: Duration = Duration::from_micros(500);
/// The pause between two attempts to hand over.
const AGAIN: Duration = Duration::from_secs(30);
/// The most entries that a node may be behind and still take over at once.
const LAG_MAX: u64 = 256;
/// How long a handover may take.
const HANDOVER: Duration = Duration::from_secs(5);

/// A voter that could lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub node: NodeId,
    /// Whether it answers and has nearly the whole log. The leader itself always does.
    pub fit: bool,
    pub zone: Option<String>,
    /// What a claim would take to commit if it led: its own sync, and the answers of the nearest majority. Unknown
    /// until measured.
    pub cost: Option<Duration>,
}

/// Why leadership should move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Pinned(LeaderPin),
    Faster { here: Duration, there: Duration },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned(pin) => write!(f, "the leader is pinned to {pin}"),
            Self::Faster { here, there } => {
                write!(f, "a claim takes {here:?} from here and would take {there:?} from there, for a while")
            }
        }
    }
}

/// What a leader remembers from round to round. Starts afresh with every leadership.
#[derive(Debug)]
pub(super) struct Placement {
    /// How long another node must be faster, without a break.
    faster_for: Duration,
    leads_since: Instant,
    fit_since: BTreeMap<NodeId, Instant>,
    faster: Option<(NodeId, Instant)>,
    tried: Option<Instant>,
}

impl Placement {
    pub(super) fn new(now: Instant, faster_for: Duration) -> Self {
        Self { faster_for, leads_since: now, fit_since: BTreeMap::new(), faster: None, tried: None }
    }

    /// Who should lead instead of `own`, and why.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        own: NodeId,
        pin: Option<&LeaderPin>,
        places: &[Candidate],
    ) -> Option<(NodeId, Reason)> {
        self.fit_since.retain(|node, _| places.iter().any(|place| place.node == *node && place.fit));
        for place in places.iter().filter(|place| place.fit) {
            self.fit_since.entry(place.node).or_insert(now);
        }
        let settled = |since: Instant| now.duration_since(since) >= SETTLED;
        let can_lead: Vec<&Candidate> = places
            .iter()
            .filter(|place| {
                place.node != own && self.fit_since.get(&place.node).is_some_and(|at| settled(*at))
            })
            .collect();
        let here = places.iter().find(|place| place.node == own)?;
        let pinned = |place: &Candidate| match pin {
            Some(LeaderPin::Node(node)) => place.node == *node,
            Some(LeaderPin::Zone(zone)) => place.zone.as_ref() == Some(zone),
            None => true,
        };
        let quick = settled(self.leads_since) && self.tried.is_none_or(|at| now.duration_since(at) >= AGAIN);
        let wanted = cheapest(can_lead.iter().copied().filter(|place| pinned(place)));
        if !pinned(here) {
            if let Some(place) = wanted {
                return quick.then(|| {
                    (place.node, Reason::Pinned(pin.cloned().expect("all is pinned without a pin")))
                });
            }
            // Nobody at the pinned place can lead, so the fastest of the others does meanwhile.
            return self.faster(now, here, cheapest(can_lead.into_iter())).filter(|_| quick);
        }
        self.faster(now, here, wanted).filter(|_| quick)
    }

    fn faster(
        &mut self,
        now: Instant,
        here: &Candidate,
        best: Option<&Candidate>,
    ) -> Option<(NodeId, Reason)> {
        let clear = best.and_then(|place| {
            let (own, other) = (here.cost?, place.cost?);
            let clearly = other.mul_f64(FACTOR) < own && own.saturating_sub(other) >= MARGIN;
            clearly.then_some((place.node, Reason::Faster { here: own, there: other }))
        });
        let Some((node, reason)) = clear else {
            self.faster = None;
            return None;
        };
        match self.faster {
            Some((same, since)) if same == node => {
                (now.duration_since(since) >= self.faster_for).then_some((node, reason))
            }
            _ => {
                self.faster = Some((node, now));
                None
            }
        }
    }

    /// Hands over if leadership belongs elsewhere.
    pub(super) async fn round(&mut self, handle: &Handle) {
        let (now, status, measured) = (Instant::now(), handle.status(), handle.places());
        let (pin, places) =
            handle.read(|state| (state.registry().leader_pin().cloned(), places(state, &status, &measured)));
        let Some((node, reason)) = self.judge(now, handle.node(), pin.as_ref(), &places) else { return };
        self.tried = Some(now);
        match handle.transfer_leadership(Some(node), HANDOVER).await {
            Some(heir) => tracing::info!(%heir, %reason, "leadership handed over"),
            None => tracing::warn!(%node, %reason, "leadership could not be handed over; it is tried again"),
        }
    }
}

/// The cheapest candidate; one without a figure is the last choice.
fn cheapest<'a>(places: impl Iterator<Item = &'a Candidate>) -> Option<&'a Candidate> {
    places.min_by_key(|place| (place.cost.unwrap_or(Duration::MAX), place.node))
}

fn places(state: &State, status: &ReplicaStatus, measured: &BTreeMap<NodeId, Measured>) -> Vec<Candidate> {
    let place = |node: &NodeId| {
        let follower = status.followers.iter().find(|follower| follower.node == *node);
        let near = follower.is_some_and(|f| f.active && status.last.0.saturating_sub(f.matched.0) <= LAG_MAX);
        let note = state.registry().node_note(*node);
        Candidate {
            node: *node,
            fit: *node == status.node || near,
            zone: note.and_then(|note| note.zone.clone()),
            cost: measured.get(node).and_then(|measured| measured.cost),
        }
    };
    status.voters.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const FASTER_FOR: Duration = Duration::from_secs(5 * 60);

    fn place(node: NodeId, zone: &str, cost_us: u64) -> Candidate {
        let cost = Some(Duration::from_micros(cost_us));
        Candidate { node, fit: true, zone: Some(zone.into()), cost }
    }

    /// Looks every second for as long as it takes, up to ten minutes; when and where leadership would go.
    fn goes(pin: Option<LeaderPin>, places: impl Fn(u64) -> Vec<Candidate>) -> Option<(u64, NodeId)> {
        let start = Instant::now();
        let mut placement = Placement::new(start, FASTER_FOR);
        (0..600).find_map(|second| {
            let now = start + Duration::from_secs(second);
            let (node, _) = placement.judge(now, OWN, pin.as_ref(), &places(second))?;
            Some((second, node))
        })
    }

    #[test]
    fn it_goes_to_a_node_that_is_clearly_faster_for_minutes() {
        let steady = |_| vec![place(OWN, "a", 3_000), place(OTHER, "a", 1_000), place(NodeId(3), "a", 1_500)];
        let (second, node) = goes(None, steady).unwrap();
        assert_eq!(node, OTHER);
        assert!(second >= FASTER_FOR.as_secs(), "not before {second} s");
    }

    #[test]
    fn it_stays_for_small_or_passing_differences_and_unknown_costs() {
        let at = |other: u64| vec![place(OWN, "a", 3_000), place(OTHER, "a", other)];
        assert_eq!(goes(None, |_| at(2_500)), None, "not clearly");
        assert_eq!(goes(None, |_| vec![place(OWN, "a", 300), place(OTHER, "a", 100)]), None, "microseconds");
        assert_eq!(
            goes(None, |second| at(if second % 240 == 239 { 3_000 } else { 1_000 })),
            None,
            "with breaks"
        );
        let unknown = |_| vec![place(OWN, "a", 3_000), Candidate { cost: None, ..place(OTHER, "a", 0) }];
        assert_eq!(goes(None, unknown), None);
        let gone = |_| vec![place(OWN, "a", 3_000), Candidate { fit: false, ..place(OTHER, "a", 100) }];
        assert_eq!(goes(None, gone), None);
    }

    #[test]
    fn it_goes_to_the_pinned_node_once_that_has_settled_and_stays_there() {
        let pin = |node| Some(LeaderPin::Node(node));
        let slow = |_| vec![place(OWN, "a", 1_000), place(OTHER, "a", 9_000)];
        assert_eq!(goes(pin(OTHER), slow), Some((SETTLED.as_secs(), OTHER)));
        let fast = |_| vec![place(OWN, "a", 9_000), place(OTHER, "a", 1_000)];
        assert_eq!(goes(pin(OWN), fast), None);
        let back_after_a_minute = |second| {
            vec![place(OWN, "a", 1_000), Candidate { fit: second >= 60, ..place(OTHER, "a", 1_000) }]
        };
        assert_eq!(goes(pin(OTHER), back_after_a_minute), Some((60 + SETTLED.as_secs(), OTHER)));
    }

    #[test]
    fn within_a_pinned_zone_the_cheapest_leads() {
        let pin = Some(LeaderPin::Zone("b".into()));
        let places = |_| vec![place(OWN, "a", 500), place(OTHER, "b", 3_000), place(NodeId(3), "b", 2_000)];
        assert_eq!(goes(pin.clone(), places), Some((SETTLED.as_secs(), NodeId(3))));
        let inside = |_| vec![place(OWN, "b", 3_000), place(OTHER, "a", 500), place(NodeId(3), "b", 2_900)];
        assert_eq!(goes(pin, inside), None, "a faster node of another zone is none of its business");
    }

    #[test]
    fn while_nobody_at_the_pinned_place_can_lead_the_fastest_does() {
        let pin = Some(LeaderPin::Node(NodeId(9)));
        let places = |_| vec![place(OWN, "a", 3_000), place(OTHER, "a", 1_000)];
        assert_eq!(goes(pin, places).unwrap().1, OTHER);
    }
}
