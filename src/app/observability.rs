//! Starts the exporter of traces and metrics, and keeps its settings in step with
//! `config-observability`.

use std::sync::Arc;

use tokio::sync::watch;

use super::shutdown::ShutdownStages;
use crate::cli::RunOptions;
use crate::client::CollectorClients;
use crate::control::Resolution;
use crate::telemetry::counters::ProcessCounters;
use crate::telemetry::otlp::{OtlpExporter, OtlpSettings};
use crate::telemetry::tracer::Tracer;
use crate::tls::{MinTlsVersion, SystemRoots};

/// Decides by each configuration where traces and metrics are sent.
pub(super) struct TelemetryConfigurator {
    options: Arc<RunOptions>,
    settings: watch::Sender<Arc<OtlpSettings>>,
}

impl TelemetryConfigurator {
    /// Starts the exporter. It ends in the last stage, so that the spans of the last deliveries are
    /// sent, too.
    pub(super) fn start(
        options: &RunOptions,
        (tracer, counters): (Tracer, &Arc<ProcessCounters>),
        (roots, min_version): (SystemRoots, MinTlsVersion),
        first: &Resolution,
        stages: &mut ShutdownStages,
    ) -> Self {
        let (settings, newest) = watch::channel(Arc::default());
        let observer = Self {
            options: Arc::new(options.clone()),
            settings,
        };
        observer.apply_resolution(first);
        let wire = Arc::new(CollectorClients::new(roots, min_version));
        let exporter = OtlpExporter::new(wire, tracer, Arc::clone(counters), newest);
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
