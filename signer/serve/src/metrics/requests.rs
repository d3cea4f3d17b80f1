//! Sign and VRF requests by method, class and outcome. Every series exists from the start, so counting a request is one
//! addition without a lookup.
//!
//! A scrape shows the series that were ever counted, and from the start those that alerts wait for: Prometheus sees no
//! increase when a series first appears, and the first refused equivocation must be seen.

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::Counter},
};
use signonce_cluster::Latency;
use signonce_protocol::{
    DutyClass,
    rpc::{ErrorCode, SignVerdict},
};
use signonce_shared::overview::RequestCount;
use std::{fmt, sync::Arc, time::Duration};

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `signer_sign`
    Sign,
    /// `signer_vrf`
    Vrf,
}

impl Method {
    const ALL: [Self; 2] = [Self::Sign, Self::Vrf];

    const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::Vrf => "vrf",
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a signature.
    Signed(SignVerdict),
    /// Without one.
    Refused(ErrorCode),
}

const VERDICTS: [SignVerdict; 3] = [SignVerdict::Granted, SignVerdict::Repeated, SignVerdict::Free];
const OUTCOMES: usize = VERDICTS.len() + ErrorCode::ALL.len();
impl Outcome {
    const fn index(self) -> usize {
        match self {
            Self::Signed(SignVerdict::Granted) => 0,
            Self::Signed(SignVerdict::Repeated) => 1,
            Self::Signed(SignVerdict::Free) => 2,
            Self::Refused(code) => VERDICTS.len() + code as usize,
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let refused = ErrorCode::ALL.iter().map(|code| Self::Refused(*code));
        VERDICTS.into_iter().map(Self::Signed).chain(refused)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Signed(SignVerdict::Granted) => "granted",
            Self::Signed(SignVerdict::Repeated) => "repeated",
            Self::Signed(SignVerdict::Free) => "free",
            Self::Refused(code) => code.name(),
        }
    }

    /// Whether its series is shown, for a class of claimed duties, before it was ever counted.
    const fn is_awaited(self) -> bool {
        matches!(
            self,
            Self::Signed(SignVerdict::Granted | SignVerdict::Repeated)
                | Self::Refused(ErrorCode::Equivocation | ErrorCode::NotReady | ErrorCode::UnknownOutcome)
        )
    }
}

/// The index of a class in a table; the first is for requests whose class could not be read.
fn class_index(class: Option<DutyClass>) -> usize {
    class.map_or(0, |class| class.index() + 1)
}

fn classes() -> impl Iterator<Item = Option<DutyClass>> {
    std::iter::once(None).chain(DutyClass::all().map(Some))
}

fn class_name(class: Option<DutyClass>) -> &'static str {
    class.map_or("unknown", DutyClass::name)
}

/// The counters. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Requests(Arc<[Vec<[Counter; OUTCOMES]>; 2]>);

impl Default for Requests {
    fn default() -> Self {
        let outcomes = |_| std::array::from_fn(|_| Counter::default());
        Self(Arc::new(std::array::from_fn(|_| classes().map(outcomes).collect())))
    }
}

impl Requests {
    /// Counts one request.
    pub fn count(&self, method: Method, class: Option<DutyClass>, outcome: Outcome) {
        self.of(method, class, outcome).inc();
    }

    fn of(&self, method: Method, class: Option<DutyClass>, outcome: Outcome) -> &Counter {
        &self.0[method as usize][class_index(class)][outcome.index()]
    }

    fn series(&self) -> impl Iterator<Item = (Method, Option<DutyClass>, Outcome, u64)> {
        Method::ALL.into_iter().flat_map(move |method| {
            classes().flat_map(move |class| {
                Outcome::all()
                    .map(move |outcome| (method, class, outcome, self.of(method, class, outcome).get()))
            })
        })
    }

    /// Every count above zero.
    pub fn counts(&self) -> Vec<RequestCount> {
        let counted = self.series().filter(|(.., count)| *count > 0);
        let count =
            |(method, class, outcome, count): (Method, Option<DutyClass>, Outcome, u64)| RequestCount {
                method: method.name().into(),
                class: class_name(class).into(),
                outcome: outcome.label().into(),
                count,
            };
        counted.map(count).collect()
    }
}

impl EncodeMetric for Requests {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (method, class, outcome, count) in self.series() {
            let awaited =
                method == Method::Sign && class.is_some_and(DutyClass::is_claimed) && outcome.is_awaited();
            if count == 0 && !awaited {
                continue;
            }
            let labels =
                [("method", method.name()), ("class", class_name(class)), ("outcome", outcome.label())];
            self.of(method, class, outcome).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

/// How long requests take, by class. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Durations(Vec<Latency>);

impl Default for Durations {
    fn default() -> Self {
        Self(classes().map(|_| Latency::default()).collect())
    }
}

impl Durations {
    /// Counts one request.
    pub fn observe(&self, class: Option<DutyClass>, took: Duration) {
        self.0[class_index(class)].observe(took);
    }
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for class in classes() {
            let latency = &self.0[class_index(class)];
            let asked = latency.counts().buckets.iter().any(|count| *count > 0);
            if asked || class.is_some_and(DutyClass::is_claimed) {
                latency.encode(encoder.encode_family(&[("class", class_name(class))])?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_and_outcome_has_a_place_of_its_own() {
        signonce_shared::families::install();
        let places: Vec<usize> = classes().map(class_index).collect();
        assert_eq!(places, (0..classes().count()).collect::<Vec<_>>());
        let outcomes: Vec<usize> = Outcome::all().map(Outcome::index).collect();
        assert_eq!(outcomes, (0..OUTCOMES).collect::<Vec<_>>());
    }
}
