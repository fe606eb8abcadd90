//! Starts what sends traces and numbers, and has it follow `config-observability`.

use std::sync::Arc;

use tokio::sync::watch;

use super::shutdown::Stage;
use crate::cli::RunOptions;
use crate::client::Collectors;
use crate::control::Resolution;
use crate::telemetry::counters::Counters;
use crate::telemetry::otlp::{Exporter, Settings};
use crate::telemetry::trace::Tracer;
use crate::tls::{MinVersion, SystemRoots};

/// Decides where traces and numbers go, as configurations come.
pub(super) struct Observer {
    options: Arc<RunOptions>,
    settings: watch::Sender<Arc<Settings>>,
}

impl Observer {
    /// Starts the exporter. It ends at the very end, so that the last deliveries are told of, too.
    pub(super) fn start(
        options: &RunOptions,
        (tracer, counters): (Tracer, &Arc<Counters>),
        (roots, min_version): (SystemRoots, MinVersion),
        first: &Resolution,
        stages: &mut Stage,
    ) -> Self {
        let (settings, newest) = watch::channel(Arc::default());
        let observer = Self { options: Arc::new(options.clone()), settings };
        observer.follow(first);
        let wire = Arc::new(Collectors::new(roots, min_version));
        let exporter = Exporter::new(wire, tracer, Arc::clone(counters), newest);
        stages.answering.spawn("telemetry", exporter.run(stages.answering_stop.clone()));
        observer
    }

    /// Uses what a configuration says. What cannot be used changes nothing.
    pub(super) fn follow(&self, resolution: &Resolution) {
        match self.options.telemetry(&resolution.observability) {
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
