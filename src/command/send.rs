//! `sealpost send`: sends CloudEvents and reports the responses.

mod event_lines;
mod report;

use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::cli::SendOptions;
use crate::event::{Event, http as binding};
use crate::model::{DeliveryFormat, TrustBundle};
use crate::tls::{self, MinTlsVersion, SystemRoots};
use event_lines::EventLines;
use report::{SendOutcome, SendReport};

/// The time limit of one response: as long as a synchronous channel's deliveries may take.
const TIMEOUT: Duration = Duration::from_secs(900);
/// The largest part of a response's text that is read, in bytes.
const MAX_TEXT: usize = 4096;

/// Sends the events; the exit code is that of a failure if one was not accepted.
///
/// # Errors
/// Fails if there is nothing to send, or the client cannot be built.
pub async fn run(options: SendOptions) -> anyhow::Result<ExitCode> {
    let template = event_template(&options)?;
    let mut events = match &options.events {
        Some(path) => EventsToSend::Lines(EventLines::open(path, template).await?),
        None => EventsToSend::Copies {
            template,
            id: options.id.clone(),
            number: 0,
            count: options.count,
        },
    };
    let sender = Arc::new(EventSender {
        client: build_client(&options)?,
        headers: request_headers(&options)?,
        options,
    });
    let mut report = SendReport::new(events.count());
    let sent = tokio::select! {
        sent = send_all(&sender, &mut events, &mut report) => sent,
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into),
    };
    report.finish()?;
    sent?;
    Ok(if report.all_accepted() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The events that are sent, one after the other.
enum EventsToSend {
    /// The same event so many times, each with an id of its own.
    Copies {
        template: Event,
        id: Option<String>,
        number: u64,
        count: u64,
    },
    /// Those of a file or of standard input.
    Lines(EventLines),
}

impl EventsToSend {
    /// The number of events; `None` if it is not known.
    fn count(&self) -> Option<u64> {
        match self {
            Self::Copies { count, .. } => Some(*count),
            Self::Lines(_) => None,
        }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        let (template, id, number, count) = match self {
            Self::Lines(lines) => return lines.next().await,
            Self::Copies {
                template,
                id,
                number,
                count,
            } => (template, id, number, *count),
        };
        if *number >= count {
            return Ok(None);
        }
        *number += 1;
        let mut event = template.clone();
        let id = match id {
            Some(id) if count > 1 => format!("{id}-{number}"),
            Some(id) => id.clone(),
            None => Uuid::new_v4().to_string(),
        };
        event.set("id", &id);
        Ok(Some(event))
    }
}

struct EventSender {
    client: reqwest::Client,
    /// The header fields of each request besides those of its event.
    headers: HeaderMap,
    options: SendOptions,
}

/// Sends the events as fast as the rate and the number of parallel requests allow. A line that is
/// no event is an error when all events before it have been answered.
async fn send_all(
    sender: &Arc<EventSender>,
    events: &mut EventsToSend,
    report: &mut SendReport,
) -> anyhow::Result<()> {
    let slots = Arc::new(Semaphore::new(sender.options.parallel.into()));
    let started = Instant::now();
    let mut sending: JoinSet<SendOutcome> = JoinSet::new();
    let mut read = Ok(());
    for number in 0_u64.. {
        let event = match events.next().await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            Err(error) => {
                read = Err(error);
                break;
            }
        };
        // The time of each event is computed from the start, so that slow responses do not lower
        // the rate.
        if let Some(rate) = sender.options.rate {
            tokio::time::sleep_until(started + Duration::from_secs_f64(number as f64 / rate)).await;
        }
        // A slot is taken before the request starts, and is given back with its response.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return Ok(());
        };
        // Responses are reported as they come; the rest is awaited at the end.
        while let Some(Ok(answer)) = sending.try_join_next() {
            report.add(&answer)?;
        }
        let sender = Arc::clone(sender);
        sending.spawn(async move {
            let answer = sender.send(&event).await;
            drop(slot);
            answer
        });
    }
    while let Some(Ok(answer)) = sending.join_next().await {
        report.add(&answer)?;
    }
    read.with_context(|| report.stopped())
}

impl EventSender {
    async fn send(&self, event: &Event) -> SendOutcome {
        let id = event.id().into_owned();
        let (mut headers, body) = match self.options.mode {
            DeliveryFormat::Binary => (binding::binary_headers(event), event.data().clone()),
            DeliveryFormat::Json => binding::encode_structured(event),
        };
        headers.extend(self.headers.clone());
        let started = Instant::now();
        let sent = self
            .client
            .post(self.options.url.clone())
            .headers(headers)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => SendOutcome::from_response(id, response, started, MAX_TEXT).await,
            Err(error) => SendOutcome::failed(id, &error, started),
        }
    }
}

/// The header fields of each request that flags ask for.
fn request_headers(options: &SendOptions) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &options.headers {
        headers.append(name.clone(), value.clone());
    }
    if let Some(token) = &options.bearer {
        let token = match token.strip_prefix('@') {
            Some(path) => {
                std::fs::read_to_string(path).with_context(|| format!("--bearer @{path}"))?
            }
            None => token.clone(),
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .context("--bearer: it is no token")?;
        header.set_sensitive(true);
        headers.insert(AUTHORIZATION, header);
    }
    Ok(headers)
}

fn build_client(options: &SendOptions) -> anyhow::Result<reqwest::Client> {
    let trust = trust_bundle(options)?;
    let config = tls::client_config(&trust, &SystemRoots::load(), MinTlsVersion::Tls12)?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("sealpost/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT);
    let there = options
        .resolve
        .iter()
        .find(|known| known.matches(&options.url));
    if let (Some(there), Some(host)) = (there, options.url.host_str()) {
        builder = builder.resolve(host, there.connect_to);
    }
    Ok(builder.build()?)
}

/// The certificates that are trusted besides the roots of the system.
fn trust_bundle(options: &SendOptions) -> anyhow::Result<TrustBundle> {
    let Some(path) = &options.ca else {
        return Ok(TrustBundle::default());
    };
    let pem = std::fs::read_to_string(path).with_context(|| format!("--ca {}", path.display()))?;
    TrustBundle::from_pem(&pem).map_err(|error| anyhow::anyhow!("--ca {} {error}", path.display()))
}

/// The event that is sent, without its id.
fn event_template(options: &SendOptions) -> anyhow::Result<Event> {
    let mut event = Event::new("", &options.source, &options.ty);
    if let Some(subject) = &options.subject {
        event.set("subject", subject);
    }
    for (name, value) in &options.ext {
        event.set(name, value);
    }
    let Some(data) = read_data(options)? else {
        return Ok(event);
    };
    let content_type = options
        .content_type
        .as_deref()
        .unwrap_or_else(|| guess_content_type(&data));
    let Ok(content_type) = HeaderValue::from_str(content_type) else {
        bail!("--content-type {content_type:?} is not a media type")
    };
    Ok(event.with_data(content_type, data))
}

fn read_data(options: &SendOptions) -> anyhow::Result<Option<Bytes>> {
    let Some(text) = &options.data else {
        return Ok(None);
    };
    let data = match text.strip_prefix('@') {
        None => text.clone().into_bytes(),
        Some("-") => {
            let mut data = Vec::new();
            std::io::stdin()
                .read_to_end(&mut data)
                .context("--data @-")?;
            data
        }
        Some(path) => std::fs::read(path).with_context(|| format!("--data @{path}"))?,
    };
    Ok(Some(Bytes::from(data)))
}

fn guess_content_type(data: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(data).is_ok() {
        "application/json"
    } else if std::str::from_utf8(data).is_ok() {
        "text/plain"
    } else {
        "application/octet-stream"
    }
}
