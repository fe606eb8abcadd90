//! The hop of an event into a Broker: how many it has left, and when it arrived (contract BI-5,
//! BI-6).

use std::borrow::Cow;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::accept_error::AcceptError;
use crate::event::{Event, knative};

/// Counts the hop into a Broker and sets the time of arrival (contract BI-5, BI-6; a TTL above
/// `max_ttl` is not believed, contract G-56).
///
/// # Errors
/// If the event has no hop left.
pub(crate) fn enter_broker(event: &mut Event, max_ttl: i32) -> Result<(), AcceptError> {
    let left = match event
        .get(knative::BROKER_TTL)
        .as_deref()
        .map(str::parse::<i64>)
    {
        Some(Ok(ttl)) => i32::try_from(ttl.saturating_sub(1).clamp(0, max_ttl.into())).unwrap_or(0),
        Some(Err(_)) | None => max_ttl,
    };
    if left <= 0 {
        return Err(AcceptError::TtlExhausted);
    }
    event.set_integer(knative::BROKER_TTL, left);
    let now = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .map_or(Cow::Borrowed(""), Cow::Owned);
    event.set(knative::ARRIVAL_TIME, &now);
    Ok(())
}
