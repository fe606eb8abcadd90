//! The flags of `config-features` that are about senders and `EventType`s (contract 3.2, 3.3, 3.12a).

use std::time::Duration;

use super::collect::Collected;
use super::features::Written;
use super::uri;
use crate::control::manifest::Document;
use crate::control::manifest::config::ConfigMap;
use crate::control::report::Report;
use crate::control::schema::CONFIG_FEATURES;
use crate::control::{ApiServer, Settings};
use crate::model::{AuthorizationMode, parse_duration};

const OIDC: &str = "authentication-oidc";
const AUTHORIZATION: &str = "default-authorization-mode";
const DISCOVERY: &str = "oidc-discovery-base-url";
const EVENT_TYPES: &str = "eventtype-auto-create";
const CROSS_NAMESPACE: &str = "cross-namespace-event-links";
const REPLY_TIMEOUT: &str = "requestreply-default-timeout";

/// Whether something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Switch {
    #[default]
    Off,
    On,
}

/// The flags as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// Whether senders prove who they are.
    pub(crate) oidc: Switch,
    pub(crate) authorization: AuthorizationMode,
    /// Whose tokens, if not those of the cluster.
    pub(crate) discovery: Option<String>,
    /// Whether `EventType`s are made of events.
    pub(crate) event_types: Switch,
    /// Whether a Trigger may name a Broker of another namespace, for the role `filter`.
    pub(crate) cross_namespace: Switch,
    /// How long requests to RequestReplies wait by default.
    pub(crate) reply_timeout: Option<Duration>,
}

/// The default of `oidc-discovery-base-url`: the API server.
const CLUSTER: &str = "https://kubernetes.default.svc";

/// The flags of `config-features`, else those until now, else the defaults.
pub(super) fn resolve(collected: &mut Collected<'_>, settings: &Settings, last: Option<&Flags>) -> Flags {
    let system_features = (settings.system_namespace.clone(), CONFIG_FEATURES.to_owned());
    let suspect = collected.suspects(CONFIG_FEATURES).first().copied();
    let Some(item) = collected.config_maps.get_mut(&system_features) else {
        return last.cloned().or_else(|| suspect.map(unread)).unwrap_or_default();
    };
    match &item.object {
        Some(config_map) => written(config_map, (settings, last), &mut item.report),
        None => {
            if let Some(config_map) = &item.partly {
                written(config_map, (settings, last), &mut item.report);
            }
            last.cloned().unwrap_or_else(|| unread(item.report.document()))
        }
    }
}

/// The flags of a ConfigMap that is not understood as a whole: what could be about one lets nothing pass.
fn unread(document: &Document) -> Flags {
    let oidc = match Written::of(document, OIDC) {
        Written::Text(text) if text.eq_ignore_ascii_case("disabled") => Switch::Off,
        Written::Text(_) | Written::Unclear => Switch::On,
        Written::Nothing => Switch::Off,
    };
    let authorization = match Written::of(document, AUTHORIZATION) {
        Written::Text(text) => AuthorizationMode::parse(text).unwrap_or(AuthorizationMode::DenyAll),
        Written::Unclear => AuthorizationMode::DenyAll,
        Written::Nothing => AuthorizationMode::default(),
    };
    let discovery = match Written::of(document, DISCOVERY) {
        Written::Text(url) => issuer(url),
        Written::Unclear | Written::Nothing => None,
    };
    let (event_types, cross_namespace, reply_timeout) = (Switch::Off, Switch::Off, None);
    Flags { oidc, authorization, discovery, event_types, cross_namespace, reply_timeout }
}

/// An issuer that is another one than the cluster.
fn issuer(url: &str) -> Option<String> {
    let url = url.trim();
    let bare = url.trim_end_matches('/');
    (!bare.is_empty() && bare != CLUSTER).then(|| url.to_owned())
}

fn written(config_map: &ConfigMap, (settings, last): (&Settings, Option<&Flags>), report: &mut Report<'_>) -> Flags {
    let flags = Flags {
        oidc: switch(config_map, (OIDC, last.map_or(Switch::On, |last| last.oidc)), report),
        authorization: authorization(config_map, report),
        discovery: value(config_map, DISCOVERY).and_then(|(_, url)| issuer(url)),
        event_types: switch(config_map, (EVENT_TYPES, Switch::Off), report),
        cross_namespace: switch(config_map, (CROSS_NAMESPACE, Switch::Off), report),
        reply_timeout: reply_timeout(config_map, last, report),
    };
    if flags.oidc == Switch::On {
        check_discovery(config_map, &flags, report);
    }
    if settings.api_server == ApiServer::Missing {
        without_cluster(&flags, report);
    }
    flags
}

/// The key as written, and the value, of a flag.
fn value<'c>(config_map: &'c ConfigMap, flag: &str) -> Option<(&'c str, &'c str)> {
    let (key, value) = config_map.data.iter().flatten().find(|(key, _)| key.trim() == flag)?;
    Some((key, value.as_deref().unwrap_or_default()))
}

/// What is neither `enabled` nor `disabled` is what lets less pass, though upstream takes it for `disabled`.
fn switch(config_map: &ConfigMap, (flag, safe): (&str, Switch), report: &mut Report<'_>) -> Switch {
    match value(config_map, flag) {
        Some((_, text)) if text.eq_ignore_ascii_case("enabled") => Switch::On,
        Some((key, text)) if !text.eq_ignore_ascii_case("disabled") => {
            let counts = if safe == Switch::On { "enabled" } else { "disabled" };
            let rule = format!("is neither enabled nor disabled, and counts as {counts} until it is");
            report.error(&format!("data.{key}"), format!("{text:?} {rule}"));
            safe
        }
        Some(_) | None => Switch::Off,
    }
}

/// One that is not understood is that until now.
fn reply_timeout(config_map: &ConfigMap, last: Option<&Flags>, report: &mut Report<'_>) -> Option<Duration> {
    let (key, text) = value(config_map, REPLY_TIMEOUT)?;
    let remedy = match parse_duration(text) {
        Ok(timeout) if !timeout.is_zero() => return Some(timeout),
        Ok(_zero) => "is zero, so that no reply could come in time: write for example PT30S",
        Err(remedy) => remedy,
    };
    report.error(&format!("data.{key}"), format!("{text:?} {remedy}"));
    last.and_then(|last| last.reply_timeout)
}

/// A mode that is none closes (unlike contract 3.3).
fn authorization(config_map: &ConfigMap, report: &mut Report<'_>) -> AuthorizationMode {
    let Some((key, text)) = value(config_map, AUTHORIZATION) else { return AuthorizationMode::default() };
    AuthorizationMode::parse(text).unwrap_or_else(|| {
        let rule = "is no mode, so that nobody may send where no EventPolicy is: write allow-same-namespace, allow-all or deny-all";
        report.error(&format!("data.{key}"), format!("{text:?} {rule}"));
        AuthorizationMode::DenyAll
    })
}

/// Reports an issuer that cannot be asked, or that anybody could speak for.
fn check_discovery(config_map: &ConfigMap, flags: &Flags, report: &mut Report<'_>) {
    let (Some((key, _)), Some(url)) = (value(config_map, DISCOVERY), &flags.discovery) else { return };
    let field = format!("data.{key}");
    match uri::absolute(url) {
        Err(message) => report.error(&field, format!("{message}; until then every request is refused")),
        Ok(url) if url.scheme() == "http" => {
            report.warning(
                &field,
                "is asked in the clear, so that whoever is on the way decides who is believed: write https",
            );
        }
        Ok(_) => {}
    }
}

/// What cannot work where there is no API server.
fn without_cluster(flags: &Flags, report: &mut Report<'_>) {
    if flags.oidc == Switch::On && flags.discovery.is_none() {
        let rule = "asks for tokens of a cluster, and there is none to verify them, so that every request is refused: write disabled, or the issuer in oidc-discovery-base-url";
        report.error(&format!("data.{OIDC}"), rule);
    } else if flags.oidc == Switch::On {
        let rule = "has tokens verified, but there is no cluster to have any of: what goes to destinations with an audience fails";
        report.warning(&format!("data.{OIDC}"), rule);
    }
    if flags.event_types == Switch::On {
        report.note(&format!("data.{EVENT_TYPES}"), "has no effect, since there is no cluster to make EventTypes in");
    }
}
