//! Resolves the keys of correlation ids: from Secrets of the system namespace, or derived from a
//! seed for RequestReplies that have none there, as upstream's controller creates them
//! (`pkg/reconciler/requestreply`).

use super::trust;
use crate::control::read::manifest::core::SecretManifest;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::collect::{CollectedItem, CollectedItems, CollectedObjects};
use crate::control::settings::ControlSettings;
use crate::correlation::{CorrelationKey, KeyHolder, KeyRing, KeyRingEntry, SECRET};
use crate::filter::cesql::{CesqlExpression, ExpressionNode};
use crate::model::NamespacedName;

/// The name of the key that is derived for a RequestReply, which is that of upstream's first key.
const DERIVED_KEY: &str = "key-0";

/// Collects the keys of all Secrets and RequestReplies.
pub(crate) fn resolve_key_ring(
    collected: &mut CollectedObjects<'_>,
    settings: &ControlSettings,
) -> KeyRing {
    let mut ring = KeyRing::default();
    let CollectedObjects {
        secrets,
        request_replies,
        ..
    } = collected;
    for (NamespacedName { namespace, name }, item) in secrets.iter_mut() {
        if *namespace == settings.system_namespace {
            read_secret_keys(name, item, &mut ring);
        }
    }
    if settings.task.serves_manifests() {
        derive_missing_keys(request_replies.keys(), secrets, settings, &mut ring);
    }
    ring
}

/// Reads the entries of a Secret that are named like keys; other entries have another meaning.
fn read_secret_keys(name: &str, item: &mut CollectedItem<'_, SecretManifest>, ring: &mut KeyRing) {
    let CollectedItem {
        object,
        partly,
        report,
    } = item;
    ring.add_secret(name);
    let Some(secret) = object.as_ref().or(partly.as_ref()) else {
        return;
    };
    for (entry, field, bytes) in key_entries(secret) {
        let key = match bytes {
            Some(bytes) => CorrelationKey::new(&bytes).ok_or_else(|| {
                format!(
                    "has {} bytes, and a key of AES has 16, 24 or 32: make one by head -c 32 \
                     /dev/urandom",
                    bytes.len()
                )
            }),
            None => Err(
                "is not base64: encode the key, or write it as it is into stringData".to_owned(),
            ),
        };
        match key {
            Ok(key) if object.is_some() => ring.add_key(name, entry, key),
            Ok(_unused) => {}
            Err(message) => report.error(&field, message),
        }
    }
}

/// The entries that are named like keys: their names, their fields, and their bytes, which are
/// `None` if they are not base64. If an entry stands in both maps, `stringData` counts, as in
/// Kubernetes.
fn key_entries(secret: &SecretManifest) -> Vec<(KeyRingEntry, String, Option<Vec<u8>>)> {
    let is_over = |key: &String| {
        secret
            .string_data
            .as_ref()
            .is_some_and(|texts| texts.contains_key(key))
    };
    let encoded = secret
        .data
        .iter()
        .flatten()
        .filter(|(key, _)| !is_over(key));
    let encoded = encoded.filter_map(|(key, value)| {
        let bytes = trust::decode_base64(value.as_deref().unwrap_or_default());
        Some((KeyRingEntry::parse(key)?, format!("data.{key}"), bytes))
    });
    let plain = secret
        .string_data
        .iter()
        .flatten()
        .filter_map(|(key, value)| {
            let bytes = value.as_deref().unwrap_or_default().as_bytes().to_vec();
            Some((
                KeyRingEntry::parse(key)?,
                format!("stringData.{key}"),
                Some(bytes),
            ))
        });
    encoded.chain(plain).collect()
}

/// Derives a key for each RequestReply that the Secret has no entry for. A RequestReply whose
/// entries cannot be used gets none: its author wants other keys.
fn derive_missing_keys<'n>(
    request_replies: impl Iterator<Item = &'n NamespacedName>,
    secrets: &CollectedItems<'_, SecretManifest>,
    settings: &ControlSettings,
    ring: &mut KeyRing,
) {
    let secret = secrets.get(&NamespacedName::new(&settings.system_namespace, SECRET));
    let is_unread = secret.is_some_and(|item| item.object.is_none());
    let written = secret
        .and_then(|item| item.object.as_deref())
        .map(key_entries)
        .unwrap_or_default();
    for NamespacedName { namespace, name } in request_replies {
        let has_entry = written
            .iter()
            .any(|(entry, ..)| entry.namespace == *namespace && entry.name == *name);
        let made = settings
            .key_seed
            .as_ref()
            .filter(|_| !has_entry && !is_unread);
        if let Some(key) = made.and_then(|seed| seed.derive_key(namespace, name)) {
            let entry = KeyRingEntry {
                namespace: namespace.clone(),
                name: name.clone(),
                key: DERIVED_KEY.to_owned(),
            };
            ring.add_key(SECRET, entry, key);
        }
    }
}

/// Reports calls of `KN_VERIFY_CORRELATION_ID` for which no id can be genuine, since there is no
/// key.
pub(crate) fn check_verification_calls(
    expression: &CesqlExpression,
    keys: &KeyRing,
    field: &str,
    report: &mut ObjectReport<'_>,
) {
    for arguments in expression.correlation_calls() {
        let [_id, name, namespace, secret, ..] = arguments else {
            continue;
        };
        let ExpressionNode::String(secret) = secret else {
            continue;
        };
        let system = "of the system namespace";
        let message = match (keys.has_secret(secret), namespace, name) {
            (false, ..) => {
                let remedy = "so that no correlation id is genuine: add its manifest, or the \
                     RequestReply, or correct the name";
                format!("needs the Secret {secret} {system}, which is not there, {remedy}")
            }
            (true, ExpressionNode::String(namespace), ExpressionNode::String(name)) => {
                let holder = KeyHolder {
                    secret,
                    namespace,
                    name,
                };
                if keys.keys(holder).next().is_some() {
                    continue;
                }
                let remedy =
                    "so that no correlation id is genuine: add one, or correct namespace and name";
                format!(
                    "finds no key {namespace}.{name}.… in the Secret {secret} {system}, {remedy}"
                )
            }
            _ => continue,
        };
        // In a cluster, the Secret may come later; until then no event passes.
        match report.document().origin.is_some() {
            true => report.unresolved_reference(field, message),
            false => report.warning(field, message),
        }
    }
}
