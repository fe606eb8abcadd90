//! Certificates, monitoring and policies fit the Deployments that they are for.

use serde_json::{Value, json};

use super::objects::{Object, below, container, keys, list, one, text, texts};

const ISSUER: &str = "kubernetes/certificates/issuer";
const SERVERS: &str = "kubernetes/certificates/servers";

/// Contract 6.1, and that a renewal of the root keeps its key.
#[test]
fn the_issuer_is_the_one_that_knative_names() {
    let root = one(ISSUER, "Certificate", "knative-eventing-selfsigned-ca");
    let spec = &root["spec"];
    assert_eq!(root["metadata"]["namespace"], "cert-manager");
    assert_eq!(
        (&spec["isCA"], &spec["secretName"]),
        (&json!(true), &json!("knative-eventing-ca"))
    );
    assert_eq!(
        spec["privateKey"],
        json!({"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"})
    );
    let issuer = one(ISSUER, "ClusterIssuer", "knative-eventing-ca-issuer");
    assert_eq!(
        issuer["spec"],
        json!({"ca": {"secretName": "knative-eventing-ca"}})
    );
    let bootstrap = one(ISSUER, "ClusterIssuer", text(&spec["issuerRef"]["name"]));
    assert_eq!(bootstrap["spec"], json!({"selfSigned": {}}));
}

/// Contract 6.2, 6.3: each Secret is of the name that its server watches, and its names are its
/// Service's.
#[test]
fn server_certificates() {
    let rows = [
        (
            "imc-dispatcher-server-tls",
            "imc-dispatcher",
            "kubernetes/drop-in/complete",
        ),
        (
            "mt-broker-ingress-server-tls",
            "broker-ingress",
            "kubernetes/drop-in/complete",
        ),
        (
            "mt-broker-filter-server-tls",
            "broker-filter",
            "kubernetes/drop-in/complete",
        ),
        (
            "sealpost-rabbitmq-dispatcher-server-tls",
            "sealpost-rabbitmq-dispatcher",
            "kubernetes/rabbitmq-channel",
        ),
        (
            "sealpost-disk-dispatcher-server-tls",
            "sealpost-disk-dispatcher",
            "kubernetes/disk-channel",
        ),
    ];
    let certificates = below(SERVERS)
        .into_iter()
        .filter(|object| object.kind() == "Certificate")
        .count();
    assert_eq!(certificates, rows.len());
    for (name, service, part) in rows {
        let service = one(part, "Service", service);
        let host = format!(
            "{}.{}.svc",
            text(&service["metadata"]["name"]),
            text(&service["metadata"]["namespace"])
        );
        let certificate = one(SERVERS, "Certificate", name);
        let labels = &certificate["spec"]["secretTemplate"]["labels"];
        for key in ["app.kubernetes.io/name", "app.kubernetes.io/component"] {
            assert_eq!(labels[key], service["metadata"]["labels"][key], "{name}");
        }
        let expected = json!({
            "secretName": name,
            "secretTemplate": {"labels": labels},
            "duration": "2160h0m0s",
            "renewBefore": "360h0m0s",
            "subject": {"organizations": ["local"]},
            "privateKey": {"algorithm": "RSA", "encoding": "PKCS1", "size": 2048, "rotationPolicy": "Always"},
            "dnsNames": [format!("{host}.cluster.local"), host],
            "issuerRef": {"name": "knative-eventing-ca-issuer", "kind": "ClusterIssuer", "group": "cert-manager.io"},
        });
        assert_eq!(certificate["spec"], expected, "{name}");
    }
}

/// Contract 3.9: ConfigMaps with the label, in the system namespace.
#[test]
fn the_trust_bundle_is_where_it_counts() {
    let bundle = one(
        "kubernetes/certificates/trust-bundle",
        "Bundle",
        "knative-eventing-bundle",
    );
    let target = &bundle["spec"]["target"];
    assert_eq!(
        target["configMap"]["metadata"]["labels"],
        json!({"networking.knative.dev/trust-bundle": "true"})
    );
    let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "knative-eventing"}});
    assert_eq!(target["namespaceSelector"], selector);
    let root = one(ISSUER, "Certificate", "knative-eventing-selfsigned-ca");
    let source = &bundle["spec"]["sources"][0]["secret"];
    assert_eq!(
        source,
        &json!({"name": root["spec"]["secretName"], "key": "tls.crt"})
    );
}

/// What is sent whole.
fn whole_parts() -> impl Iterator<Item = Object> {
    let parts = ["drop-in/complete", "rabbitmq-channel", "disk-channel"];
    parts
        .into_iter()
        .flat_map(|part| below(&format!("kubernetes/{part}")))
}

/// All Deployments and StatefulSets that are sent whole.
fn deployments() -> Vec<Object> {
    whole_parts()
        .filter(|object| !object.is_kustomization() && object.runs_pods())
        .collect()
}

fn named(part: &str, kind: &str) -> Vec<Object> {
    below(part)
        .into_iter()
        .filter(|object| !object.is_kustomization() && object.kind() == kind)
        .collect()
}

/// Each ServiceMonitor finds one Service, at a port that it has.
#[test]
fn service_monitors_find_their_services() {
    let services: Vec<Object> = whole_parts()
        .filter(|object| !object.is_kustomization() && object.kind() == "Service")
        .collect();
    let monitors = named("kubernetes/monitoring", "ServiceMonitor");
    assert_eq!(monitors.len(), services.len());
    for monitor in monitors {
        let selector = &monitor.value["spec"]["selector"]["matchLabels"];
        let fits = |service: &&Object| {
            let labels = &service.value["metadata"]["labels"];
            keys(selector)
                .iter()
                .all(|key| labels[*key] == selector[*key])
        };
        let found: Vec<&Object> = services.iter().filter(fits).collect();
        assert_eq!(found.len(), 1, "{}", monitor.what());
        let endpoint = &monitor.value["spec"]["endpoints"][0];
        assert_eq!(endpoint["path"], "/metrics");
        let ports = list(&found[0].value["spec"]["ports"]);
        assert!(
            ports.iter().any(|port| port["name"] == endpoint["port"]),
            "{}",
            monitor.what()
        );
    }
}

/// Controllers have no Service: they are found by their pods, and their jobs are ones that alerts
/// know.
#[test]
fn pod_monitors_find_the_controllers() {
    let monitors = named("kubernetes/monitoring", "PodMonitor");
    assert_eq!(monitors.len(), 2);
    for (monitor, expected) in monitors
        .iter()
        .zip(["rabbitmq-controller", "disk-controller"])
    {
        let (name, spec) = (monitor.name(), &monitor.value["spec"]);
        let deployment = deployments()
            .into_iter()
            .find(|one| one.name() == name)
            .expect("a Deployment");
        let deployed = &deployment.value["spec"];
        assert_eq!(spec["selector"], deployed["selector"], "{name}");
        let endpoint = &spec["podMetricsEndpoints"][0];
        assert_eq!(endpoint["path"], "/metrics");
        let ports = &container(&deployment.value)["ports"];
        assert!(
            list(ports)
                .iter()
                .any(|port| port["name"] == endpoint["port"]),
            "{name}"
        );
        let labels = &deployed["template"]["metadata"]["labels"];
        assert_eq!(labels[text(&spec["jobLabel"])], expected, "{name}");
    }
}

/// A Deployment with one replica can still be moved to another node (contract 1.11: upstream runs
/// one).
#[test]
fn disruption_budgets_let_nodes_be_drained() {
    let budgets = named("kubernetes/policies", "PodDisruptionBudget");
    assert_eq!(budgets.len(), 5);
    for budget in budgets {
        let deployment = deployments()
            .into_iter()
            .find(|one| one.name() == budget.name())
            .expect("a Deployment");
        let expected =
            json!({"maxUnavailable": 1, "selector": deployment.value["spec"]["selector"]});
        assert_eq!(budget.value["spec"], expected, "{}", budget.what());
    }
}

/// The ports for events are open from anywhere, no other is. Nothing is said of what goes out.
/// Probes come from the pod's own node, which is always let through (contract 1.8).
#[test]
fn network_policies_open_what_is_served() {
    let policies = named("kubernetes/policies", "NetworkPolicy");
    assert_eq!(policies.len(), deployments().len());
    for policy in policies {
        let (spec, (_, events)) = (&policy.value["spec"], ports_behind(&policy, policy.name()));
        let from_anywhere = Some(json!({"ports": events})).filter(|_| !events.is_empty());
        let ingress: Vec<Value> = from_anywhere.into_iter().collect();
        assert_eq!(spec["ingress"], json!(ingress), "{}", policy.what());
    }
}

/// Whoever wants metrics opens the admin port, to where Prometheus is.
#[test]
fn monitoring_opens_the_admin_port() {
    let policies = named("kubernetes/monitoring", "NetworkPolicy");
    assert_eq!(policies.len(), deployments().len());
    for policy in policies {
        let name = policy.name().trim_end_matches("-metrics");
        let (admin, _) = ports_behind(&policy, name);
        assert_eq!(admin.len(), 1, "{}", policy.what());
        let scrapers = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]);
        let ingress = json!([{"from": scrapers, "ports": admin}]);
        assert_eq!(
            policy.value["spec"]["ingress"],
            ingress,
            "{}",
            policy.what()
        );
    }
}

/// The admin port of the Deployment of this name, and its ports for events, as a policy for its
/// pods names them.
fn ports_behind(policy: &Object, name: &str) -> (Vec<Value>, Vec<Value>) {
    let deployment = deployments()
        .into_iter()
        .find(|one| one.name() == name)
        .expect("a Deployment");
    let spec = &policy.value["spec"];
    let selector = &deployment.value["spec"]["selector"];
    assert_eq!(spec["podSelector"], *selector, "{}", policy.what());
    assert_eq!(
        texts(&spec["policyTypes"]),
        ["Ingress"],
        "{}",
        policy.what()
    );
    let offered = list(&container(&deployment.value)["ports"]).iter();
    let (admin, events): (Vec<&Value>, Vec<&Value>) =
        offered.partition(|port| port["name"] == "metrics");
    let open = |port: &&Value| json!({"port": port["containerPort"], "protocol": "TCP"});
    (
        admin.iter().map(open).collect(),
        events.iter().map(open).collect(),
    )
}

/// Both ways of scaling are for the Deployment that shares its queues, and take its number of
/// replicas for themselves; a queue is never without a consumer.
#[test]
fn scaling_leaves_a_consumer() {
    let target = "sealpost-rabbitmq-dispatcher";
    let by_time = one("kubernetes/scaling", "HorizontalPodAutoscaler", target);
    let by_depth = one("kubernetes/scaling-keda", "ScaledObject", target);
    for spec in [&by_time["spec"], &by_depth["spec"]] {
        assert_eq!(spec["scaleTargetRef"]["name"], target);
    }
    let least = [
        &by_time["spec"]["minReplicas"],
        &by_depth["spec"]["minReplicaCount"],
    ];
    assert!(least.iter().all(|least| **least == 2), "{least:?}");
    for part in ["kubernetes/scaling", "kubernetes/scaling-keda"] {
        let patch = one(part, "Deployment", target);
        assert_eq!(patch["spec"], json!({"replicas": null}), "{part}");
    }
    // The pattern that docs/RABBITMQ.md gives for queues of subscriptions.
    let queues = text(&by_depth["spec"]["triggers"][0]["metadata"]["queueName"]);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RABBITMQ.md"))
        .expect("a page");
    assert!(page.contains(&format!("`{queues}`")), "{queues}");
}

/// A patch for every Deployment and StatefulSet of ours, to a class that is there.
#[test]
fn the_class_is_the_one_that_is_named() {
    let class = one("kubernetes/priority", "PriorityClass", "sealpost");
    for kind in ["Deployment", "StatefulSet"] {
        let patch = one("kubernetes/priority", kind, "any");
        let named = &patch["spec"]["template"]["spec"]["priorityClassName"];
        assert_eq!(*named, class["metadata"]["name"], "{kind}");
    }
    assert_eq!(class["globalDefault"], false);
}
