//! Destinations as they are written become addresses: references, URIs, own channels, services (control-plane.md 5.2).

use std::net::SocketAddr;
use std::sync::Arc;

use url::Url;

use super::index::Index;
use super::{Broken, CHANNEL_KINDS, Findings, Resolver, spec};
use crate::control::manifest;
use crate::control::read::Raw;
use crate::model::{Addressable, ChannelKey, ChannelKind, Target, TrustBundle};

/// Says where a Service really is: one URL, or one for each scheme, separated by commas (interface.md §2).
const ENDPOINT: &str = "sealpost.dev/endpoint";
/// Images whose name ends so are served by the built-in display.
const EVENT_DISPLAY: &str = "/event_display";
/// The host of a channel in a cluster is its name with this.
pub(super) const CHANNEL_HOST_SUFFIX: &str = "-kn-channel";

/// A text and the field that it stands in.
#[derive(Clone, Copy)]
pub(super) struct At<'a, T> {
    pub(super) text: T,
    pub(super) field: &'a str,
}

/// A reference that has been followed.
struct Referenced {
    url: Url,
    target: Option<Target>,
}

impl Resolver<'_> {
    /// The address that a destination at `field` means.
    pub(super) fn destination(
        &mut self,
        written: &manifest::Destination,
        field: &str,
        findings: &mut Findings<'_>,
    ) -> Result<Addressable, Broken> {
        let referenced = match &written.reference {
            Some(reference) => Some(self.follow(reference, written, field, findings)?),
            None => None,
        };
        let (url, target) = match (referenced, written.uri.as_deref()) {
            (Some(Referenced { url, target }), None) => (url, target),
            (Some(Referenced { url, target }), Some(uri)) => {
                let joined = url.join(uri).map_err(|error| {
                    findings.error(&format!("{field}.uri"), format!("{uri:?} is not a URI: {error}"))
                })?;
                if matches!(target, Some(Target::Local(_))) {
                    findings.warning(
                        &format!("{field}.uri"),
                        "means nothing beside a reference to a channel or broker, and is ignored",
                    );
                    (url, target)
                } else {
                    (joined, target)
                }
            }
            (None, Some(uri)) => (absolute(uri, &format!("{field}.uri"), findings)?, None),
            (None, None) => return Err(findings.error(field, "names nobody: write ref or uri")),
        };
        let target = target.unwrap_or_else(|| self.target(&url));
        let ca_certs = At { text: written.ca_certs.as_deref(), field: &format!("{field}.CACerts") };
        let trust = self.trust_of(&url, &target, ca_certs, findings);
        Ok(Addressable { url, target, trust, audience: written.audience.clone() })
    }

    /// The address of an entry of a channel's own subscribers, which is a URI already.
    pub(super) fn resolved_destination(
        &mut self,
        uri: At<'_, &str>,
        ca_certs: At<'_, Option<&str>>,
        audience: Option<&String>,
        findings: &mut Findings<'_>,
    ) -> Result<Addressable, Broken> {
        let url = absolute(uri.text, uri.field, findings)?;
        let target = self.target(&url);
        let trust = self.trust_of(&url, &target, ca_certs, findings);
        Ok(Addressable { url, target, trust, audience: audience.cloned() })
    }

    fn trust_of(
        &mut self,
        url: &Url,
        target: &Target,
        ca_certs: At<'_, Option<&str>>,
        findings: &mut Findings<'_>,
    ) -> Arc<TrustBundle> {
        let At { text: ca_certs, field } = ca_certs;
        let trust = self.trust.of(ca_certs, field, findings);
        let encrypted = url.scheme() == "https" && matches!(target, Target::Remote { .. });
        if ca_certs.is_some() && !encrypted && matches!(target, Target::Remote { .. }) {
            findings.warning(field, format!("is not used, since {url} is not https: write an https URL"));
        }
        if encrypted { trust } else { self.trust.none() }
    }

    fn follow(
        &mut self,
        reference: &manifest::Reference,
        written: &manifest::Destination,
        field: &str,
        findings: &mut Findings<'_>,
    ) -> Result<Referenced, Broken> {
        let namespace = reference.namespace.as_deref().unwrap_or(&findings.raw.name.namespace).to_owned();
        let kind = reference.kind.as_deref().unwrap_or_default();
        let field = format!("{field}.ref");
        if reference.name.is_empty() {
            return Err(findings.error(&format!("{field}.name"), "is missing"));
        }
        let key = |kind| ChannelKey { kind, namespace: namespace.clone(), name: reference.name.clone() };
        match kind {
            "Service" if matches!(reference.api_version.as_deref(), None | Some("v1")) => {
                let scheme = if written.ca_certs.is_some() { "https" } else { "http" };
                self.follow_service((&namespace, &reference.name), scheme, &field, findings)
            }
            "Broker" => self.follow_channel(key(ChannelKind::Broker), kind, &field, findings),
            kind if CHANNEL_KINDS.contains(&kind) => {
                self.follow_channel(key(ChannelKind::Channel), kind, &field, findings)
            }
            kind => {
                let message = format!(
                    "{kind:?} of {:?} cannot be referred to: use a v1 Service, a channel, a Broker, or uri",
                    reference.api_version.as_deref().unwrap_or("no apiVersion")
                );
                Err(findings.error(&format!("{field}.kind"), message))
            }
        }
    }

    fn follow_channel(
        &self,
        key: ChannelKey,
        kind: &str,
        field: &str,
        findings: &mut Findings<'_>,
    ) -> Result<Referenced, Broken> {
        if self.index.channel(&key).is_none() {
            let message =
                format!("there is no {kind} {}/{}: add it, or correct the name or namespace", key.namespace, key.name);
            return Err(findings.error(field, message));
        }
        Ok(Referenced { url: self.addresses.preferred(&key), target: Some(Target::Local(key)) })
    }

    /// A Service: its annotation says where it is, or it is a display, or a host name of the cluster (interface.md §2).
    fn follow_service(
        &self,
        (namespace, name): (&str, &str),
        scheme: &str,
        field: &str,
        findings: &mut Findings<'_>,
    ) -> Result<Referenced, Broken> {
        let text = format!("{scheme}://{name}.{namespace}.svc.{}", self.settings.cluster_domain);
        let url = Url::parse(&text).map_err(|error| {
            findings.error(&format!("{field}.name"), format!("{name:?} is not a host name: {error}"))
        })?;
        let Some(service) = self.index.get("Service", namespace, name) else {
            if self.override_of(&url).is_some() {
                return Ok(Referenced { url, target: None });
            }
            let message = format!(
                "there is no Service {namespace}/{name}: add it (with annotation {ENDPOINT} to say where it is), correct the name or namespace, or use uri"
            );
            return Err(findings.error(field, message));
        };
        if let Some(endpoint) = service.annotation(ENDPOINT) {
            let url = self.endpoint(&endpoint).map_err(|message| {
                findings.error(
                    field,
                    format!("annotation {ENDPOINT} of Service {namespace}/{name} ({}): {message}", service.place()),
                )
            })?;
            return Ok(Referenced { url, target: None });
        }
        let target = is_event_display(&self.index, service).then_some(Target::Display);
        Ok(Referenced { url, target })
    }

    /// The URL of an annotation that suits the mode.
    fn endpoint(&self, annotation: &str) -> Result<Url, String> {
        let mut urls = Vec::new();
        for text in annotation.split(',') {
            let url = Url::parse(text.trim()).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
            check_url(&url)?;
            urls.push(url);
        }
        let preferred = if self.transport_encryption.prefers_https() { "https" } else { "http" };
        let at = urls.iter().position(|url| url.scheme() == preferred).unwrap_or(0);
        Ok(urls.swap_remove(at))
    }

    /// How events get to a URL: into the process if it is the address of a channel or broker here, else by HTTP.
    fn target(&self, url: &Url) -> Target {
        match self.own_channel(url) {
            Some(key) => Target::Local(key),
            None => Target::Remote { connect: self.override_of(url) },
        }
    }

    fn override_of(&self, url: &Url) -> Option<SocketAddr> {
        self.settings.resolve.iter().find_map(|known| known.applies_to(url))
    }

    /// The channel or broker whose cluster address this is (data-plane.md P-3, P-4).
    fn own_channel(&self, url: &Url) -> Option<ChannelKey> {
        if self.override_of(url).is_some() {
            return None;
        }
        let system = format!(".{}.svc.{}", self.settings.system_namespace, self.settings.cluster_domain);
        let host = url.host_str()?;
        let key = match host.strip_suffix(&system) {
            Some("imc-dispatcher") => path_key(ChannelKind::Channel, url.path())?,
            Some("broker-ingress") => path_key(ChannelKind::Broker, url.path())?,
            _ if url.path() == "/" => {
                let local = host.strip_suffix(&format!(".svc.{}", self.settings.cluster_domain))?;
                let (name, namespace) = local.rsplit_once('.')?;
                let name = name.strip_suffix(CHANNEL_HOST_SUFFIX)?;
                ChannelKey { kind: ChannelKind::Channel, namespace: namespace.to_owned(), name: name.to_owned() }
            }
            _ => return None,
        };
        self.index.channel(&key).map(|_| key)
    }
}

fn path_key(kind: ChannelKind, path: &str) -> Option<ChannelKey> {
    let (namespace, name) = path.trim_matches('/').split_once('/')?;
    Some(ChannelKey { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

fn absolute(uri: &str, field: &str, findings: &mut Findings<'_>) -> Result<Url, Broken> {
    let url = Url::parse(uri).map_err(|error| {
        findings.error(field, format!("{uri:?} is not an absolute URI ({error}): write for example https://host/path"))
    })?;
    check_url(&url).map(|()| url).map_err(|message| findings.error(field, message))
}

fn check_url(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("scheme {:?} is not supported: use http or https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(())
}

/// Whether the Service selects a Pod that runs Knative's event_display.
fn is_event_display(index: &Index, service: &Raw) -> bool {
    let read = |raw: &Raw| spec::read::<manifest::Service>(&mut Findings { raw, problems: Vec::new() });
    let Ok(manifest::Service { selector }) = read(service) else { return false };
    let selected = |pod: &&Arc<Raw>| {
        pod.name.namespace == service.name.namespace
            && !selector.is_empty()
            && selector.iter().all(|(label, value)| pod.label(label).as_ref() == Some(value))
    };
    index.of_kind("Pod").filter(selected).any(|pod| runs_event_display(pod))
}

fn runs_event_display(pod: &Raw) -> bool {
    let read = spec::read::<manifest::Pod>(&mut Findings { raw: pod, problems: Vec::new() });
    read.is_ok_and(|pod| pod.containers.iter().any(|container| image_name(&container.image).ends_with(EVENT_DISPLAY)))
}

/// An image's name without tag and digest.
fn image_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}
