//! The inventory as it is at this moment: its objects, which are made with the configuration, and
//! over them the trouble of their queues when somebody asks.

use std::sync::Arc;

use super::object_trouble::trouble_of_object;
use super::status::StatusSource;
use crate::channel::metrics;
use crate::channel::trouble::TroubleReport;
use crate::filter::UndecidedReason;
use crate::model::{
    FilterErrors, InventoryObject, LiveStatus, ObjectKind, SubscriptionKey, SubscriptionKind,
};
use crate::scrub;

/// Returns the text of `/readyz` for a process that is ready: `ok`, and what it does not serve.
pub(super) fn readyz_text(remark: Option<String>) -> String {
    remark.map_or_else(
        || "ok\n".to_owned(),
        |remark| format!("ok; {}\n", scrub::text(&remark)),
    )
}

/// Returns every object of a kind, of one namespace if one is given, as a Kubernetes list.
pub(super) fn list_objects(
    view: &StatusSource,
    kind: ObjectKind,
    namespace: Option<&str>,
) -> String {
    let shown = Arc::clone(&view.served.borrow().resolution);
    let report = TroubleReport::collect(&shown.table, &*view.backends);
    let wanted = |object: &&Arc<InventoryObject>| {
        object.kind == kind && namespace.is_none_or(|namespace| object.namespace == namespace)
    };
    let json = |object: &Arc<InventoryObject>| {
        object.json_with_live_status(&LiveStatus {
            trouble: trouble_of_object(&report, object),
            filter_errors: filter_errors(view, object),
        })
    };
    let objects = shown.inventory.objects.iter().filter(wanted);
    let items: Vec<String> = objects.map(json).collect();
    format!(
        r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#,
        items.join(",")
    )
}

/// Returns the number of events that the filter of a Trigger did not decide, by reason.
fn filter_errors(view: &StatusSource, object: &InventoryObject) -> FilterErrors {
    if object.kind != ObjectKind::Trigger {
        return FilterErrors::default();
    }
    let key = SubscriptionKey::new(SubscriptionKind::Trigger, &object.namespace, &object.name);
    let series = metrics::subscription_series(&view.counters, &key);
    let of = |why| series.undecided_count(why);
    FilterErrors {
        expression: of(UndecidedReason::Expression),
        limit: of(UndecidedReason::Limit),
    }
}
