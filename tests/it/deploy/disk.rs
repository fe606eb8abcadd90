//! The kind `DiskChannel`, and InMemoryChannels on disk: what differs from the kind RabbitmqChannel.

use serde_json::{Value, json};

use super::objects::{below, container, directory, keys, list, one, text};

const PART: &str = "kubernetes/disk-channel";
const DISPATCHER: &str = "sealpost-disk-dispatcher";

/// A file of the kind RabbitmqChannel, with the names of DiskChannel.
fn renamed(file: &str) -> String {
    let path = directory().join("kubernetes/rabbitmq-channel").join(file);
    let text = std::fs::read_to_string(path).expect("a file");
    [
        ("rabbitmq", "disk"),
        ("Rabbitmq", "Disk"),
        ("[rmqc]", "[diskc]"),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| text.replace(from, to))
}

/// Its definition, its rights and its controller are those of the other kind; `rabbitmq` in this
/// directory says what they have to be.
#[test]
fn the_kind_is_as_the_other_one() {
    for file in [
        "crd.yaml",
        "cluster-roles.yaml",
        "controller-rbac.yaml",
        "dispatcher-rbac.yaml",
        "controller.yaml",
    ] {
        let path = directory().join(PART).join(file);
        let written = std::fs::read_to_string(path).expect("a file");
        let kind = "            - {name: SEALPOST_CHANNEL_KIND, value: DiskChannel}\n";
        let written = if file == "controller.yaml" {
            assert!(written.contains(kind), "the controller knows which kind");
            written.replace(kind, "")
        } else {
            written
        };
        let parse = |text: &str| serde_saphyr::from_multiple::<Value>(text).expect("YAML");
        assert_eq!(parse(&written), parse(&renamed(file)), "{file}");
    }
}

/// One process owns the volume, which stays when the pod goes.
#[test]
fn the_dispatcher_is_one_pod_with_a_volume() {
    let set = one(PART, "StatefulSet", DISPATCHER);
    let spec = &set["spec"];
    assert_eq!(
        (&spec["replicas"], &spec["serviceName"]),
        (&json!(1), &json!(DISPATCHER))
    );
    assert!(
        spec.get("persistentVolumeClaimRetentionPolicy").is_none(),
        "it is kept"
    );
    let claims = list(&spec["volumeClaimTemplates"]);
    assert_eq!(claims.len(), 1);
    assert_eq!(
        claims[0]["spec"]["accessModes"],
        json!(["ReadWriteOncePod"])
    );
    let mounts = list(&container(&set)["volumeMounts"]);
    let mount = mounts
        .iter()
        .find(|it| it["name"] == claims[0]["metadata"]["name"]);
    let mount = text(&mount.expect("a mount")["mountPath"]).to_owned();
    let variable = |name: &str| {
        let env = list(&container(&set)["env"]);
        let found = env
            .iter()
            .find(|it| it["name"] == name)
            .expect("a variable");
        text(&found["value"]).to_owned()
    };
    assert!(variable("SEALPOST_DATA_DIR").starts_with(&format!("{mount}/")));
    assert_eq!(variable("SEALPOST_CHANNEL_KIND"), "DiskChannel");
    let service = one(PART, "Service", DISPATCHER);
    assert_eq!(service["spec"]["selector"], spec["selector"]["matchLabels"]);
    let ports = |part: &str, name: &str| one(part, "Service", name)["spec"]["ports"].clone();
    let other = ports(
        "kubernetes/rabbitmq-channel",
        "sealpost-rabbitmq-dispatcher",
    );
    assert_eq!(ports(PART, DISPATCHER), other);
}

/// Over upstream's Deployment there is one pod at a time, with a directory, or a volume; and nothing
/// changes by itself.
#[test]
fn components_give_the_drop_in_a_directory() {
    let patch = one("kubernetes/disk-backend", "Deployment", "imc-dispatcher");
    let spec = &patch["spec"];
    assert_eq!(keys(spec), ["replicas", "strategy", "template"]);
    assert_eq!(
        (&spec["replicas"], &spec["strategy"]["type"]),
        (&json!(1), &json!("Recreate"))
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(keys(pod), ["containers", "securityContext", "volumes"]);
    let volumes = list(&pod["volumes"]);
    assert!(volumes[1]["emptyDir"].is_object() && volumes[1]["name"] == "sealpost-data");
    let claim = one(
        "kubernetes/disk-backend-claim",
        "Deployment",
        "imc-dispatcher",
    );
    let volume = &claim["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(volume["name"], "sealpost-data");
    let claimed = text(&volume["persistentVolumeClaim"]["claimName"]);
    one(
        "kubernetes/disk-backend-claim",
        "PersistentVolumeClaim",
        claimed,
    );
    let config = one(
        "kubernetes/backend-config",
        "ConfigMap",
        "config-imc-backend",
    );
    assert_eq!(config["data"]["default-backend"], "memory");
    assert!(
        below("kubernetes/disk-channel-tokens")
            .iter()
            .any(|it| it.kind() == "Component")
    );
}
