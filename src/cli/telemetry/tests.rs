//! The settings that flags, variables and the ConfigMap have together.

use clap::Parser;

use super::*;
use crate::cli::{Cli, CliCommand};
use crate::model::ExporterEndpoint;

fn options(arguments: &[&str]) -> RunOptions {
    let cli = Cli::parse_from([&["sealpost", "run", "-f", "x"], arguments].concat());
    let CliCommand::Run(options) = cli.command else {
        panic!("run")
    };
    *options
}

fn settings(
    arguments: &[&str],
    variables: &[(&str, &str)],
    configured: &ObservabilityConfig,
) -> Result<OtlpSettings, String> {
    let variable = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    options(arguments).telemetry_settings_from(configured, &variable)
}

fn config_map(protocol: &str, endpoint: &str, rate: Option<f64>) -> ObservabilityConfig {
    let export = ExporterEndpoint {
        protocol: protocol.to_owned(),
        endpoint: endpoint.to_owned(),
    };
    ObservabilityConfig {
        traces: Some(export),
        sampling_rate: rate,
        ..ObservabilityConfig::default()
    }
}

fn traces(
    arguments: &[&str],
    variables: &[(&str, &str)],
    configured: &ObservabilityConfig,
) -> Option<TraceExport> {
    settings(arguments, variables, configured)
        .expect("settings")
        .traces
}

#[test]
fn nothing_leaves_unless_it_is_said_where() {
    let settings = settings(&[], &[], &ObservabilityConfig::default()).expect("settings");
    assert_eq!((settings.traces, settings.metrics), (None, None));
}

/// Contract OB-3, OB-15.
#[test]
fn flags_go_before_variables_and_those_before_the_config_map() {
    let none = ObservabilityConfig::default();
    let flag = ["--tracing-endpoint", "http://flag:4318"];
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318/x");
    let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://common:4318/base/");
    let map = config_map("http/protobuf", "map:4318", Some(0.5));
    for (arguments, variables, configured, url) in [
        (
            &flag[..],
            &[own, common][..],
            &map,
            "http://flag:4318/v1/traces",
        ),
        (&[], &[own, common], &map, "http://own:4318/x"),
        (&[], &[common], &map, "http://common:4318/base/v1/traces"),
        (&[], &[], &map, "https://map:4318/v1/traces"),
        (&[], &[common], &none, "http://common:4318/base/v1/traces"),
    ] {
        assert_eq!(
            traces(arguments, variables, configured)
                .expect("traces")
                .endpoint
                .url
                .as_str(),
            url
        );
    }
    let grpc = config_map("grpc", "http://map:4317", None);
    let settings = traces(&[], &[], &grpc).expect("traces");
    assert_eq!(
        (settings.endpoint.url.as_str(), settings.sampler),
        ("http://map:4317/", Sampler::AlwaysOff),
        "contract OB-1"
    );
    for (arguments, variables, sampler) in [
        (
            &["--tracing-sampling-rate", "0.25"][..],
            &[("OTEL_TRACES_SAMPLER", "always_off")][..],
            Sampler::ParentBased(0.25),
        ),
        (
            &[],
            &[
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
            ],
            Sampler::TraceIdRatio(0.1),
        ),
        (&[], &[], Sampler::ParentBased(0.5)),
    ] {
        assert_eq!(
            traces(arguments, variables, &map).expect("traces").sampler,
            sampler
        );
    }
    assert_eq!(
        traces(&flag, &[], &none).expect("traces").sampler,
        Sampler::ParentBased(1.0)
    );
    assert_eq!(
        traces(&[], &[common, ("OTEL_TRACES_EXPORTER", "none")], &none),
        None
    );
    assert_eq!(traces(&flag, &[("OTEL_SDK_DISABLED", "true")], &none), None);
}

/// What a header holds is a secret: it is sent, and shown nowhere.
#[test]
fn headers_are_secrets() {
    let variables = [
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "http://user:hidden@common:4318/hidden",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Basic%20hidden,x-tenant=hidden",
        ),
    ];
    let settings = settings(&[], &variables, &ObservabilityConfig::default()).expect("settings");
    let endpoint = &settings.traces.as_ref().expect("traces").endpoint;
    assert_eq!(
        endpoint.headers.get("authorization").expect("a header"),
        "Basic hidden"
    );
    assert!(!format!("{settings:?}").contains("hidden"), "{settings:?}");
    assert!(!endpoint.origin().contains("hidden"));
}

#[test]
fn what_cannot_be_used_is_named() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://secret@x"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "bad name=secret"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
    ] {
        let base = [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x"),
            ("OTEL_TRACES_SAMPLER_ARG", "1"),
        ];
        let variables = [&[(name, value)], &base[..]].concat();
        let error = settings(&[], &variables, &ObservabilityConfig::default()).expect_err(name);
        assert!(!error.contains("secret"), "{error}");
    }
}

/// Contract OB-5.
#[test]
fn who_sends() {
    let variables = [
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=x"),
        ("OTEL_SERVICE_NAME", "y"),
    ];
    let resource = settings(&[], &variables, &ObservabilityConfig::default())
        .expect("settings")
        .resource;
    let of = |key: &str| {
        resource
            .iter()
            .filter(|(known, _)| known.as_str() == key)
            .map(|(_, value)| value.as_str().into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (of("service.name"), of("a"), of("service.version").len()),
        (vec!["y".to_owned()], vec!["b".to_owned()], 1)
    );
    let again = settings(&[], &variables, &ObservabilityConfig::default())
        .expect("settings")
        .resource;
    assert_eq!(
        (of("service.instance.id").len(), &again),
        (1, &resource),
        "one for the process"
    );
    let variables = [("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=mine")];
    let resource = settings(&[], &variables, &ObservabilityConfig::default())
        .expect("settings")
        .resource;
    let ids = resource
        .iter()
        .filter(|(key, _)| key.as_str() == "service.instance.id")
        .map(|(_, value)| value.as_str());
    assert_eq!(ids.collect::<Vec<_>>(), ["mine"]);
}
