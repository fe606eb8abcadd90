//! The schemas: the violations that they find, and that the JSON Schemas say the same.

use serde_json::{Value, json};

use super::config_maps::{CONFIG_FEATURES, ConfigMapKeys, ConfigMapPlace};
use super::examine::examine;
use super::finding::{SchemaFinding, SchemaViolation, format_path, without_places};
use super::*;

fn found(kind: ResourceKind, value: &Value) -> Vec<String> {
    let findings = examine(value, schema_of(kind));
    let line = |finding: &SchemaFinding| {
        let message = match &finding.violation {
            SchemaViolation::UnknownField { message, .. }
            | SchemaViolation::WrongType { message } => message.as_str(),
            SchemaViolation::Null { message, .. } => message,
        };
        format!("{}: {message}", format_path(&finding.path))
    };
    findings.iter().map(line).collect()
}

#[test]
fn the_right_name_is_of_the_same_place_else_of_another_one() {
    let unknown = |text: &str| format!("is not a field that is known here{text}");
    for (kind, value, line) in [
        (
            ResourceKind::Trigger,
            json!({"spec": {"filtres": []}}),
            "spec.filtres; did you mean filters?",
        ),
        (
            ResourceKind::Trigger,
            json!({"spec": {"deadLetterSink": {}}}),
            "spec.deadLetterSink: `deadLetterSink` belongs below `delivery`",
        ),
        (
            ResourceKind::Trigger,
            json!({"spec": {"subscriber": {"delivery": {}}}}),
            "spec.subscriber.delivery: `delivery` belongs below `spec`",
        ),
        (
            ResourceKind::Trigger,
            json!({"spec": {"filter": {"type": "a"}}}),
            "spec.filter.type: `type` belongs below `attributes`",
        ),
        (
            ResourceKind::Trigger,
            json!({"spec": {"filter": {"attribute": {}}}}),
            "spec.filter.attribute; did you mean attributes?",
        ),
        (
            ResourceKind::Trigger,
            json!({"spec": {"delivery": {"retries": 3}}}),
            "spec.delivery.retries; did you mean retry?",
        ),
        (
            ResourceKind::Trigger,
            json!({"spec": {"retrys": 3}}),
            "spec.retrys; did you mean retry, which belongs below `spec.delivery`?",
        ),
        (
            ResourceKind::Trigger,
            json!({"specs": {}}),
            "specs; did you mean spec?",
        ),
        (
            ResourceKind::Broker,
            json!({"spec": {"zzz": 1}}),
            "spec.zzz: there are config, delivery",
        ),
        (
            ResourceKind::ConfigMap,
            json!({"spec": {}}),
            "spec: there are apiVersion, kind, metadata, data, binaryData, immutable",
        ),
    ] {
        let (place, rest) = line.split_at(line.find([':', ';']).expect("a sign"));
        assert_eq!(
            found(kind, &value),
            [format!("{place}: {}", unknown(rest))],
            "{value}"
        );
    }
    let former = found(
        ResourceKind::Trigger,
        &json!({"spec": {"filter": {"sourceAndType": {}}}}),
    );
    assert_eq!(
        former,
        [
            "spec.filter.sourceAndType: is a field of older releases: write source and type into attributes"
        ]
    );
}

#[test]
fn every_problem_is_found_with_its_place() {
    let value = json!({
        "metadata": {"namespace": 2024, "labels": {"a": true}},
        "spec": {
            "broker": ["b"],
            "filters": {"exact": {}},
            "subscriber": [{"uri": "u"}],
            "delivery": {"retry": "3", "timeout": 5, "format": null},
        },
    });
    assert_eq!(
        found(ResourceKind::Trigger, &value),
        [
            "metadata.namespace: is a number, but must be text: write it in quotes",
            "metadata.labels.a: is a boolean, but must be text: write it in quotes",
            "spec.broker: is a list, but must be text",
            "spec.filters: is an object, but must be a list: write - before its first field, and indent the others like it",
            "spec.subscriber: is a list, but must be an object: write its fields without - before them",
            "spec.delivery.retry: is text, but must be a whole number: write it without quotes",
            "spec.delivery.timeout: is a number, but must be text: write it in quotes",
            "spec.delivery.format: is nothing, and so as good as not there: write it, or remove the field",
        ]
    );
    let value = json!({"metadata": {"labels": {"? null": "a"}, "? []": "b"}});
    assert_eq!(
        found(ResourceKind::Trigger, &value)[0],
        "metadata.labels.? null: is a key that is no text: write it in quotes"
    );
    assert!(
        found(ResourceKind::Trigger, &value)[1]
            .starts_with("metadata.? []: is not a field that is known here")
    );
    let nothing = "is nothing, and so as good as not there: write it, or remove the field";
    let value = json!({"spec": {"channelTemplate": null, "delivery": {"deadLetterSink": null, "timeout": null}}});
    assert_eq!(
        found(ResourceKind::Channel, &value),
        [
            "channelTemplate",
            "delivery.deadLetterSink",
            "delivery.timeout"
        ]
        .map(|field| format!("spec.{field}: {nothing}"))
    );
    assert_eq!(
        found(ResourceKind::Channel, &json!({"spec": {"delivery": null}})),
        [format!("spec.delivery: {nothing}")]
    );
    assert_eq!(
        found(
            ResourceKind::Broker,
            &json!({"metadata": {"namespace": null, "labels": null}, "spec": null})
        ),
        [format!("spec: {nothing}")]
    );
    assert_eq!(
        found(
            ResourceKind::Trigger,
            &json!({"spec": {"subscriber": {"uri": "u", "CACerts": null, "audience": null}}})
        ),
        ["CACerts", "audience"].map(|field| format!("spec.subscriber.{field}: {nothing}"))
    );
    let value = json!({"spec": {"subscribers": [{"uid": 1}, "x", null]}});
    let findings = examine(&value, schema_of(ResourceKind::InMemoryChannel));
    assert_eq!(
        findings
            .iter()
            .map(|finding| format_path(&finding.path))
            .collect::<Vec<_>>(),
        [
            "spec.subscribers[0].uid",
            "spec.subscribers[1]",
            "spec.subscribers[2]"
        ]
    );
    let rest = without_places(
        &value,
        findings.iter().map(|finding| finding.path.as_slice()),
    );
    assert_eq!(rest, json!({"spec": {"subscribers": [{}, {}, {}]}}));
}

#[test]
fn templates_are_strict_where_their_kind_is_ours() {
    let channel = |template: Value| json!({"spec": {"channelTemplate": template}});
    let of_kind = |kind: &str| channel(json!({"kind": kind, "spec": {"numPartitions": 3}}));
    assert_eq!(
        found(ResourceKind::Channel, &of_kind("KafkaChannel")),
        [""; 0]
    );
    assert_eq!(
        found(ResourceKind::Channel, &of_kind("InMemoryChannel")).len(),
        1
    );
    assert_eq!(
        found(
            ResourceKind::Channel,
            &channel(json!({"kinds": "InMemoryChannel"}))
        )
        .len(),
        1
    );
}

#[test]
fn keys_of_config_maps() {
    let none = |_: &str| false;
    let features =
        ConfigMapKeys::for_config_map(CONFIG_FEATURES, ConfigMapPlace::SystemNamespace, none)
            .expect("keys");
    for key in [
        "transport-encryption",
        " transport-encryption ",
        "_example",
        "apiserversources-nodeselector-zone",
    ] {
        assert!(features.has(key), "{key}");
    }
    for key in [
        "transport_encryption",
        "transportEncryption",
        "transport-encryptoin",
    ] {
        assert!(!features.has(key), "{key}");
        assert_eq!(
            features.suggest_key(key),
            Some("transport-encryption"),
            "{key}"
        );
    }
    assert!(
        ConfigMapKeys::for_config_map(CONFIG_FEATURES, ConfigMapPlace::OtherNamespace, none)
            .is_none()
    );
    assert!(ConfigMapKeys::for_config_map("mine", ConfigMapPlace::SystemNamespace, none).is_none());
    assert!(
        ConfigMapKeys::for_config_map("mine", ConfigMapPlace::OtherNamespace, |key| key
            == "channel-template-spec")
        .is_some()
    );
}

/// Every field of a definition is one of its JSON Schema, and nothing else is.
#[test]
fn json_schemas_are_the_definitions() {
    fn same(fields: &'static ObjectSchema, schema: &Value, root: &Value, depth: usize) {
        let schema = schema["allOf"][0]["$ref"].as_str().map_or(schema, |to| {
            root.pointer(to.trim_start_matches('#'))
                .expect("a definition")
        });
        let mut names: Vec<&str> = schema["properties"]
            .as_object()
            .expect("properties")
            .keys()
            .map(String::as_str)
            .collect();
        let mut known: Vec<&str> = fields.names().collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known, "{}", fields.name);
        assert_eq!(schema["additionalProperties"], false, "{}", fields.name);
        for field in fields.fields.iter().filter(|_| depth > 0) {
            let inner = &schema["properties"][field.name];
            match field.shape {
                FieldShape::Object(inside) => same(inside, inner, root, depth - 1),
                FieldShape::List(FieldShape::Object(inside)) => {
                    same(inside, &inner["items"], root, depth - 1)
                }
                FieldShape::Integer => assert_eq!(inner["type"], json!(["integer", "null"])),
                _ => {}
            }
        }
    }
    for kind in ResourceKind::ALL {
        let schema = json_schema(&kind.as_str().to_lowercase()).expect("a schema");
        same(schema_of(kind), &schema, &schema, 6);
        assert_eq!(schema["properties"]["kind"]["const"], kind.as_str());
    }
    assert!(schema_names().all(|name| json_schema(name).is_some()));
    assert!(json_schema("Deployment").is_none());
    let features = json_schema(CONFIG_FEATURES).expect("a schema");
    assert_eq!(
        features["properties"]["data"]["properties"]["transport-encryption"]["type"][0],
        "string"
    );
}
