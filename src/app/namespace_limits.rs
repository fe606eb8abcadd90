//! Keeps the limits of namespaces in step with the file of `--namespace-limits`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::budget::{MemoryBudget, NamespaceLimitSet};
use crate::cli::RunOptions;
use crate::control::{self, Problem};
use crate::telemetry::audit;
use crate::telemetry::counters::ProcessCounters;

/// Interval at which the file is read.
const PERIOD: Duration = Duration::from_secs(1);

/// The file of limits, and what it said when it was read last.
#[derive(Clone, Debug)]
pub(super) struct NamespaceLimitFile {
    path: PathBuf,
    text: String,
    limits: NamespaceLimitSet,
}

impl NamespaceLimitFile {
    /// Reads the file that the options name; `None` if they name none. A mistake at the start ends
    /// it; later, the limits before it stay.
    pub(super) fn load(options: &RunOptions) -> anyhow::Result<Option<Self>> {
        let Some(path) = &options.served.namespace_limits else {
            return Ok(None);
        };
        let file = path.display().to_string();
        let text = control::read_limits_text(path)
            .map_err(|error| anyhow::anyhow!("--namespace-limits {file}: {error}"))?;
        let limits = control::parse_namespace_limits(&file, &text).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(Problem::to_string).collect();
            anyhow::anyhow!("--namespace-limits {}", problems.join("; "))
        })?;
        tracing::info!(file, namespaces = limits.len(), "Limits of namespaces read");
        Ok(Some(Self {
            path: path.clone(),
            text,
            limits,
        }))
    }

    /// Makes the budget of the process, within which namespaces have these limits.
    pub(super) fn budget(&self, bytes: usize) -> Arc<MemoryBudget> {
        MemoryBudget::with_namespaces(bytes, self.limits.clone())
    }

    /// Follows the file until the stop.
    pub(super) async fn run(
        mut self,
        budget: Arc<MemoryBudget>,
        counters: Arc<ProcessCounters>,
        stop: CancellationToken,
    ) {
        let mut is_readable = true;
        while stop
            .run_until_cancelled(tokio::time::sleep(PERIOD))
            .await
            .is_some()
        {
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || control::read_limits_text(&path)).await;
            match read {
                Ok(Ok(text)) if is_readable && text == self.text => {}
                Ok(Ok(text)) => {
                    is_readable = true;
                    let errors = self.apply(text, &budget);
                    counters.update_configuration(|facts| facts.limit_errors = errors);
                }
                // Told once, since it is looked at every second.
                Ok(Err(error)) if is_readable => {
                    is_readable = false;
                    tracing::error!(
                        file = %self.path.display(),
                        %error,
                        "Limits of namespaces cannot be read, those before stay"
                    );
                    counters.update_configuration(|facts| facts.limit_errors = 1);
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// Applies what the file says now; gives the number of its mistakes, with which nothing is
    /// applied.
    fn apply(&mut self, text: String, budget: &MemoryBudget) -> usize {
        let file = self.path.display().to_string();
        let parsed = control::parse_namespace_limits(&file, &text);
        self.text = text;
        match parsed {
            Ok(limits) => {
                if limits != self.limits {
                    tracing::info!(
                        file,
                        namespaces = limits.len(),
                        "Limits of namespaces applied"
                    );
                    budget.set_namespace_limits(limits.clone());
                    self.limits = limits;
                    audit::record_file("namespace limits", &self.path, "applied");
                }
                0
            }
            Err(problems) => {
                audit::record_file("namespace limits", &self.path, "refused, has errors");
                for problem in &problems {
                    tracing::error!(
                        %problem,
                        "Limits of namespaces have an error, those before stay"
                    );
                }
                problems.len()
            }
        }
    }
}
