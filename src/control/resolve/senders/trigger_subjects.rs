//! Who may send events for a Trigger to the role `filter` (contract AU-13).

use std::collections::HashMap;

use serde_json::Value;

use crate::control::resolve::collect::{CollectedItem, CollectedObjects};
use crate::model::{NamespacedName, ServiceAccount};

/// The subjects of the Triggers' Subscriptions, by the Trigger's uid; `None` for one without.
#[derive(Debug, Default)]
pub(crate) struct TriggerSubjects(pub(super) HashMap<String, Option<String>>);

impl TriggerSubjects {
    /// Reads the subjects of all collected Subscriptions.
    pub(crate) fn from_collected(collected: &CollectedObjects<'_>) -> Self {
        let mut subscribers = HashMap::new();
        for (NamespacedName { namespace, .. }, CollectedItem { report, .. }) in
            &collected.subscriptions
        {
            let metadata = report.document().value.get("metadata");
            let owners = metadata.and_then(|metadata| metadata.get("ownerReferences")?.as_array());
            let is_trigger =
                |owner: &&Value| owner.get("kind").is_some_and(|kind| kind == "Trigger");
            let trigger = owners
                .into_iter()
                .flatten()
                .find(is_trigger)
                .and_then(|owner| owner.get("uid")?.as_str());
            if let Some(trigger) = trigger {
                let name = report
                    .document()
                    .text(&["status", "auth", "serviceAccountName"]);
                let account = name.map(|name| {
                    ServiceAccount {
                        namespace: namespace.clone(),
                        name: name.to_owned(),
                    }
                    .to_string()
                });
                subscribers.insert(trigger.to_owned(), account);
            }
        }
        Self(subscribers)
    }
}
