//! Reads the level of logs from `config-logging` (contract 3.6).

use serde_json::Value;

use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::manifest::duck;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::CollectedItems;
use crate::control::settings::ControlSettings;
use crate::model::NamespacedName;

const ZAP: &str = "zap-logger-config";

/// The level that is asked for; the last one if the ConfigMap cannot be read, or is gone.
pub(crate) fn log_level(
    config_maps: &mut CollectedItems<'_, ConfigMapManifest>,
    settings: &ControlSettings,
    last: Option<&'static str>,
) -> Option<&'static str> {
    let logging = NamespacedName::new(&settings.system_namespace, &settings.config_logging);
    let Some(item) = config_maps.get_mut(&logging) else {
        return last;
    };
    let wanted = item.object.as_deref().or(item.partly.as_deref());
    let wanted =
        wanted.and_then(|config_map| written(config_map, settings, last, &mut item.report));
    if item.object.is_some() { wanted } else { last }
}

fn written(
    config_map: &ConfigMapManifest,
    settings: &ControlSettings,
    last: Option<&'static str>,
    report: &mut ObjectReport<'_>,
) -> Option<&'static str> {
    let component = format!("loglevel.{}", settings.task.log_component());
    let zap = duck::text(&config_map.data, ZAP).map(zap_level);
    match (duck::text(&config_map.data, &component), zap) {
        (Some(text), _) => parse_zap_level(text, &component, report).or(last),
        (None, Some(Ok(Some(text)))) => parse_zap_level(&text, ZAP, report).or(last),
        (None, Some(Ok(None)) | None) => Some("info"),
        (None, Some(Err(reason))) => {
            report.warning(
                &format!("data.{ZAP}"),
                format!("is no JSON, so that the level stays: {reason}"),
            );
            last
        }
    }
}

fn zap_level(text: &str) -> Result<Option<String>, String> {
    let parsed: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Ok(parsed
        .get("level")
        .and_then(Value::as_str)
        .map(str::to_owned))
}

/// Reads a level of zap; levels above `error` count as `error`.
fn parse_zap_level(text: &str, key: &str, report: &mut ObjectReport<'_>) -> Option<&'static str> {
    match text.trim().to_ascii_lowercase().as_str() {
        "debug" => Some("debug"),
        "info" | "" => Some("info"),
        "warn" | "warning" => Some("warn"),
        "error" | "dpanic" | "panic" | "fatal" => Some("error"),
        _ => {
            let rule = "is no level, so that the level stays: write debug, info, warn or error";
            report.warning(&format!("data.{key}"), format!("{text:?} {rule}"));
            None
        }
    }
}
