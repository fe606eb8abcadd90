//! The variables that tell a command the sink of its events, as Knative's SinkBinding tells a
//! container: for `exec` and `env`.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use url::Url;

use crate::cli::SinkOptions;
use crate::control::{
    self, AdvertisedCaCerts, ControlSettings, ControlTask, ListenerUrls, ResolvedSink,
};

/// The variables, each with its value; one without a value is not set.
pub(super) type SinkVariables = [(&'static str, Option<String>); 3];

/// Resolves the sink, and prints remarks about it.
///
/// # Errors
/// Fails if the sink has no address, with the remedy.
pub(super) fn sink_variables(options: &SinkOptions) -> anyhow::Result<SinkVariables> {
    let ResolvedSink {
        url,
        ca_certs,
        remarks,
    } = find_sink(options)?;
    for remark in remarks {
        super::print_remark(&super::printable(&format!(
            "sealpost: --sink: warning: {remark}"
        )));
    }
    Ok([
        ("K_SINK", Some(url)),
        ("K_CA_CERTS", ca_certs),
        (
            "K_CE_OVERRIDES",
            Some(cloud_event_overrides(&options.ce_override)),
        ),
    ])
}

fn find_sink(options: &SinkOptions) -> anyhow::Result<ResolvedSink> {
    let settings = control_settings(options)?;
    let manifests = control::read_manifests(&options.manifests.filename);
    let sink = match control::resolve_sink(&manifests, &options.sink, &settings) {
        Ok(sink) => sink,
        Err(why) => bail!(
            "--sink: {}{}",
            why.join("; "),
            missing_manifests_hint(options)
        ),
    };
    // A URL of this program's own listener is of no use to the command without the CA.
    let is_ours = settings
        .listener_urls
        .as_ref()
        .is_some_and(|urls| sink.url.starts_with(urls.https.as_str()));
    if is_ours && sink.ca_certs.is_none() && settings.ca_certs == AdvertisedCaCerts::Unknown {
        let directory = options.state_dir.display();
        bail!(
            "--sink: {directory} has no ca.crt: start `sealpost run` first, or say by \
             --state-dir where its CA is"
        );
    }
    Ok(sink)
}

/// The settings by which `run` resolves the same manifests.
fn control_settings(options: &SinkOptions) -> anyhow::Result<ControlSettings> {
    // The CA is that of the flags, else the one that `run` has made in its state directory.
    let ca_certs = match super::check::ca_certs(&options.served).map_err(anyhow::Error::msg)? {
        AdvertisedCaCerts::Unknown => development_ca(&options.state_dir)?,
        given => given,
    };
    let urls = Some(listener_urls(options)?);
    let settings =
        options
            .served
            .control_settings(&options.manifests, &options.rabbitmq, urls, ca_certs);
    // The sink is resolved for a program outside of the process, whatever the role of that is.
    Ok(ControlSettings {
        task: ControlTask::ServeManifests,
        ..settings
    })
}

/// A hint that manifests are missing, if none were read.
fn missing_manifests_hint(options: &SinkOptions) -> &'static str {
    if options.manifests.filename.is_empty() {
        "; give the manifests of `sealpost run` by -f PATH"
    } else {
        ""
    }
}

/// The development CA that `run` has made; unknown if there is none.
fn development_ca(state_dir: &Path) -> anyhow::Result<AdvertisedCaCerts> {
    let path = state_dir.join("ca.crt");
    match fs::read_to_string(&path) {
        Ok(pem) => Ok(AdvertisedCaCerts::Development(pem)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(AdvertisedCaCerts::Unknown)
        }
        Err(error) => Err(error).with_context(|| format!("--state-dir: {}", path.display())),
    }
}

/// The URLs of the listeners of `run`, by flags or by its ports file.
fn listener_urls(options: &SinkOptions) -> anyhow::Result<ListenerUrls> {
    let (mut http, mut https) = (options.http_addr.clone(), options.https_addr.clone());
    if let Some(path) = &options.ports_file {
        let place = || format!("--ports-file {}", path.display());
        let ports: Value =
            serde_json::from_slice(&fs::read(path).with_context(place)?).with_context(place)?;
        for (name, address) in [("http", &mut http), ("https", &mut https)] {
            let written = ports.get(name).and_then(Value::as_str);
            *address = written
                .with_context(|| format!("{}: has no {name}", place()))?
                .to_owned();
        }
    }
    Ok(ListenerUrls {
        http: listener_url("http", &http)?,
        https: listener_url("https", &https)?,
    })
}

/// The URL of a listener; one on every address is reached as localhost.
fn listener_url(scheme: &str, address: &str) -> anyhow::Result<Url> {
    let (host, port) = address
        .rsplit_once(':')
        .with_context(|| format!("{address} is no HOST:PORT"))?;
    if port == "0" {
        bail!(
            "{scheme}: run has taken any free port: say which by the --ports-file that it \
             has written"
        );
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_every = bare
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    let host = if is_every { "localhost" } else { host };
    Url::parse(&format!("{scheme}://{host}:{port}"))
        .with_context(|| format!("{address} is no HOST:PORT"))
}

/// The overrides as Go writes `CloudEventOverrides` of a SinkBinding; empty if there are none.
fn cloud_event_overrides(extensions: &[(String, String)]) -> String {
    if extensions.is_empty() {
        return String::new();
    }
    let extensions: BTreeMap<&str, &str> = extensions
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    json!({ "extensions": extensions }).to_string()
}
