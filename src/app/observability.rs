//! Starts the exporter of traces and metrics, and keeps its settings in step with
//! `config-observability`.

use std::sync::Arc;

use tokio::sync::watch;

use super::process_setup::ProcessSetup;
use super::shared_services::SharedServices;
use super::shutdown::ShutdownStages;
use crate::cli::RunOptions;
use crate::client::CollectorClients;
use crate::control::Resolution;
use crate::telemetry::otlp::{OtlpExporter, OtlpSettings};

/// Decides by each configuration where traces and metrics are sent.
pub(super) struct TelemetryConfigurator {
    options: Arc<RunOptions>,
    settings: watch::Sender<Arc<OtlpSettings>>,
}

impl TelemetryConfigurator {
    /// Starts the exporter. It ends in the last stage, so that the spans of the last deliveries are
    /// sent, too.
    pub(super) fn start(
        setup: &ProcessSetup,
        services: &SharedServices,
        first: &Resolution,
        stages: &mut ShutdownStages,
    ) -> Self {
        let (settings, newest) = watch::channel(Arc::default());
        let observer = Self {
            options: Arc::new(setup.options.clone()),
            settings,
        };
        observer.apply_resolution(first);
        let tls = setup.outgoing_tls.clone();
        let wire = Arc::new(CollectorClients::new(tls.roots, tls.min_version));
        let (tracer, counters) = (services.tracer.clone(), Arc::clone(&services.counters));
        let exporter = OtlpExporter::new(wire, tracer, counters, newest);
        stages
            .answering
            .spawn("telemetry", exporter.run(stages.answering_stop.clone()));
        observer
    }

    /// Applies the settings of a configuration. Settings that cannot be used change nothing.
    pub(super) fn apply_resolution(&self, resolution: &Resolution) {
        match self.options.telemetry_settings(&resolution.observability) {
            Ok(wanted) => {
                self.settings.send_if_modified(|settings| {
                    let differs = **settings != wanted;
                    if differs {
                        *settings = Arc::new(wanted);
                    }
                    differs
                });
            }
            Err(error) => tracing::warn!(error, "Where traces and metrics go stays as it is"),
        }
    }
}
