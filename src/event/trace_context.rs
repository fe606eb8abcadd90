//! The W3C trace context and baggage that travel beside an event, over HTTP and AMQP (contract
//! OB-14). By them, each sender of an event says which trace it belongs to.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header with trace and span that a message belongs to.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Header with entries of tracing systems for themselves.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Header with entries of senders for those after them.
pub(crate) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Largest size in bytes of `tracestate` or `baggage`; longer ones are not passed on, as W3C
/// allows.
const LONGEST: usize = 8192;
const SAMPLED: u8 = 1;

/// A span of a trace, as `traceparent` names it. Neither id is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// Id of the trace.
    pub trace_id: u128,
    /// Id of the span, within its trace.
    pub span_id: u64,
    /// Flags of W3C's version 0; bit 0 means sampled.
    pub flags: u8,
}

impl SpanContext {
    /// Parses a `traceparent`; `None` if it is none that W3C allows. Of a later version, the parts
    /// that version 0 knows are used.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let fits = [(version, 2), (trace, 32), (span, 16), (flags, 2)]
            .iter()
            .all(|(part, length)| {
                part.len() == *length
                    && part
                        .bytes()
                        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            });
        let allowed = version != "ff" && (version != "00" || parts.next().is_none());
        if !fits || !allowed {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        Some(Self {
            trace_id,
            span_id,
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }

    /// True if the sender records the trace.
    #[must_use]
    pub(crate) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Formats the span as a `traceparent` of version 0.
    #[must_use]
    pub(crate) fn traceparent(self) -> String {
        format!(
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id,
            self.span_id,
            self.flags & 3
        )
    }
}

/// Trace context and baggage beside an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// Span of the sender, from `traceparent`.
    pub span: Option<SpanContext>,
    /// The header `tracestate`; only with a span.
    pub tracestate: Option<HeaderValue>,
    /// The header `baggage`, with or without a span.
    pub baggage: Option<HeaderValue>,
}

impl TraceContext {
    /// Copies the context into memory of its own.
    pub(super) fn owned_copy(&self) -> Self {
        let copied = |value: &Option<HeaderValue>| value.as_ref().map(super::copy_header_value);
        Self {
            span: self.span,
            tracestate: copied(&self.tracestate),
            baggage: copied(&self.baggage),
        }
    }

    /// Decodes the context from headers; `None` if they have none, as most requests.
    #[must_use]
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Arc<Self>> {
        let span = headers
            .get(TRACEPARENT)
            .and_then(|value| SpanContext::parse(value.to_str().ok()?));
        let state = span.and_then(|_| join_fields(headers, &TRACESTATE));
        let baggage = join_fields(headers, &BAGGAGE);
        (span.is_some() || baggage.is_some()).then(|| {
            Arc::new(Self {
                span,
                tracestate: state,
                baggage,
            })
        })
    }

    /// The same context with this span as its sender.
    #[must_use]
    pub(crate) fn with_span(&self, span: SpanContext) -> Self {
        Self {
            span: Some(span),
            ..self.clone()
        }
    }

    /// Writes the context into headers; values that they had before are replaced.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        if let Some(value) = self
            .span
            .and_then(|span| HeaderValue::try_from(span.traceparent()).ok())
        {
            headers.insert(TRACEPARENT, value);
            if let Some(state) = &self.tracestate {
                headers.insert(TRACESTATE, state.clone());
            }
        }
        if let Some(baggage) = &self.baggage {
            headers.insert(BAGGAGE, baggage.clone());
        }
    }

    /// True if a header belongs to the trace context or baggage.
    #[must_use]
    pub(crate) fn is_header(name: &HeaderName) -> bool {
        [TRACEPARENT, TRACESTATE, BAGGAGE].contains(name)
    }
}

/// Value of a list that may be spread over several headers; `None` if there is none, or it is
/// longer than [`LONGEST`].
fn join_fields(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
    let whole = match rest.is_empty() {
        true => first.clone(),
        false => {
            HeaderValue::from_bytes(&[&[first.as_bytes()], &rest[..]].concat().join(&b","[..]))
                .ok()?
        }
    };
    Some(whole).filter(|value| !value.is_empty() && value.len() <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    /// W3C Trace Context §3.2.
    #[test]
    fn traceparents() {
        let span = SpanContext::parse(PARENT).expect("a context");
        assert_eq!(
            (span.trace_id, span.span_id),
            (
                0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
                0x00f0_67aa_0ba9_02b7
            )
        );
        assert!(span.is_sampled());
        assert_eq!(span.traceparent(), PARENT);
        let later = PARENT.replacen("00", "cc", 1) + "-what-comes-next";
        assert_eq!(SpanContext::parse(&later), Some(span));
        for text in [
            "",
            "00",
            "t",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("4bf9", "+bf9"),
            &format!("{PARENT}-more"),
        ] {
            assert_eq!(SpanContext::parse(text), None, "{text}");
        }
    }

    /// Contract OB-14.
    #[test]
    fn what_came_goes_on() {
        let pairs = [
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
            ("baggage", "k=v"),
        ];
        let context = TraceContext::from_headers(&headers(&pairs)).expect("a context");
        let mut written = headers(&[("traceparent", "old")]);
        context.write_headers(&mut written);
        assert_eq!(
            written,
            headers(&[
                ("traceparent", PARENT),
                ("tracestate", "a=1,b=2"),
                ("baggage", "k=v")
            ])
        );
        assert_eq!(
            TraceContext::from_headers(&headers(&[("tracestate", "a=1")])),
            None,
            "a state without a trace means nothing"
        );
        let only = TraceContext::from_headers(&headers(&[("baggage", "k=v")])).expect("baggage");
        assert_eq!((only.span, only.baggage.is_some()), (None, true));
        assert_eq!(
            TraceContext::from_headers(&headers(&[("baggage", &"x".repeat(LONGEST + 1))])),
            None
        );
    }
}
