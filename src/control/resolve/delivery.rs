//! Delivery specs: from the texts of a manifest to values (control-plane.md 2.1; gaps.md §4).

use std::time::Duration;

use crate::control::manifest::duck;
use crate::control::report::Report;
use crate::model::{BackoffPolicy, DeliverySpec, Format, parse_duration};

/// Reads everything but the dead letter sink; `path` is the field where it stands. Reports every bad field, and takes
/// its default in its place.
pub(super) fn resolve(written: &duck::DeliverySpec, path: &str, report: &mut Report<'_>) -> DeliverySpec {
    let mut fields = Fields { path, report };
    DeliverySpec {
        retry: fields.retry(written.retry),
        backoff_policy: fields.policy(written.backoff_policy.as_deref()),
        backoff_delay: fields.duration("backoffDelay", written.backoff_delay.as_deref()),
        backoff_max: fields.duration("backoffMax", written.backoff_max.as_deref()),
        timeout: fields.timeout(written.timeout.as_deref()),
        retry_after_max: fields.duration("retryAfterMax", written.retry_after_max.as_deref()),
        format: fields.format(written.format.as_deref()),
    }
}

struct Fields<'f, 'd> {
    path: &'f str,
    report: &'f mut Report<'d>,
}

impl Fields<'_, '_> {
    fn error(&mut self, field: &str, message: String) {
        self.report.error(&format!("{}.{field}", self.path), message);
    }

    fn retry(&mut self, retry: Option<i64>) -> u32 {
        let retry = retry.unwrap_or(0);
        match i32::try_from(retry).ok().and_then(|retry| u32::try_from(retry).ok()) {
            Some(retry) => retry,
            None => {
                let rule = if retry < 0 { "is negative: write 0 or more" } else { "is too large: at most 2147483647" };
                self.error("retry", format!("{retry} {rule}"));
                0
            }
        }
    }

    fn policy(&mut self, text: Option<&str>) -> Option<BackoffPolicy> {
        match text? {
            "linear" => Some(BackoffPolicy::Linear),
            "exponential" => Some(BackoffPolicy::Exponential),
            other => {
                self.error("backoffPolicy", format!("{other:?} is no policy: write linear or exponential"));
                None
            }
        }
    }

    fn duration(&mut self, field: &str, text: Option<&str>) -> Option<Duration> {
        let text = text?;
        parse_duration(text).map_err(|remedy| self.error(field, format!("{text:?} {remedy}"))).ok()
    }

    fn timeout(&mut self, text: Option<&str>) -> Option<Duration> {
        let timeout = self.duration("timeout", text)?;
        if timeout.is_zero() {
            self.error("timeout", "is zero, so that no attempt could succeed: write for example PT30S".to_owned());
        }
        Some(timeout)
    }

    fn format(&mut self, text: Option<&str>) -> Format {
        match text {
            None | Some("binary") => Format::Binary,
            Some("json") => Format::Json,
            Some(other) => {
                self.error("format", format!("{other:?} is no format: write binary or json"));
                Format::Binary
            }
        }
    }
}
