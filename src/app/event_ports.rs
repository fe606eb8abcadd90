//! The two ports that events come in by: http and https, with one handler.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::descriptor_shares::DescriptorShares;
use super::process_setup::ProcessSetup;
use super::shutdown::ShutdownStages;
use crate::cli::RunOptions;
use crate::ingress::event_port::EventPortHandler;
use crate::server::{self, ListenerLimits, RequestHandler};
use crate::telemetry::series::ConnectionMetrics;

/// The two event ports, bound and not served yet.
pub(super) struct EventPorts {
    http: TcpListener,
    https: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    limits: ListenerLimits,
}

impl EventPorts {
    pub(super) fn new(
        setup: &ProcessSetup,
        http: TcpListener,
        https: TcpListener,
    ) -> anyhow::Result<Self> {
        let identity = setup.certificates.identity();
        Ok(Self {
            http,
            https,
            tls: identity.server_config(setup.outgoing_tls.min_version)?,
            limits: listener_limits(&setup.options, setup.descriptor_shares),
        })
    }

    /// Serves both ports by one handler, until the stop.
    pub(super) fn serve<H: RequestHandler>(
        self,
        handler: EventPortHandler<H>,
        stages: &mut ShutdownStages,
    ) {
        let handler = Arc::new(handler);
        let stop = stages.stop_accepting.clone();
        let counted = |traffic: &Arc<ConnectionMetrics>| ListenerLimits {
            metrics: Arc::clone(traffic),
            ..self.limits.clone()
        };
        let series = &handler.counters.series;
        let (plain, secure) = (
            counted(&series.http_connections),
            counted(&series.https_connections),
        );
        let http = server::serve(self.http, None, plain, Arc::clone(&handler), stop.clone());
        stages.accepting.spawn("http listener", http);
        let https = server::serve(self.https, Some(self.tls), secure, handler, stop);
        stages.accepting.spawn("https listener", https);
    }
}

fn listener_limits(options: &RunOptions, shares: DescriptorShares) -> ListenerLimits {
    ListenerLimits {
        max_connections: shares.senders,
        max_header_bytes: options.limits.max_header_bytes,
        header_read_timeout: options.limits.header_read_timeout,
        idle_timeout: options.limits.idle_timeout,
        ..ListenerLimits::default()
    }
}
