//! The directories of `deploy/kubernetes` are what kustomize takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::objects::{below, container, directory, list, text};

/// Without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(parts.pop(), "{}", path.display()),
            Component::CurDir => {}
            part => parts.push(part),
        }
    }
    parts
}

/// Every file that a kustomization names is there, and every file is named by one.
#[test]
fn every_file_is_reached() {
    let mut reached: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let all = below("kubernetes");
    for object in all.iter().filter(|object| object.is_kustomization()) {
        let component = object.kind() == "Component";
        let api = if component {
            "kustomize.config.k8s.io/v1alpha1"
        } else {
            "kustomize.config.k8s.io/v1beta1"
        };
        assert_eq!(object.value["apiVersion"], api, "{}", object.file);
        assert!(
            component || object.kind() == "Kustomization",
            "{}",
            object.file
        );
        // A patch that stands in its kustomization has no file.
        let patches = list(&object.value["patches"])
            .iter()
            .filter_map(|patch| patch.get("path"));
        for named in list(&object.value["resources"]).iter().chain(patches) {
            let at = Path::new(&object.file)
                .parent()
                .expect("a directory")
                .join(text(named));
            *reached.entry(normal(&at)).or_default() += 1;
        }
    }
    let files: BTreeMap<PathBuf, usize> = all
        .iter()
        .filter(|object| !object.is_kustomization())
        .map(|object| (PathBuf::from(&object.file), 1))
        .collect();
    assert_eq!(reached, files);
}

/// What `kubectl kustomize` makes of a directory; nothing if this machine has no kubectl.
fn rendered(directory: &Path) -> Option<Vec<Value>> {
    let mut kubectl = Command::new("kubectl");
    let Ok(output) = kubectl
        .arg("kustomize")
        .arg("--load-restrictor=LoadRestrictionsNone")
        .arg(directory)
        .output()
    else {
        eprintln!("no kubectl here: what kustomize makes of deploy/kubernetes is not looked at");
        return None;
    };
    assert!(
        output.status.success(),
        "{}: {}",
        directory.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(
        serde_saphyr::from_multiple(&String::from_utf8(output.stdout).expect("text"))
            .expect("YAML"),
    )
}

/// kustomize loses nothing and adds nothing.
#[test]
fn kustomize_takes_every_directory() {
    for object in below("kubernetes")
        .iter()
        .filter(|object| object.is_kustomization() && object.kind() == "Kustomization")
    {
        let place = Path::new(&object.file)
            .parent()
            .expect("a directory")
            .to_owned();
        let Some(mut rendered) = rendered(&directory().join(&place)) else {
            return;
        };
        let mut written: Vec<Value> = below(&place.to_string_lossy())
            .into_iter()
            .filter(|object| !object.is_kustomization())
            .map(|object| object.value)
            .collect();
        let name = |value: &Value| {
            (
                text(&value["kind"]).to_owned(),
                text(&value["metadata"]["name"]).to_owned(),
            )
        };
        rendered.sort_by_key(name);
        written.sort_by_key(name);
        assert_eq!(rendered.len(), written.len(), "{}", place.display());
        for (rendered, written) in rendered.iter().zip(&written) {
            assert_eq!(rendered, written, "{}", place.display());
        }
    }
}

/// A manifest of ours as upstream has it: of another image, and without the admin socket.
fn as_upstream(yaml: &str) -> String {
    let ours = [
        "SEALPOST_ADMIN_SOCKET",
        "kubectl exec",
        "sealpost-run",
        "volumeMounts:",
        "volumes:",
    ];
    let is_ours = |line: &&str| ours.iter().any(|word| line.contains(word));
    let rest: Vec<&str> = yaml.lines().filter(|line| !is_ours(line)).collect();
    let upstream = rest.join("\n").replace(
        concat!("sealpost:", env!("CARGO_PKG_VERSION")),
        "upstream.example/it@sha256:00",
    );
    assert!(!upstream.to_lowercase().contains("sealpost"), "{upstream}");
    upstream
}

/// Contract 1.3, C3: over upstream's Deployments (here: ours, with upstream's images), the
/// components change the image; those of RabbitMQ and of the admin socket add their variables.
#[test]
fn components_change_what_they_say() {
    let overlay = tempfile::TempDir::new().expect("a directory");
    // kustomize takes directories by relative paths only.
    let mut copy = Command::new("cp");
    let copied = copy
        .arg("-r")
        .arg(directory().join("kubernetes"))
        .arg(overlay.path())
        .status()
        .expect("cp runs");
    assert!(copied.success());
    let complete = overlay.path().join("kubernetes/drop-in/complete");
    for name in ["imc-dispatcher", "mt-broker-ingress", "mt-broker-filter"] {
        let yaml = fs::read_to_string(complete.join(format!("{name}.yaml"))).expect("text");
        let upstream = overlay.path().join(format!("{name}.yaml"));
        fs::write(upstream, as_upstream(&yaml)).expect("written");
    }
    let kustomization = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
        resources: [imc-dispatcher.yaml, mt-broker-ingress.yaml, mt-broker-filter.yaml]\n\
        components: [kubernetes/drop-in/imc-dispatcher, kubernetes/drop-in/mt-broker, kubernetes/admin-socket, kubernetes/rabbitmq-backend]\n\
        images: [{name: sealpost, newName: registry.example/sealpost, newTag: 9.9.9}]\n";
    fs::write(overlay.path().join("kustomization.yaml"), kustomization).expect("written");
    let Some(rendered) = rendered(overlay.path()) else {
        return;
    };
    let mut images = 0;
    for mut object in rendered
        .into_iter()
        .filter(|object| object["kind"] == "Deployment")
    {
        let name = text(&object["metadata"]["name"]).to_owned();
        let mut written = super::objects::one("kubernetes/drop-in/complete", "Deployment", &name);
        assert_eq!(
            container(&object)["image"],
            "registry.example/sealpost:9.9.9",
            "{name}"
        );
        images += 1;
        let added = |variable: &Value| {
            let name = text(&variable["name"]);
            name.starts_with("SEALPOST_RABBITMQ_") || name == "SEALPOST_ADMIN_SOCKET"
        };
        let env = |object: &Value| list(&container(object)["env"]).to_vec();
        let extra = env(&object)
            .iter()
            .filter(|variable| added(variable))
            .count();
        assert_eq!(
            extra,
            if name == "imc-dispatcher" { 4 } else { 1 },
            "{name}"
        );
        let rest = |object: &Value| -> Vec<Value> {
            let variables = env(object).into_iter();
            variables.filter(|variable| !added(variable)).collect()
        };
        assert_eq!(rest(&object), rest(&written), "{name}");
        let expected = if name == "imc-dispatcher" {
            super::objects::socket_and_credentials()
        } else {
            super::objects::admin_socket()
        };
        assert_eq!(take_volumes(&mut object), expected, "{name}");
        let of_ours = take_volumes(&mut written);
        assert_eq!(of_ours, super::objects::admin_socket(), "{name}");
        for changed in [&mut object, &mut written] {
            let container = &mut changed["spec"]["template"]["spec"]["containers"][0];
            (container["image"], container["env"]) = (Value::Null, Value::Null);
        }
        assert_eq!(object, written, "{name}: nothing else is changed");
    }
    assert_eq!(images, 3);
}

/// Takes the volumes of a Deployment out of it, and where they are mounted.
fn take_volumes(deployment: &mut Value) -> (Value, Value) {
    let pod = &mut deployment["spec"]["template"]["spec"];
    let container = pod["containers"][0].as_object_mut().expect("a container");
    let mounts = container.remove("volumeMounts").expect("mounts");
    let pod = pod.as_object_mut().expect("a pod");
    (pod.remove("volumes").expect("volumes"), mounts)
}

/// The Deployment of imc-dispatcher with these components over it.
fn imc_dispatcher_with(components: &str) -> Option<Value> {
    let overlay = tempfile::TempDir::new().expect("a directory");
    let mut copy = Command::new("cp");
    let from = directory().join("kubernetes");
    let copied = copy.arg("-r").arg(from).arg(overlay.path()).status();
    assert!(copied.expect("cp runs").success());
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n\
         resources: [kubernetes/drop-in/complete/imc-dispatcher.yaml]\ncomponents: [{components}]\n"
    );
    fs::write(overlay.path().join("kustomization.yaml"), kustomization).expect("written");
    let rendered = rendered(overlay.path())?;
    let mut deployments = rendered.into_iter().filter(|it| it["kind"] == "Deployment");
    Some(deployments.next().expect("a Deployment"))
}

/// Every process of sealpost that is there is told where the operator's events go, and nothing else.
#[test]
fn the_operators_events_have_a_broker() {
    let components = "kubernetes/drop-in/imc-dispatcher, kubernetes/system-events";
    let (Some(with), Some(without)) = (
        imc_dispatcher_with(components),
        imc_dispatcher_with("kubernetes/drop-in/imc-dispatcher"),
    ) else {
        return;
    };
    let env = |object: &Value| list(&container(object)["env"]).to_vec();
    let told = serde_json::json!({
        "name": "SEALPOST_SYSTEM_EVENTS", "value": "knative-eventing/operators",
    });
    assert_eq!(env(&with), [env(&without), vec![told]].concat());
}

/// A directory of the pod, or a volume in its place; one pod, and never two at once.
#[test]
fn the_drop_in_gets_a_directory_or_a_volume() {
    for (components, volume) in [
        ("kubernetes/disk-backend", "emptyDir"),
        ("kubernetes/disk-backend-claim", "persistentVolumeClaim"),
    ] {
        let Some(deployment) = imc_dispatcher_with(components) else {
            return;
        };
        let spec = &deployment["spec"];
        assert_eq!(
            spec["strategy"],
            serde_json::json!({"type": "Recreate"}),
            "{components}"
        );
        assert_eq!(spec["replicas"], 1);
        let volumes = list(&spec["template"]["spec"]["volumes"]);
        let data = volumes.iter().find(|it| it["name"] == "sealpost-data");
        let mut kinds = super::objects::keys(data.expect("a volume"));
        kinds.retain(|key| *key != "name");
        assert_eq!(kinds, [volume], "{components}");
        let env = list(&container(&deployment)["env"]);
        assert!(env.iter().any(|it| it["name"] == "SEALPOST_DATA_DIR"));
    }
}
