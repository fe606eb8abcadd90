//! The dead letter sink of a channel: `spec.delivery.deadLetterSink`, resolved as Knative resolves
//! destinations (contract 5.2).

use kube::core::{ApiResource, DynamicObject, GroupVersion};
use kube::{Api, Client};
use serde_json::Value;
use url::Url;

/// A dead letter sink whose address is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResolvedDeadLetterSink {
    /// The absolute URL of the sink.
    pub(super) uri: String,
    /// The CA certificates (PEM) that its server certificate is verified with.
    pub(super) ca_certs: Option<String>,
    /// The audience of the tokens that it wants.
    pub(super) audience: Option<String>,
}

/// The object that a dead letter sink refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SinkReference {
    pub(super) namespace: String,
    pub(super) name: String,
    api_version: String,
    kind: String,
}

impl SinkReference {
    fn is_service(&self) -> bool {
        self.api_version == "v1" && self.kind == "Service"
    }

    /// The API of the object's kind, whose plural is guessed as Knative's controllers guess it.
    pub(super) fn api(&self, client: Client) -> Api<DynamicObject> {
        let (group, version) = self
            .api_version
            .split_once('/')
            .unwrap_or(("", &self.api_version));
        let kind = GroupVersion {
            group: group.to_owned(),
            version: version.to_owned(),
        }
        .with_kind(&self.kind);
        let lower = self.kind.to_ascii_lowercase();
        let plural = match lower.strip_suffix('y') {
            Some(start) => format!("{start}ies"),
            None if lower.ends_with('s') => format!("{lower}es"),
            None => format!("{lower}s"),
        };
        Api::namespaced_with(
            client,
            &self.namespace,
            &ApiResource::from_gvk_with_plural(&kind, &plural),
        )
    }
}

impl std::fmt::Display for SinkReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The dead letter sink as the channel's manifest names it; `None` if it names none.
pub(super) fn sink_manifest(channel: &Value) -> Option<&Value> {
    channel
        .pointer("/spec/delivery/deadLetterSink")
        .filter(|sink| sink.as_object().is_some_and(|sink| !sink.is_empty()))
}

fn text<'v>(value: &'v Value, path: &str) -> Option<&'v str> {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// The object that the dead letter sink refers to; `None` if it has a URI only.
pub(super) fn sink_reference(channel: &Value) -> Option<SinkReference> {
    let reference = sink_manifest(channel)?
        .get("ref")
        .filter(|reference| reference.is_object())?;
    let namespace = text(reference, "/namespace").or_else(|| text(channel, "/metadata/namespace"));
    Some(SinkReference {
        namespace: namespace.unwrap_or_default().to_owned(),
        name: text(reference, "/name").unwrap_or_default().to_owned(),
        api_version: text(reference, "/apiVersion")
            .unwrap_or_default()
            .to_owned(),
        kind: text(reference, "/kind").unwrap_or_default().to_owned(),
    })
}

/// Resolves the dead letter sink of a channel; `None` if it has none. `referred` is the object that
/// the sink refers to, if it exists.
///
/// # Errors
/// Says why the address of the sink is not known.
pub(super) fn resolve_dead_letter_sink(
    channel: &Value,
    referred: Option<&Value>,
    cluster_domain: &str,
) -> Result<Option<ResolvedDeadLetterSink>, String> {
    let Some(sink) = sink_manifest(channel) else {
        return Ok(None);
    };
    let own = |field: &str| text(sink, field).map(str::to_owned);
    let (ca_certs, audience, uri) = (own("/CACerts"), own("/audience"), text(sink, "/uri"));
    let Some(reference) = sink_reference(channel) else {
        return Ok(Some(ResolvedDeadLetterSink {
            uri: absolute_uri(uri)?.to_owned(),
            ca_certs,
            audience,
        }));
    };
    let referred = referred.ok_or_else(|| format!("{reference} is not there"))?;
    let found = if reference.is_service() {
        let scheme = if ca_certs.is_some() { "https" } else { "http" };
        let SinkReference {
            namespace, name, ..
        } = &reference;
        ResolvedDeadLetterSink {
            uri: format!("{scheme}://{name}.{namespace}.svc.{cluster_domain}"),
            ca_certs: None,
            audience: None,
        }
    } else {
        status_address(referred, text(sink, "/ref/address"))
            .ok_or_else(|| format!("{reference} has no address yet"))?
    };
    let uri = match uri {
        None => found.uri,
        Some(relative) => {
            let joined = Url::parse(&found.uri).and_then(|base| base.join(relative));
            joined
                .map_err(|error| format!("its uri cannot be resolved: {error}"))?
                .into()
        }
    };
    // What the manifest says goes before what the object says.
    Ok(Some(ResolvedDeadLetterSink {
        uri,
        ca_certs: ca_certs.or(found.ca_certs),
        audience: audience.or(found.audience),
    }))
}

/// The URI of a sink that refers to no object.
fn absolute_uri(uri: Option<&str>) -> Result<&str, String> {
    let uri = uri.ok_or("has neither ref nor uri")?;
    let is_absolute = Url::parse(uri).is_ok_and(|url| url.has_host());
    if is_absolute {
        Ok(uri)
    } else {
        Err("its uri is not absolute, and there is no ref".to_owned())
    }
}

/// The address of an object by its status; `None` if it has none yet.
fn status_address(object: &Value, named: Option<&str>) -> Option<ResolvedDeadLetterSink> {
    let address = find_address(object, named)?;
    let of = |field: &str| text(address, field).map(str::to_owned);
    Some(ResolvedDeadLetterSink {
        uri: of("/url")?,
        ca_certs: of("/CACerts"),
        audience: of("/audience"),
    })
}

/// The address with this name; without a name, the first of `status.addresses`, else
/// `status.address`.
fn find_address<'v>(object: &'v Value, named: Option<&str>) -> Option<&'v Value> {
    let all = object
        .pointer("/status/addresses")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    match named {
        Some(name) => all
            .iter()
            .find(|address| text(address, "/name") == Some(name)),
        None => all.first().or_else(|| object.pointer("/status/address")),
    }
}
