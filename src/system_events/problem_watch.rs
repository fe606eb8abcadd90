//! Errors of the configuration: an object, or a file, that is not applied.

use std::collections::HashSet;

use super::system_event::{SystemEvent, SystemEventType};
use crate::control::{Problem, Resolution};

/// Number of errors of one configuration that are told one by one.
const MOST_TOLD: usize = 50;

/// News of the configuration.
#[derive(Debug)]
pub(super) struct ProblemNews {
    problems: Vec<Problem>,
    event: SystemEvent,
}

impl ProblemNews {
    pub(super) fn event(&self) -> &SystemEvent {
        &self.event
    }
}

/// The errors that were told, and are there still.
#[derive(Debug, Default)]
pub(super) struct ProblemWatch(HashSet<Problem>);

impl ProblemWatch {
    /// The errors that are there and have not been told.
    pub(super) fn news(&mut self, resolution: &Resolution) -> Vec<ProblemNews> {
        let errors = || resolution.problems.iter().filter(|one| one.is_error());
        self.0 = errors()
            .filter(|problem| self.0.contains(problem))
            .cloned()
            .collect();
        let new: Vec<&Problem> = errors()
            .filter(|problem| !self.0.contains(problem))
            .collect();
        let (told, rest) = new.split_at(new.len().min(MOST_TOLD));
        let mut news: Vec<_> = told
            .iter()
            .map(|problem| ProblemNews {
                event: refused(problem),
                problems: vec![(*problem).clone()],
            })
            .collect();
        if !rest.is_empty() {
            let message = "more objects or files are not applied: see sealpost check and the log";
            news.push(ProblemNews {
                event: SystemEvent::new(SystemEventType::ConfigurationRefused, String::new())
                    .with("count", rest.len())
                    .with("message", message),
                problems: rest.iter().map(|problem| (*problem).clone()).collect(),
            });
        }
        news
    }

    /// Notes that news have been told.
    pub(super) fn set_told(&mut self, news: ProblemNews) {
        self.0.extend(news.problems);
    }
}

fn refused(problem: &Problem) -> SystemEvent {
    let event_type = SystemEventType::ConfigurationRefused;
    let mut event = match &problem.object {
        Some(object) => {
            let kind = object.kind.to_ascii_lowercase();
            let subject = format!("{kind}/{}/{}", object.namespace, object.name);
            SystemEvent::new(event_type, subject)
                .with("kind", kind)
                .with("namespace", &*object.namespace)
                .with("name", &*object.name)
        }
        None => SystemEvent::new(event_type, String::new()),
    };
    if let Some(file) = &problem.file {
        event = event.with("file", &**file);
    }
    if let Some(line) = problem.line {
        event = event.with("line", line);
    }
    if !problem.field.is_empty() {
        event = event.with("field", &*problem.field);
    }
    event.with("message", &*problem.message)
}
