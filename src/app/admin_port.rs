//! The admin API, at its port and at its socket.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::descriptor_shares::DescriptorShares;
use super::shutdown::ShutdownStages;
use crate::admin::AdminApi;
use crate::server::socket::OwnerSocket;
use crate::server::{self, ListenerLimits};
use crate::telemetry::counters::ProcessCounters;

/// The admin API with its port, and its socket if there is one.
pub(super) struct AdminPort {
    pub(super) api: Arc<AdminApi>,
    pub(super) listener: TcpListener,
    pub(super) socket: Option<OwnerSocket>,
}

impl AdminPort {
    /// Serves the admin API until the last stage.
    pub(super) fn serve(
        self,
        shares: DescriptorShares,
        counters: &ProcessCounters,
        stages: &mut ShutdownStages,
    ) -> anyhow::Result<()> {
        let (api, listener, socket) = (self.api, self.listener, self.socket);
        let limits = ListenerLimits {
            max_connections: shares.operators,
            metrics: Arc::clone(&counters.series.admin_connections),
            ..ListenerLimits::default()
        };
        let stop = stages.answering_stop.clone();
        let handler = Arc::new(api.handler_for_port(listener.local_addr()?));
        let port = server::serve(listener, None, limits.clone(), handler, stop.clone());
        stages.answering.spawn("admin", port);
        if let Some(socket) = socket {
            let handler = Arc::new(api.handler_for_socket());
            let socket = socket.serve(limits, handler, stop.clone());
            stages.answering.spawn("admin socket", socket);
        }
        stages.answering.spawn("operators", async move {
            stop.cancelled().await;
            api.end_operations().await;
        });
        Ok(())
    }
}
