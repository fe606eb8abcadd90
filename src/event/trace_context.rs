//! The W3C trace context and baggage that travel beside an event, over HTTP and AMQP (contract
//! OB-14). By them, each sender of an event says which trace it belongs to.
//!
//! What came is passed on as it came, and is read by OpenTelemetry's propagator only when a span is
//! begun: while nothing is recorded, nothing is taken apart.

use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Header with trace and span that a message belongs to.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Header with entries of tracing systems for themselves.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Header with entries of senders for those after them.
pub(crate) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Largest size in bytes of `tracestate` or `baggage`; longer ones are not passed on, as W3C
/// allows.
const LONGEST: usize = 8192;
/// Largest size in bytes of a `tracestate` that spans are recorded with: as much as W3C asks to
/// pass on (Trace Context 3.3.1.5).
const LONGEST_RECORDED: usize = 512;

static PROPAGATOR: LazyLock<TraceContextPropagator> = LazyLock::new(TraceContextPropagator::new);

/// The span that a message comes from.
#[derive(Clone, Debug)]
enum ParentSpan {
    /// Another process's, by its `traceparent`.
    Remote(HeaderValue),
    /// One of this process.
    Local(Context),
}

/// Trace context and baggage beside an event.
#[derive(Clone, Debug, Default)]
pub struct TraceContext {
    parent: Option<ParentSpan>,
    /// The header `tracestate`; only with a parent.
    tracestate: Option<HeaderValue>,
    /// The header `baggage`, with or without a parent.
    baggage: Option<HeaderValue>,
}

impl TraceContext {
    /// Copies the context into memory of its own.
    pub(super) fn owned_copy(&self) -> Self {
        let copied = |value: &Option<HeaderValue>| value.as_ref().map(super::copy_header_value);
        let parent = match &self.parent {
            Some(ParentSpan::Remote(field)) => {
                Some(ParentSpan::Remote(super::copy_header_value(field)))
            }
            parent => parent.clone(),
        };
        Self {
            parent,
            tracestate: copied(&self.tracestate),
            baggage: copied(&self.baggage),
        }
    }

    /// Decodes the context from headers; `None` if they have none, as most requests.
    #[must_use]
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Arc<Self>> {
        let parent = headers.get(TRACEPARENT).and_then(valid_traceparent);
        let state = parent
            .as_ref()
            .and_then(|_| join_fields(headers, &TRACESTATE));
        let baggage = join_fields(headers, &BAGGAGE);
        (parent.is_some() || baggage.is_some()).then(|| {
            Arc::new(Self {
                parent: parent.map(ParentSpan::Remote),
                tracestate: state,
                baggage,
            })
        })
    }

    /// Returns OpenTelemetry's context with the parent as its span; `None` if there is no parent.
    #[must_use]
    pub(crate) fn parent(&self) -> Option<Context> {
        match self.parent.as_ref()? {
            ParentSpan::Local(context) => Some(context.clone()),
            ParentSpan::Remote(_) => {
                let context = PROPAGATOR.extract_with_context(&Context::new(), self);
                context.has_active_span().then_some(context)
            }
        }
    }

    /// True if the parent is a span of this process that is not recorded, so that nothing after it
    /// is either.
    #[must_use]
    pub(crate) fn is_left_out(&self) -> bool {
        match &self.parent {
            Some(ParentSpan::Local(context)) => {
                let span = context.span();
                !span.span_context().is_sampled() && !span.span_context().is_remote()
            }
            Some(ParentSpan::Remote(_)) | None => false,
        }
    }

    /// The same context with this span of the process as the parent.
    #[must_use]
    pub(crate) fn with_span(&self, span: SpanContext) -> Self {
        let context = Context::new().with_remote_span_context(span);
        Self {
            parent: Some(ParentSpan::Local(context)),
            ..self.clone()
        }
    }

    /// Returns the header fields of the context: those that came, and the `traceparent` of a span
    /// of this process.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let fields = [
            (TRACEPARENT, self.traceparent()),
            (TRACESTATE, self.tracestate.clone()),
            (BAGGAGE, self.baggage.clone()),
        ];
        let present = fields.into_iter();
        present.filter_map(|(name, value)| Some((name, value?)))
    }

    /// Writes the context into headers; values that they had before are replaced.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in self.fields() {
            headers.insert(name, value);
        }
    }

    /// True if a header belongs to the trace context or baggage.
    #[must_use]
    pub(crate) fn is_header(name: &HeaderName) -> bool {
        [TRACEPARENT, TRACESTATE, BAGGAGE].contains(name)
    }

    fn traceparent(&self) -> Option<HeaderValue> {
        match self.parent.as_ref()? {
            ParentSpan::Remote(field) => Some(field.clone()),
            ParentSpan::Local(context) => {
                let mut field = TraceparentField(None);
                PROPAGATOR.inject_context(context, &mut field);
                field.0
            }
        }
    }
}

impl PartialEq for TraceContext {
    fn eq(&self, other: &Self) -> bool {
        self.fields().eq(other.fields())
    }
}

impl Eq for TraceContext {}

impl Extractor for TraceContext {
    fn get(&self, name: &str) -> Option<&str> {
        match (name, &self.parent) {
            ("traceparent", Some(ParentSpan::Remote(field))) => field.to_str().ok(),
            ("tracestate", _) => {
                let state = self.tracestate.as_ref();
                let short = state.filter(|state| state.len() <= LONGEST_RECORDED);
                short?.to_str().ok()
            }
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Takes the `traceparent` that the propagator writes, and no `tracestate`: the one that came is
/// passed on as it is.
struct TraceparentField(Option<HeaderValue>);

impl Injector for TraceparentField {
    fn set(&mut self, name: &str, value: String) {
        if name == TRACEPARENT.as_str() {
            self.0 = HeaderValue::try_from(value).ok();
        }
    }
}

/// Returns the value without blanks around it if W3C allows it (Trace Context 3.2); the propagator
/// allows more, such as a sign before a number. Of a later version, what version 0 knows must fit.
fn valid_traceparent(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.as_bytes().trim_ascii();
    let (known, rest) = text.split_at_checked("00-".len() + 32 + 1 + 16 + "-00".len())?;
    let mut parts = known.split(|byte| *byte == b'-');
    let mut next = |length: usize| {
        let part = parts.next()?;
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (part.len() == length && part.iter().all(is_hex)).then_some(part)
    };
    let (version, trace, span, _flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
    let is_zero = |id: &[u8]| id.iter().all(|digit| *digit == b'0');
    let rest_fits = match version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    if !rest_fits || is_zero(trace) || is_zero(span) {
        None
    } else if text.len() == value.len() {
        Some(value.clone())
    } else {
        HeaderValue::from_bytes(text).ok()
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

    fn parent_of(traceparent: &str) -> Option<SpanContext> {
        let context = TraceContext::from_headers(&headers(&[("traceparent", traceparent)]))?;
        let parent = context.parent().expect("what is let through is read");
        Some(parent.span().span_context().clone())
    }

    /// W3C Trace Context §3.2.
    #[test]
    fn traceparents() {
        let span = parent_of(PARENT).expect("a context");
        assert_eq!(
            (span.trace_id(), span.span_id()),
            (
                0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736.into(),
                0x00f0_67aa_0ba9_02b7.into()
            )
        );
        assert!(span.is_sampled() && span.is_remote());
        let later = PARENT.replacen("00", "cc", 1) + "-what-comes-next";
        assert_eq!(parent_of(&later), Some(span.clone()));
        assert_eq!(parent_of(&format!(" {PARENT}\t")), Some(span));
        for text in [
            "",
            "00",
            "t",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("4bf9", "+bf9"),
            &PARENT.replace("-01", "-+1"),
            &PARENT.replacen("00-4", "0-04", 1),
            &format!("{PARENT}-more"),
            &format!("{PARENT}-"),
        ] {
            assert_eq!(parent_of(text), None, "{text}");
        }
    }

    /// What a span of this process is called by those that it calls; the state goes with it.
    #[test]
    fn spans_of_this_process_are_parents() {
        let pairs = [("traceparent", PARENT), ("tracestate", "a=1,b=2")];
        let came = TraceContext::from_headers(&headers(&pairs)).expect("a context");
        let context = came.parent().expect("a parent");
        let sender = context.span().span_context().clone();
        assert_eq!(sender.trace_state().header(), "a=1,b=2");
        let span = SpanContext::new(
            sender.trace_id(),
            0xb7ad_6b71_6920_3331.into(),
            sender.trace_flags(),
            false,
            sender.trace_state().clone(),
        );
        let ours = came.with_span(span.clone());
        let parent = ours.parent().expect("a parent");
        assert_eq!(parent.span().span_context(), &span);
        let mut written = headers(&pairs);
        ours.write_headers(&mut written);
        let traceparent = PARENT.replace("00f067aa0ba902b7", "b7ad6b7169203331");
        assert_eq!(
            written,
            headers(&[("traceparent", &traceparent), ("tracestate", "a=1,b=2")])
        );
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
        assert!(only.parent().is_none() && only.baggage.is_some());
        assert_eq!(
            TraceContext::from_headers(&headers(&[("baggage", &"x".repeat(LONGEST + 1))])),
            None
        );
    }
}
