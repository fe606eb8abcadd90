//! The backend of each channel of a cluster (contract 11.4).

use serde_json::{Value, json};

use super::*;
use crate::control::read::document::ManifestSet;
use crate::control::resolve::reconciled::channel::StatusUpdate;
use crate::control::{
    ChannelScope, ControlTask, RabbitmqAvailability, Resolution, ServedChannelKind,
};
use crate::model::{ChannelKey, ChannelKind};

fn settings() -> ControlSettings {
    ControlSettings {
        task: ControlTask::ServeChannels {
            kind: ServedChannelKind::InMemory,
            scope: ChannelScope::Cluster,
        },
        now: 1_781_913_600,
        ..ControlSettings::default()
    }
}

fn config(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"namespace": "knative-eventing", "name": CONFIG_IMC_BACKEND}})
}

fn channel(namespace: &str, annotation: Option<&str>) -> Value {
    let annotations = annotation.map(|text| json!({BACKEND: text}));
    json!({"apiVersion": "messaging.knative.dev/v1", "kind": "InMemoryChannel",
        "metadata": {"namespace": namespace, "name": "a", "uid": namespace, "annotations": annotations}})
}

fn storage(resolution: &Resolution, namespace: &str) -> Option<BackendKind> {
    let (namespace, name) = (namespace.to_owned(), "a".to_owned());
    let key = ChannelKey {
        kind: ChannelKind::Channel,
        namespace,
        name,
    };
    resolution
        .table
        .channel(&key)
        .map(|(_, channel)| channel.backend)
}

/// Steps of one cluster: what the ConfigMap holds, what the annotation says, where the channel
/// `billing/a` is then, and how many problems there are.
#[test]
fn the_annotation_goes_before_the_namespace_and_that_before_the_default() {
    let (memory, rabbitmq) = (Some(BackendKind::Memory), Some(BackendKind::Rabbitmq));
    let rows = |text: &str| Some(json!({"namespaces": text}));
    let mut last: Option<Resolution> = None;
    for (data, annotation, expected, problems) in [
        (None, None, memory, 0),
        (None, Some("nonsense"), memory, 1),
        (None, Some("rabbitmq"), rabbitmq, 0),
        (None, Some("nonsense"), rabbitmq, 1),
        (None, None, memory, 0),
        (
            Some(json!({"default-backend": "rabbitmq"})),
            None,
            rabbitmq,
            0,
        ),
        (
            Some(json!({"default-backend": "rabbitmq"})),
            Some("memory"),
            memory,
            0,
        ),
        (
            Some(json!({"default-backend": "memory", "namespaces": "# billing: rabbitmq\n"})),
            None,
            memory,
            0,
        ),
        (
            rows("billing: rabbitmq\nother: memory\n"),
            None,
            rabbitmq,
            0,
        ),
        (Some(json!({"default-backend": "tape"})), None, rabbitmq, 1),
        (
            Some(json!({"default-backend": "tape", "namespaces": "billing: memory"})),
            None,
            memory,
            1,
        ),
        (rows("billing: rabbitmq"), None, rabbitmq, 0),
        (rows("billing: [rabbitmq"), None, rabbitmq, 1),
        (rows("billing"), None, rabbitmq, 1),
        (rows("billing: 7"), None, rabbitmq, 1),
        (None, None, rabbitmq, 0),
        (Some(json!({})), None, memory, 0),
    ] {
        let objects = [
            Some(channel("billing", annotation)),
            data.as_ref().map(config),
        ];
        let manifests = ManifestSet::from_objects(objects.into_iter().flatten());
        let resolution = crate::control::resolve(&manifests, last.as_ref(), &settings());
        assert_eq!(
            storage(&resolution, "billing"),
            expected,
            "{data:?} {annotation:?}"
        );
        assert_eq!(
            resolution.problems.len(),
            problems,
            "{:?}",
            resolution.problems
        );
        last = Some(resolution);
    }
}

/// A row that cannot be read may be one for RabbitMQ: nobody is moved, and nobody is told to be
/// durable who is not.
#[test]
fn what_cannot_be_read_moves_nobody() {
    let manifests = |data: &Value| {
        ManifestSet::from_objects([channel("a", None), channel("b", None), config(data)])
    };
    let both = |resolution: &Resolution| (storage(resolution, "a"), storage(resolution, "b"));
    let (memory, rabbitmq) = (Some(BackendKind::Memory), Some(BackendKind::Rabbitmq));
    let broken = json!({"default-backend": "rabbitmq", "namespaces": "{"});
    let fresh = crate::control::resolve(&manifests(&broken), None, &settings());
    assert_eq!(both(&fresh), (memory, memory));
    let good = crate::control::resolve(
        &manifests(&json!({"namespaces": "a: rabbitmq"})),
        None,
        &settings(),
    );
    assert_eq!(both(&good), (rabbitmq, memory));
    let kept = crate::control::resolve(
        &manifests(&json!({"default-backend": "memory", "namespaces": "{"})),
        Some(&good),
        &settings(),
    );
    assert_eq!(both(&kept), (rabbitmq, memory));
}

/// It is never served from memory instead, and the cluster is told why; one that was in memory
/// before stays there.
#[test]
fn without_rabbitmq_a_channel_that_wants_it_is_not_served() {
    let settings = ControlSettings {
        rabbitmq: RabbitmqAvailability::Missing,
        ..settings()
    };
    let resolve = |objects: &[Value], last| {
        crate::control::resolve(
            &ManifestSet::from_objects(objects.to_vec()),
            last,
            &settings,
        )
    };
    let by_default = [
        channel("a", None),
        config(&json!({"default-backend": "rabbitmq"})),
    ];
    for objects in [&by_default[..], &[channel("a", Some("rabbitmq"))]] {
        let resolution = resolve(objects, None);
        assert_eq!(storage(&resolution, "a"), None);
        let duties = resolution
            .reconciled_channels()
            .expect("channels")
            .values()
            .next()
            .expect("a channel")
            .status_updates();
        assert!(
            matches!(duties, [StatusUpdate::Warning(text)] if text.contains("SEALPOST_RABBITMQ_URI"))
        );
    }
    let before = resolve(&[channel("a", None)], None);
    let after = resolve(&by_default, Some(&before));
    assert_eq!(
        (storage(&after, "a"), after.problems.len()),
        (Some(BackendKind::Memory), 1)
    );
}

/// Contract 11.8: the kind says it, and InMemoryChannels are somebody else's.
#[test]
fn a_rabbitmq_channel_is_on_rabbitmq() {
    let settings = ControlSettings {
        task: ControlTask::ServeChannels {
            kind: ServedChannelKind::Rabbitmq,
            scope: ChannelScope::Cluster,
        },
        ..settings()
    };
    let mut object = channel("a", Some("memory"));
    object["apiVersion"] = json!("messaging.knative.dev/v1alpha1");
    object["kind"] = json!("RabbitmqChannel");
    let manifests = ManifestSet::from_objects([object, channel("b", None)]);
    let resolution = crate::control::resolve(&manifests, None, &settings);
    assert_eq!(
        (storage(&resolution, "a"), storage(&resolution, "b")),
        (Some(BackendKind::Rabbitmq), None)
    );
    assert_eq!(resolution.problems, []);
}
