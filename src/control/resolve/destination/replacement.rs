//! What stands in for Knative's kinds that are not served here.

/// The remedy for an object of one of Knative's kinds that is not served here; `None` for kinds of
/// others.
pub(crate) fn replacement_remedy(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("sources.knative.dev", "SinkBinding" | "ContainerSource") => {
            Some("run its program by `sealpost exec --sink SINK -- COMMAND`")
        }
        ("sources.knative.dev", kind) if kind.ends_with("Source") => {
            Some("run its adapter by `sealpost exec --sink SINK -- COMMAND`")
        }
        ("messaging.knative.dev", kind) if kind.ends_with("Channel") => {
            Some("write Channel, InMemoryChannel, DiskChannel or RabbitmqChannel instead")
        }
        ("eventing.knative.dev" | "sinks.knative.dev", kind)
            if kind.ends_with("Sink") || kind == "EventTransform" =>
        {
            Some(
                "run it elsewhere, and say where by the annotation sealpost.dev/endpoint on \
                 its manifest, or by a uri",
            )
        }
        ("kustomize.config.k8s.io", _) => {
            Some("run with what `kustomize build` prints, as by -f -")
        }
        _ => None,
    }
}
