//! Inventory objects and their conditions, whoever has resolved them: as Knative would show them
//! (contract 2.4, 4, 5.3).

use std::sync::Arc;

use crate::control::read::report::{ObjectReport, UNRESOLVED};
use crate::model::{
    Addressable, ChannelKey, InventoryObject, NamespacedName, NotReadyReason, ObjectConditions,
    ObjectKind, ObjectStatus, SubscriberId,
};

/// The conditions of an object, and the rest of its status.
pub(super) struct ResolvedStatus {
    pub(super) conditions: ObjectConditions,
    pub(super) status: ObjectStatus,
}

/// The text that is added to the message of an object which is served in its last good form.
pub(super) const KEPT: &str = " (its last good form is still served)";

/// A Broker or Trigger that a role relays: ready if the address of its events is known.
pub(super) fn relayed_object(
    kind: ObjectKind,
    name: &NamespacedName,
    report: &ObjectReport<'_>,
    way: Option<&Addressable>,
) -> InventoryObject {
    let mut conditions = object_conditions(&[], way, report);
    if way.is_none() && !report.has_errors() {
        let message = "its status in the cluster does not say yet where its events go".to_owned();
        conditions.not_ready = Some(Box::new(NotReadyReason {
            status: "Unknown",
            reason: UNRESOLVED,
            message,
        }));
    }
    inventory_object(
        kind,
        name,
        report,
        ResolvedStatus {
            conditions,
            status: ObjectStatus::ConditionsOnly,
        },
    )
}

/// A channel of a cluster: its addresses are those that the cluster gave it, the rest is its state
/// in this process. `subscribers` are those that it is served with; `None` if it is not served.
pub(super) fn reconciled_object(
    key: &ChannelKey,
    report: &ObjectReport<'_>,
    subscribers: Option<&[String]>,
) -> Arc<InventoryObject> {
    let conditions = object_conditions(&["Addressable"], subscribers, report);
    let uid = |uid: &String| SubscriberId::Uid(uid.as_str().into());
    let status = ObjectStatus::ReconciledChannel(
        subscribers.map(|subscribers| subscribers.iter().map(uid).collect()),
    );
    let name = NamespacedName::new(&key.namespace, &key.name);
    Arc::new(inventory_object(
        ObjectKind::Channel,
        &name,
        report,
        ResolvedStatus { conditions, status },
    ))
}

pub(super) fn inventory_object(
    kind: ObjectKind,
    name: &NamespacedName,
    report: &ObjectReport<'_>,
    resolved: ResolvedStatus,
) -> InventoryObject {
    InventoryObject {
        kind,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        manifest: Arc::clone(&report.document().value),
        conditions: resolved.conditions,
        status: resolved.status,
    }
}

/// The condition `Ready` and its parts; `served` is the form that the object is served in. An
/// object that is served in its last good form is not ready, though its parts are.
pub(super) fn object_conditions<T: ?Sized>(
    parts: &'static [&'static str],
    served: Option<&T>,
    report: &ObjectReport<'_>,
) -> ObjectConditions {
    let served = served.is_some();
    let unready = match (report.first_error(), served) {
        (None, true) => report
            .not_served_reason()
            .map(|message| ("False", "LeftAlone", message.to_owned())),
        (None, false) => Some((
            "Unknown",
            "LeftAlone",
            "It belongs to another implementation".to_owned(),
        )),
        (Some(error), true) if report.has_errors() => {
            Some(("False", error.reason, error.message + KEPT))
        }
        (Some(error), _) => Some(("False", error.reason, error.message)),
    };
    let unready = unready.map(|(status, reason, message)| {
        Box::new(NotReadyReason {
            status,
            reason,
            message,
        })
    });
    ObjectConditions {
        parts,
        served,
        not_ready: unready,
        failed_part: None,
    }
}
