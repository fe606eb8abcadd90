//! The scope of a span: what is logged in it carries the ids of the span.

use std::pin::Pin;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt, SpanContext, TraceContextExt};

use crate::event::TraceContext;

/// The scope of a span, in which log lines carry its ids; none if the span is not recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanScope(Option<Context>);

impl SpanScope {
    pub(super) fn of(trace: Option<&Arc<TraceContext>>) -> Self {
        let span = trace.and_then(|trace| trace.parent());
        Self(span.filter(|span| span.span().span_context().is_sampled()))
    }

    /// Runs a future within the scope. It is pinned by the caller, so that it is not moved and not
    /// held twice.
    pub(crate) async fn run<F: Future>(self, future: Pin<&mut F>) -> F::Output {
        match self.0 {
            None => future.await,
            Some(context) => future.with_context(context).await,
        }
    }
}

/// Returns the span in whose scope the caller runs.
pub(in crate::telemetry) fn current_span() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_sampled().then(|| span.clone())
    })
}
