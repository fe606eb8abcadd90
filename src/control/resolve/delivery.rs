//! Reads delivery specs: from the texts of a manifest to values (contract 2.1, G-30, G-34, G-35).

use std::time::Duration;

use crate::control::read::manifest::duck;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::destination::WrittenDestination;
use crate::model::{BackoffPolicy, DeliveryFormat, DeliveryOrder, DeliverySpec, parse_duration};

/// A delivery spec as it is written, and the field that it stands at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrittenDelivery<'w> {
    pub(crate) field: &'w str,
    pub(crate) spec: &'w duck::DeliverySpecManifest,
}

impl<'w> WrittenDelivery<'w> {
    /// An object's own delivery spec, at `spec.delivery`.
    pub(super) fn own(spec: &'w duck::DeliverySpecManifest) -> Self {
        Self {
            field: "spec.delivery",
            spec,
        }
    }

    /// The dead letter sink as it is written; `None` if there is none.
    pub(super) fn dead_letter_sink(self) -> Option<WrittenDestination<'w>> {
        let sink = self.spec.dead_letter_sink.as_ref()?;
        let field = format!("{}.deadLetterSink", self.field);
        Some(WrittenDestination::at_field(field, sink))
    }

    /// Reads every field but the dead letter sink. Reports every bad field, and leaves it unset.
    pub(super) fn resolve(self, report: &mut ObjectReport<'_>) -> DeliveryFields {
        resolve(self.spec, self.field, report)
    }
}

/// The fields that a manifest sets, without the dead letter sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeliveryFields {
    /// The number of attempts after the first one.
    retry: Option<u32>,
    backoff_policy: Option<BackoffPolicy>,
    /// The wait that the policy makes grow.
    backoff_delay: Option<Duration>,
    /// The longest wait between two attempts.
    backoff_max: Option<Duration>,
    /// The limit of each attempt.
    timeout: Option<Duration>,
    /// The longest `Retry-After` that is obeyed.
    retry_after_max: Option<Duration>,
    format: Option<DeliveryFormat>,
}

impl DeliveryFields {
    /// The whole delivery spec, with the default for each field that is not set.
    pub(super) fn to_delivery_spec(&self) -> DeliverySpec {
        DeliverySpec {
            retry: self.retry.unwrap_or_default(),
            backoff_policy: self.backoff_policy,
            backoff_delay: self.backoff_delay,
            backoff_max: self.backoff_max,
            timeout: self.timeout,
            retry_after_max: self.retry_after_max,
            format: self.format.unwrap_or_default(),
            order: DeliveryOrder::default(),
            start_at: None,
        }
    }

    /// These fields, and the parent's for those that are not set.
    pub(super) fn merge_parent(&self, parent: &Self) -> Self {
        Self {
            retry: self.retry.or(parent.retry),
            backoff_policy: self.backoff_policy.or(parent.backoff_policy),
            backoff_delay: self.backoff_delay.or(parent.backoff_delay),
            backoff_max: self.backoff_max.or(parent.backoff_max),
            timeout: self.timeout.or(parent.timeout),
            retry_after_max: self.retry_after_max.or(parent.retry_after_max),
            format: self.format.or(parent.format),
        }
    }

    /// The names of the fields that the parent sets and these do not.
    pub(super) fn missing_fields(&self, parent: &Self) -> Vec<&'static str> {
        let fields = [
            ("retry", self.retry.is_none() && parent.retry.is_some()),
            (
                "backoffPolicy",
                self.backoff_policy.is_none() && parent.backoff_policy.is_some(),
            ),
            (
                "backoffDelay",
                self.backoff_delay.is_none() && parent.backoff_delay.is_some(),
            ),
            (
                "backoffMax",
                self.backoff_max.is_none() && parent.backoff_max.is_some(),
            ),
            (
                "timeout",
                self.timeout.is_none() && parent.timeout.is_some(),
            ),
            (
                "retryAfterMax",
                self.retry_after_max.is_none() && parent.retry_after_max.is_some(),
            ),
            ("format", self.format.is_none() && parent.format.is_some()),
        ];
        fields
            .into_iter()
            .filter(|(_, missing)| *missing)
            .map(|(name, _)| name)
            .collect()
    }
}

/// Reads every field but the dead letter sink; `path` is the field of the delivery spec. Reports
/// every bad field, and leaves it unset.
pub(super) fn resolve(
    written: &duck::DeliverySpecManifest,
    path: &str,
    report: &mut ObjectReport<'_>,
) -> DeliveryFields {
    let mut reader = DeliveryFieldReader { path, report };
    DeliveryFields {
        retry: reader.retry(written.retry),
        backoff_policy: reader.policy(written.backoff_policy.as_deref()),
        backoff_delay: reader.duration("backoffDelay", written.backoff_delay.as_deref()),
        backoff_max: reader.duration("backoffMax", written.backoff_max.as_deref()),
        timeout: reader.timeout(written.timeout.as_deref()),
        retry_after_max: reader.duration("retryAfterMax", written.retry_after_max.as_deref()),
        format: reader.format(written.format.as_deref()),
    }
}

struct DeliveryFieldReader<'f, 'd> {
    path: &'f str,
    report: &'f mut ObjectReport<'d>,
}

impl DeliveryFieldReader<'_, '_> {
    fn error(&mut self, field: &str, message: String) {
        self.report
            .error(&format!("{}.{field}", self.path), message);
    }

    fn retry(&mut self, retry: Option<i64>) -> Option<u32> {
        let retry = retry?;
        let valid = i32::try_from(retry)
            .ok()
            .and_then(|retry| u32::try_from(retry).ok());
        if valid.is_none() {
            let rule = if retry < 0 {
                "is negative: write 0 or more"
            } else {
                "is too large: at most 2147483647"
            };
            self.error("retry", format!("{retry} {rule}"));
        }
        valid
    }

    fn policy(&mut self, text: Option<&str>) -> Option<BackoffPolicy> {
        match text.filter(|text| !text.is_empty())? {
            "linear" => Some(BackoffPolicy::Linear),
            "exponential" => Some(BackoffPolicy::Exponential),
            other => {
                self.error(
                    "backoffPolicy",
                    format!("{other:?} is no policy: write linear or exponential"),
                );
                None
            }
        }
    }

    fn duration(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        let text = text?;
        parse_duration(text)
            .map_err(|remedy| self.error(field, format!("{text:?} {remedy}")))
            .ok()
    }

    fn timeout(&mut self, text: Option<&str>) -> Option<Duration> {
        let timeout = self.duration("timeout", text)?;
        if timeout.is_zero() {
            self.error(
                "timeout",
                "is zero, so that no attempt could succeed: write for example PT30S".to_owned(),
            );
        }
        Some(timeout)
    }

    fn format(&mut self, text: Option<&str>) -> Option<DeliveryFormat> {
        match text? {
            "binary" => Some(DeliveryFormat::Binary),
            "json" => Some(DeliveryFormat::Json),
            other => {
                self.error(
                    "format",
                    format!("{other:?} is no format: write binary or json"),
                );
                None
            }
        }
    }
}
