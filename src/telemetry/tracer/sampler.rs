//! The rules by which traces are recorded (contract OB-15).

use crate::event::SpanContext;

/// The rule by which traces are recorded (contract OB-15).
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

    pub(super) fn should_sample(self, trace_id: u128, parent: Option<SpanContext>) -> bool {
        match (self, parent) {
            (Self::AlwaysOn, _) => true,
            (Self::AlwaysOff, _) => false,
            (Self::ParentBased(_), Some(parent)) => parent.is_sampled(),
            (Self::ParentBased(ratio) | Self::TraceIdRatio(ratio), _) => {
                is_within_ratio(trace_id, ratio)
            }
        }
    }
}

/// Decides by the second half of the id, as Go's SDK does, so that all processes with the same
/// ratio agree.
fn is_within_ratio(trace_id: u128, ratio: f64) -> bool {
    let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = trace_id.to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) < ratio * 4_294_967_296.0
}
