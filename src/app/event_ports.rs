//! The two ports that events come in by: http and https, with one handler.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::descriptor_shares::DescriptorShares;
use super::shutdown::ShutdownStages;
use crate::cli::RunOptions;
use crate::ingress::event_port::EventPortHandler;
use crate::ingress::request_metrics::ServedRequests;
use crate::server::{self, ListenerLimits, RequestHandler};
use crate::supervisor::Readiness;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::series::ConnectionMetrics;
use crate::telemetry::tracer::Tracer;

/// The two event ports, and what their handler needs.
pub(super) struct EventPorts {
    pub(super) http: TcpListener,
    pub(super) https: TcpListener,
    pub(super) tls: Arc<rustls::ServerConfig>,
    pub(super) limits: ListenerLimits,
    pub(super) gate: (Readiness, ServedRequests),
    pub(super) counters: Arc<ProcessCounters>,
    pub(super) tracer: Tracer,
}

impl EventPorts {
    /// Serves both ports by one handler, until the stop.
    pub(super) fn serve(self, handler: impl RequestHandler, stages: &mut ShutdownStages) {
        let (readiness, served) = self.gate;
        let handler = Arc::new(EventPortHandler {
            handler,
            readiness,
            served,
            counters: Arc::clone(&self.counters),
            tracer: self.tracer,
        });
        let stop = stages.stop_accepting.clone();
        let counted = |traffic: &Arc<ConnectionMetrics>| ListenerLimits {
            metrics: Arc::clone(traffic),
            ..self.limits.clone()
        };
        let (plain, secure) = (
            counted(&self.counters.series.http_connections),
            counted(&self.counters.series.https_connections),
        );
        let http = server::serve(self.http, None, plain, Arc::clone(&handler), stop.clone());
        stages.accepting.spawn("http listener", http);
        let https = server::serve(self.https, Some(self.tls), secure, handler, stop);
        stages.accepting.spawn("https listener", https);
    }
}

pub(super) fn listener_limits(options: &RunOptions, shares: DescriptorShares) -> ListenerLimits {
    ListenerLimits {
        max_connections: shares.senders,
        max_header_bytes: options.limits.max_header_bytes,
        header_read_timeout: options.limits.header_read_timeout,
        idle_timeout: options.limits.idle_timeout,
        ..ListenerLimits::default()
    }
}
