//! Reads the flags of `config-features` that are about senders, `EventType`s and RequestReplies
//! (contract 3.2, 3.3, 3.12a).

use std::time::Duration;

use super::features::{WrittenFlag, kept_flag_problem};
use crate::control::read::document::ManifestDocument;
use crate::control::read::manifest::core::ConfigMapManifest;
use crate::control::read::report::ObjectReport;
use crate::control::read::schema::config_maps::CONFIG_FEATURES;
use crate::control::resolve::collect::CollectedObjects;
use crate::control::resolve::destination::uri;
use crate::control::settings::{ApiServerAvailability, ControlSettings};
use crate::model::{AuthorizationMode, NamespacedName, parse_duration};

const OIDC: &str = "authentication-oidc";
const AUTHORIZATION: &str = "default-authorization-mode";
const DISCOVERY: &str = "oidc-discovery-base-url";
const EVENT_TYPES: &str = "eventtype-auto-create";
const CROSS_NAMESPACE: &str = "cross-namespace-event-links";
const REPLY_TIMEOUT: &str = "requestreply-default-timeout";

/// The state of a feature that is on or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FeatureSwitch {
    /// The feature is off, which is the default.
    #[default]
    Off,
    /// The feature is on.
    On,
}

/// The flags as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeatureFlags {
    /// On if senders must show tokens.
    pub(crate) oidc: FeatureSwitch,
    /// The rule for channels that no policy applies to.
    pub(crate) authorization: AuthorizationMode,
    /// The URL of the issuer, if it is not the cluster.
    pub(crate) discovery: Option<String>,
    /// On if `EventType`s are created for the types of events that are seen.
    pub(crate) event_types: FeatureSwitch,
    /// On if a Trigger may name a Broker of another namespace, for the role `filter`.
    pub(crate) cross_namespace: FeatureSwitch,
    /// The time that requests to RequestReplies wait by default; `None` leaves it to the program.
    pub(crate) reply_timeout: Option<Duration>,
}

/// The default of `oidc-discovery-base-url`: the API server.
const CLUSTER: &str = "https://kubernetes.default.svc";

/// The flags of `config-features`, else the last ones, else the defaults.
pub(crate) fn resolve(
    collected: &mut CollectedObjects<'_>,
    settings: &ControlSettings,
    last: Option<&FeatureFlags>,
) -> FeatureFlags {
    let system_features = NamespacedName::new(&settings.system_namespace, CONFIG_FEATURES);
    let suspect = collected
        .unidentified_with_word(CONFIG_FEATURES)
        .first()
        .copied();
    let Some(item) = collected.config_maps.get_mut(&system_features) else {
        let kept = last.into_iter().flat_map(closing_flags);
        let kept =
            kept.map(|(flag, value)| kept_flag_problem(flag, value, system_features.clone()));
        collected.problems.extend(kept);
        return last
            .cloned()
            .or_else(|| suspect.map(safe_flags))
            .unwrap_or_default();
    };
    match &item.object {
        Some(config_map) => read_flags(config_map, settings, last, &mut item.report),
        None => {
            if let Some(config_map) = &item.partly {
                read_flags(config_map, settings, last, &mut item.report);
            }
            last.cloned()
                .unwrap_or_else(|| safe_flags(item.report.document()))
        }
    }
}

/// The flags about senders that are not what they are by default.
fn closing_flags(flags: &FeatureFlags) -> impl Iterator<Item = (&'static str, &'static str)> {
    let oidc = (flags.oidc == FeatureSwitch::On).then_some((OIDC, "enabled"));
    let authorization = (flags.authorization != AuthorizationMode::default())
        .then_some((AUTHORIZATION, flags.authorization.as_str()));
    oidc.into_iter().chain(authorization)
}

/// The flags of a ConfigMap that is not understood as a whole: a flag that may be written in it
/// takes the value that lets nothing pass.
fn safe_flags(document: &ManifestDocument) -> FeatureFlags {
    let oidc = match WrittenFlag::find_flag(document, OIDC) {
        WrittenFlag::Text(text) if text.eq_ignore_ascii_case("disabled") => FeatureSwitch::Off,
        WrittenFlag::Text(_) | WrittenFlag::Unclear => FeatureSwitch::On,
        WrittenFlag::Absent => FeatureSwitch::Off,
    };
    let authorization = match WrittenFlag::find_flag(document, AUTHORIZATION) {
        WrittenFlag::Text(text) => {
            AuthorizationMode::parse(text).unwrap_or(AuthorizationMode::DenyAll)
        }
        WrittenFlag::Unclear => AuthorizationMode::DenyAll,
        WrittenFlag::Absent => AuthorizationMode::default(),
    };
    let discovery = match WrittenFlag::find_flag(document, DISCOVERY) {
        WrittenFlag::Text(url) => foreign_issuer(url),
        WrittenFlag::Unclear | WrittenFlag::Absent => None,
    };
    let (event_types, cross_namespace, reply_timeout) =
        (FeatureSwitch::Off, FeatureSwitch::Off, None);
    FeatureFlags {
        oidc,
        authorization,
        discovery,
        event_types,
        cross_namespace,
        reply_timeout,
    }
}

/// The URL of an issuer, if it is another one than the cluster.
fn foreign_issuer(url: &str) -> Option<String> {
    let url = url.trim();
    let bare = url.trim_end_matches('/');
    (!bare.is_empty() && bare != CLUSTER).then(|| url.to_owned())
}

fn read_flags(
    config_map: &ConfigMapManifest,
    settings: &ControlSettings,
    last: Option<&FeatureFlags>,
    report: &mut ObjectReport<'_>,
) -> FeatureFlags {
    let flags = FeatureFlags {
        oidc: read_switch(
            config_map,
            OIDC,
            last.map_or(FeatureSwitch::On, |last| last.oidc),
            report,
        ),
        authorization: read_authorization_mode(config_map, report),
        discovery: flag_value(config_map, DISCOVERY).and_then(|(_, url)| foreign_issuer(url)),
        event_types: read_switch(config_map, EVENT_TYPES, FeatureSwitch::Off, report),
        cross_namespace: read_switch(config_map, CROSS_NAMESPACE, FeatureSwitch::Off, report),
        reply_timeout: read_reply_timeout(config_map, last, report),
    };
    if flags.oidc == FeatureSwitch::On {
        check_discovery(config_map, &flags, report);
    }
    if settings.api_server == ApiServerAvailability::Missing {
        check_without_cluster(&flags, report);
    }
    flags
}

/// The key of a flag as it is written, and its value.
fn flag_value<'c>(config_map: &'c ConfigMapManifest, flag: &str) -> Option<(&'c str, &'c str)> {
    let (key, value) = config_map
        .data
        .iter()
        .flatten()
        .find(|(key, _)| key.trim() == flag)?;
    Some((key, value.as_deref().unwrap_or_default()))
}

/// Reads a flag that is `enabled` or `disabled`. Any other value counts as `safe`, the one that
/// lets less pass, though upstream takes it for `disabled`.
fn read_switch(
    config_map: &ConfigMapManifest,
    flag: &str,
    safe: FeatureSwitch,
    report: &mut ObjectReport<'_>,
) -> FeatureSwitch {
    match flag_value(config_map, flag) {
        Some((_, text)) if text.eq_ignore_ascii_case("enabled") => FeatureSwitch::On,
        Some((key, text)) if !text.eq_ignore_ascii_case("disabled") => {
            let counts = if safe == FeatureSwitch::On {
                "enabled"
            } else {
                "disabled"
            };
            let rule =
                format!("is neither enabled nor disabled, and counts as {counts} until it is");
            report.error(&format!("data.{key}"), format!("{text:?} {rule}"));
            safe
        }
        Some(_) | None => FeatureSwitch::Off,
    }
}

/// Reads the time that requests wait; a value that is not understood counts as the last one.
fn read_reply_timeout(
    config_map: &ConfigMapManifest,
    last: Option<&FeatureFlags>,
    report: &mut ObjectReport<'_>,
) -> Option<Duration> {
    let (key, text) = flag_value(config_map, REPLY_TIMEOUT)?;
    let remedy = match parse_duration(text) {
        Ok(timeout) if !timeout.is_zero() => return Some(timeout),
        Ok(_zero) => "is zero, so that no reply could come in time: write for example PT30S",
        Err(remedy) => remedy,
    };
    report.error(&format!("data.{key}"), format!("{text:?} {remedy}"));
    last.and_then(|last| last.reply_timeout)
}

/// Reads the authorization mode; a value that is no mode lets nobody send (unlike contract 3.3).
fn read_authorization_mode(
    config_map: &ConfigMapManifest,
    report: &mut ObjectReport<'_>,
) -> AuthorizationMode {
    let Some((key, text)) = flag_value(config_map, AUTHORIZATION) else {
        return AuthorizationMode::default();
    };
    AuthorizationMode::parse(text).unwrap_or_else(|| {
        let rule = "is no mode, so that nobody may send where no EventPolicy is: write \
             allow-same-namespace, allow-all or deny-all";
        report.error(&format!("data.{key}"), format!("{text:?} {rule}"));
        AuthorizationMode::DenyAll
    })
}

/// Reports an issuer that cannot be asked, or that anybody on the way could speak for.
fn check_discovery(
    config_map: &ConfigMapManifest,
    flags: &FeatureFlags,
    report: &mut ObjectReport<'_>,
) {
    let (Some((key, _)), Some(url)) = (flag_value(config_map, DISCOVERY), &flags.discovery) else {
        return;
    };
    let field = format!("data.{key}");
    match uri::parse_absolute_url(url) {
        Err(message) => report.error(
            &field,
            format!("{message}; until then every request is refused"),
        ),
        Ok(url) if url.scheme() == "http" => {
            report.warning(
                &field,
                "is asked in the clear, so that whoever is on the way decides who is \
                 believed: write https",
            );
        }
        Ok(_) => {}
    }
}

/// Reports flags that cannot work without an API server.
fn check_without_cluster(flags: &FeatureFlags, report: &mut ObjectReport<'_>) {
    if flags.oidc == FeatureSwitch::On && flags.discovery.is_none() {
        let rule = "asks for tokens of a cluster, and there is none to verify them, so that every \
             request is refused: write disabled, or the issuer in oidc-discovery-base-url";
        report.error(&format!("data.{OIDC}"), rule);
    } else if flags.oidc == FeatureSwitch::On {
        let rule = "has tokens verified, but there is no cluster to have any of: what goes to \
             destinations with an audience fails";
        report.warning(&format!("data.{OIDC}"), rule);
    }
    if flags.event_types == FeatureSwitch::On {
        report.note(
            &format!("data.{EVENT_TYPES}"),
            "has no effect, since there is no cluster to make EventTypes in",
        );
    }
}
