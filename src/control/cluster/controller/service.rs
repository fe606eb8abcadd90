//! The Service of a channel: its host name is the one that senders use, and an alias of the
//! dispatcher's Service (contract 4.3, 11.8).

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::context::ReconcileContext;
use crate::control::channel_kind::ServedChannelKind;

/// The longest name of a Service.
const LONGEST: usize = 63;
/// The part of a long name that is left beside a hash of 32 characters.
const HEAD: usize = LONGEST - 32;

/// The name of a channel's Service: the channel's name with a suffix. Of a long name the start is
/// kept, with a hash, as Knative names children.
pub(super) fn service_name(channel: &str, kind: ServedChannelKind) -> String {
    let suffix = kind.controller_names().service_suffix;
    if channel.len() + suffix.len() <= LONGEST {
        return format!("{channel}{suffix}");
    }
    let start: String = channel.chars().take(HEAD - suffix.len()).collect();
    let hash: String = Md5::digest(channel.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{start}{hash}{suffix}")
}

/// The Service as it should be. Kubernetes deletes it together with the channel, which owns it.
pub(super) fn desired_service(channel: &Value, context: &ReconcileContext) -> Value {
    let kind = context.kind;
    let metadata = |field: &str| {
        channel
            .get("metadata")
            .and_then(|metadata| metadata.get(field))
            .cloned()
    };
    let services = kind.controller_names().services;
    let (label, value) = services.split_once('=').unwrap_or_default();
    let name = metadata("name");
    let name = name.as_ref().and_then(Value::as_str).unwrap_or_default();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": metadata("namespace"),
            "name": service_name(name, kind),
            "labels": {label: value},
            "ownerReferences": [{
                "apiVersion": kind.resource_kind().api_version(),
                "kind": kind.resource_kind().as_str(),
                "name": metadata("name"),
                "uid": metadata("uid"),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "type": "ExternalName",
            "externalName": context.dispatcher,
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}],
        },
    })
}

/// The step that makes the Service of a channel as it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ServiceStep {
    /// There is no Service of this name.
    Create,
    /// The Service belongs to the channel, but leads elsewhere: it gets this merge patch.
    Patch(Value),
    /// The Service is as it should be.
    Nothing,
    /// The Service belongs to another object, and is left alone.
    OwnedByOther,
}

/// Compares the Service that exists with the one that should exist.
pub(super) fn service_step(there: Option<&Value>, wanted: &Value) -> ServiceStep {
    let Some(there) = there else {
        return ServiceStep::Create;
    };
    let uid = |service: &Value| service.pointer("/metadata/ownerReferences/0/uid").cloned();
    if uid(there) != uid(wanted) {
        return ServiceStep::OwnedByOther;
    }
    let field = |service: &Value, path: &str| service.pointer(path).cloned();
    let same = ["/spec/type", "/spec/externalName", "/spec/ports/0/port"]
        .into_iter()
        .all(|path| field(there, path) == field(wanted, path));
    if same {
        ServiceStep::Nothing
    } else {
        ServiceStep::Patch(json!({"spec": wanted.get("spec")}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::cluster::controller::context::{ObservedCertificate, ObservedEndpoints};
    use crate::model::TransportEncryption;

    const SUFFIX: &str = "-rmq-kn-channel";

    fn service_name(channel: &str) -> String {
        super::service_name(channel, ServedChannelKind::Rabbitmq)
    }

    fn desired_service(channel: &Value, dispatcher: &str) -> Value {
        let context = ReconcileContext {
            kind: ServedChannelKind::Rabbitmq,
            mode: TransportEncryption::Disabled,
            oidc: false,
            certificate: ObservedCertificate::Missing,
            endpoints: ObservedEndpoints::Missing,
            dispatcher: dispatcher.to_owned(),
            cluster_domain: "cluster.local".to_owned(),
        };
        super::desired_service(channel, &context)
    }

    /// Contract 4.3, 11.8.
    #[test]
    fn long_names_are_hashed() {
        let on_disk = super::service_name("invoice-feed", ServedChannelKind::Disk);
        assert_eq!(on_disk, "invoice-feed-disk-kn-channel");
        assert_eq!(service_name("invoice-feed"), "invoice-feed-rmq-kn-channel");
        let longest = "x".repeat(48);
        assert_eq!(service_name(&longest), format!("{longest}-rmq-kn-channel"));
        let long = "y".repeat(49);
        let named = service_name(&long);
        assert_eq!(named.len(), 63);
        assert!(
            named.starts_with(&"y".repeat(16)) && named.ends_with(SUFFIX),
            "{named}"
        );
        assert_ne!(named, service_name(&"y".repeat(50)));
        // The MD5 of the whole name stands between.
        assert_eq!(
            service_name(&"a".repeat(63)),
            format!("{}b06521f39153d618550606be297466d5{SUFFIX}", "a".repeat(16))
        );
    }

    #[test]
    fn a_service_is_made_mended_or_left_to_its_owner() {
        let channel = |uid: &str| json!({"metadata": {"namespace": "t", "name": "a", "uid": uid}});
        let right = desired_service(&channel("1"), "d.ke.svc.cluster.local");
        assert_eq!(right["metadata"]["name"], "a-rmq-kn-channel");
        assert_eq!(service_step(None, &right), ServiceStep::Create);
        assert_eq!(service_step(Some(&right), &right), ServiceStep::Nothing);
        assert_eq!(
            service_step(
                Some(&desired_service(&channel("2"), "d.ke.svc.cluster.local")),
                &right
            ),
            ServiceStep::OwnedByOther
        );
        assert_eq!(
            service_step(
                Some(&json!({"metadata": {"name": "a-rmq-kn-channel"}})),
                &right
            ),
            ServiceStep::OwnedByOther
        );
        let elsewhere = desired_service(&channel("1"), "d.ke.svc.other");
        assert_eq!(
            service_step(Some(&elsewhere), &right),
            ServiceStep::Patch(json!({"spec": right["spec"]}))
        );
    }
}
