//! The stages of a request, and how long each takes. The stages overlap: the leader replicates while it syncs, and the
//! signature is made meanwhile.

use super::{Moments, latency::Latency};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::MetricType,
};
use std::fmt;

/// A stage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Decoding the payload.
    Decode,
    /// Finding client, chain and key, and checking the client's rights.
    Rights,
    /// From the hand-over to the consensus thread until it proposes the request or sends it to the leader.
    Queue,
    /// Writing entries to the log, without the fsync.
    Append,
    /// One fsync.
    Sync,
    /// On the leader: from the proposal of an entry until a majority has fsynced it.
    Replicate,
    /// From the hand-over to the consensus thread until the verdict is back: how long a client waits for the log.
    Commit,
    /// From learning that entries are committed until their verdicts are given out.
    Apply,
    /// Making the signature and verifying it.
    Sign,
    /// From the verdict to the finished answer.
    Reply,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 10] = [
        Self::Decode,
        Self::Rights,
        Self::Queue,
        Self::Append,
        Self::Sync,
        Self::Replicate,
        Self::Commit,
        Self::Apply,
        Self::Sign,
        Self::Reply,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Rights => "rights",
            Self::Queue => "queue",
            Self::Append => "append",
            Self::Sync => "sync",
            Self::Replicate => "replicate",
            Self::Commit => "commit",
            Self::Apply => "apply",
            Self::Sign => "sign",
            Self::Reply => "reply",
        }
    }
}

/// A histogram for each stage. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Stages {
    histograms: [Latency; Stage::ALL.len()],
    moments: Moments,
}

impl Default for Stages {
    fn default() -> Self {
        let moments = Moments::default();
        let histogram = |stage: Stage| match stage {
            // Stages of the log serve many requests at once; a trace of one request finds its runs by time.
            Stage::Queue | Stage::Append | Stage::Sync | Stage::Replicate | Stage::Apply => {
                Latency::noted(stage, moments.clone())
            }
            // Stages of one request, which its own task measures.
            Stage::Decode | Stage::Rights | Stage::Commit | Stage::Sign | Stage::Reply => Latency::default(),
        };
        Self { histograms: Stage::ALL.map(histogram), moments: moments.clone() }
    }
}

impl Stages {
    /// The histogram of one stage.
    pub const fn of(&self, stage: Stage) -> &Latency {
        &self.histograms[stage as usize]
    }

    /// The recorded runs of the stages of the log.
    pub const fn moments(&self) -> &Moments {
        &self.moments
    }
}

impl EncodeMetric for Stages {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for stage in Stage::ALL {
            self.of(stage).encode(encoder.encode_family(&[("stage", stage.name())])?)?;
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
    fn every_stage_has_a_histogram_of_its_own() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place);
        }
    }
}
