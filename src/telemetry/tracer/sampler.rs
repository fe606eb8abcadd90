//! The rules by which traces are recorded (contract OB-15).

use opentelemetry_sdk::trace as sdk;

/// The rule by which traces are recorded (contract OB-15), as it is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Every span is recorded.
    AlwaysOn,
    /// No span is recorded.
    AlwaysOff,
    /// This part of the traces that begin here, from 0 to 1; the others as their parents were.
    ParentBased(f64),
    /// This part of all traces, whatever their parents say.
    TraceIdRatio(f64),
}

impl Sampler {
    /// Makes a sampler as upstream does: 1 and more is always, 0 and less never, else it is the
    /// part of the traces that begin here.
    #[must_use]
    pub fn from_rate(rate: f64) -> Self {
        if rate >= 1.0 {
            Self::AlwaysOn
        } else if rate > 0.0 {
            Self::ParentBased(rate)
        } else {
            Self::AlwaysOff
        }
    }
}

impl From<Sampler> for sdk::Sampler {
    fn from(sampler: Sampler) -> Self {
        match sampler {
            Sampler::AlwaysOn => Self::AlwaysOn,
            Sampler::AlwaysOff => Self::AlwaysOff,
            Sampler::ParentBased(ratio) => {
                Self::ParentBased(Box::new(Self::TraceIdRatioBased(ratio)))
            }
            Sampler::TraceIdRatio(ratio) => Self::TraceIdRatioBased(ratio),
        }
    }
}
