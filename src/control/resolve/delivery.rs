//! Delivery specs as they are meant: checked, and merged with their parents' as the upstream controllers do.

use std::time::Duration;

use super::{Broken, Findings, Resolver};
use crate::control::manifest;
use crate::model::{Addressable, BackoffPolicy, DeliverySpec, Format, parse_duration};

/// More retries than this are a mistake.
const MOST_RETRIES: i64 = 1_000_000;

/// A delivery spec with its dead letter sink.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Delivery {
    pub(super) spec: DeliverySpec,
    pub(super) dead_letter_sink: Option<Addressable>,
}

impl Resolver<'_> {
    /// Reads the delivery spec at `field`, if there is one.
    pub(super) fn delivery(
        &mut self,
        written: Option<&manifest::Delivery>,
        field: &str,
        findings: &mut Findings<'_>,
    ) -> Result<Option<Delivery>, Broken> {
        let Some(written) = written else { return Ok(None) };
        let spec = spec(written, field, findings);
        let dead_letter_sink = written
            .dead_letter_sink
            .as_ref()
            .map(|sink| self.destination(sink, &format!("{field}.deadLetterSink"), findings))
            .transpose()?;
        Ok(Some(Delivery { spec, dead_letter_sink }))
    }
}

/// The child's own spec as a whole, else the parent's; only the dead letter sink falls back by itself
/// (data-plane.md BF-3, control-plane.md 5.4).
pub(super) fn merge(own: Option<Delivery>, parent: &Delivery) -> Delivery {
    match own {
        None => parent.clone(),
        Some(own) => {
            let dead_letter_sink = own.dead_letter_sink.or_else(|| parent.dead_letter_sink.clone());
            Delivery { spec: own.spec, dead_letter_sink }
        }
    }
}

fn spec(written: &manifest::Delivery, field: &str, findings: &mut Findings<'_>) -> DeliverySpec {
    let retry = written.retry.unwrap_or(0);
    if !(0..=MOST_RETRIES).contains(&retry) {
        findings
            .error(&format!("{field}.retry"), format!("{retry} is not a number of retries: write 0 to {MOST_RETRIES}"));
    }
    let mut duration = |name: &str, text: Option<&String>| -> Option<Duration> {
        let text = text?;
        parse_duration(text)
            .map_err(|remedy| findings.error(&format!("{field}.{name}"), format!("{text:?} {remedy}")))
            .ok()
    };
    let backoff_delay = duration("backoffDelay", written.backoff_delay.as_ref());
    let backoff_max = duration("backoffMax", written.backoff_max.as_ref());
    let timeout = duration("timeout", written.timeout.as_ref());
    let retry_after_max = duration("retryAfterMax", written.retry_after_max.as_ref());
    DeliverySpec {
        retry: u32::try_from(retry).unwrap_or(0),
        backoff_policy: policy(written, field, findings),
        backoff_delay,
        backoff_max,
        timeout,
        retry_after_max,
        format: format_of(written, field, findings),
    }
}

fn policy(written: &manifest::Delivery, field: &str, findings: &mut Findings<'_>) -> Option<BackoffPolicy> {
    match written.backoff_policy.as_deref() {
        None => None,
        Some("linear") => Some(BackoffPolicy::Linear),
        Some("exponential") => Some(BackoffPolicy::Exponential),
        Some(other) => {
            findings.error(
                &format!("{field}.backoffPolicy"),
                format!("{other:?} is not a policy: write linear or exponential"),
            );
            None
        }
    }
}

fn format_of(written: &manifest::Delivery, field: &str, findings: &mut Findings<'_>) -> Format {
    match written.format.as_deref() {
        None | Some("binary") => Format::Binary,
        Some("json") => Format::Json,
        Some(other) => {
            findings.error(&format!("{field}.format"), format!("{other:?} is not a format: write binary or json"));
            Format::Binary
        }
    }
}
