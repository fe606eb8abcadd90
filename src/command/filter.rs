//! `sealpost filter test`: says whether an event passes the filter of each Trigger, and if not,
//! why.

use std::io::Read;
use std::process::ExitCode;

use anyhow::Context;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};

use crate::cli::FilterTestOptions;
use crate::control::{self, AdvertisedCaCerts, Problem};
use crate::event::{AttributeLimit, Event, http as binding};
use crate::filter::Filter;
use crate::filter::explain::explain;

/// Prints the problems of the filters, then a line for each Trigger.
///
/// # Errors
/// Fails if the event cannot be read.
pub fn test(options: &FilterTestOptions) -> anyhow::Result<ExitCode> {
    let event = read_event(options)?;
    let manifests = control::read_manifests(&options.manifests.filename);
    let settings = options
        .manifests
        .control_settings(None, None, AdvertisedCaCerts::Unknown);
    let (filters, problems) = control::trigger_filters(&manifests, &settings);
    let mut text: String = problems
        .iter()
        .map(|problem| super::printable(&problem.to_string()) + "\n")
        .collect();
    for (trigger, filter) in &filters {
        let verdict = verdict(filter.as_ref(), &event);
        text.push_str(&format!(
            "{}: {verdict}\n",
            super::printable(&trigger.to_string())
        ));
    }
    super::print(&text)?;
    Ok(if problems.iter().any(Problem::is_error) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn verdict(filter: Option<&Filter>, event: &Event) -> String {
    match filter.map(|filter| explain(filter, event)) {
        None => "gets nothing: its filter is not understood".to_owned(),
        Some(None) => "passes".to_owned(),
        Some(Some(why)) => format!("does not pass: {}", super::printable(&why)),
    }
}

/// The largest event that is read, in bytes: a dispatcher accepts no larger ones by default.
const MAX_EVENT: u64 = 10 * 1024 * 1024;

fn read_stdin() -> std::io::Result<Vec<u8>> {
    let mut json = Vec::new();
    std::io::stdin().take(MAX_EVENT).read_to_end(&mut json)?;
    Ok(json)
}

fn read_event(options: &FilterTestOptions) -> anyhow::Result<Event> {
    let place = || format!("--event {}", options.event.display());
    let json = if options.event.as_os_str() == "-" {
        read_stdin()
    } else {
        std::fs::read(&options.event)
    };
    let json = json.with_context(place)?;
    let headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(binding::STRUCTURED))]);
    let events = binding::decode(headers, Bytes::from(json), AttributeLimit::default())
        .with_context(place)?;
    events.into_iter().next().with_context(place)
}
