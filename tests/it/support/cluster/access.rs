//! Who may do what: the Roles and their bindings that the server holds.

use serde_json::Value;

use super::resource::Target;
use super::store::Store;

/// Who may do everything.
pub(crate) const ADMIN: &str = "admin";
/// Who has shown no token.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// Whether a user may do this.
pub(crate) fn may(store: &Store, user: &str, verb: &str, target: &Target) -> bool {
    user == ADMIN
        || rules(store, user, target)
            .iter()
            .any(|rule| allows(rule, verb, target))
}

/// Whether a user may get a path that is no resource.
pub(crate) fn may_get(user: &str, path: &str) -> bool {
    match path {
        "/version" => true,
        _ => user == ADMIN || user.starts_with("system:serviceaccount:"),
    }
}

fn rules(store: &Store, user: &str, target: &Target) -> Vec<Value> {
    let mut bindings = store.all("ClusterRoleBinding", "");
    if !target.namespace.is_empty() {
        bindings.extend(store.all("RoleBinding", &target.namespace));
    }
    let roles = bindings
        .iter()
        .filter(|binding| binds(binding, user))
        .filter_map(|binding| {
            let reference = &binding["roleRef"];
            let within = binding["metadata"]["namespace"]
                .as_str()
                .filter(|_| reference["kind"] == "Role");
            let roles = store.all(reference["kind"].as_str()?, within.unwrap_or_default());
            roles
                .into_iter()
                .find(|role| role["metadata"]["name"] == reference["name"])
        });
    roles
        .flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn binds(binding: &Value, user: &str) -> bool {
    binding["subjects"].as_array().is_some_and(|subjects| {
        subjects.iter().any(|subject| {
            let text = |field: &str| subject[field].as_str().unwrap_or_default();
            match text("kind") {
                "ServiceAccount" => {
                    user == format!(
                        "system:serviceaccount:{}:{}",
                        text("namespace"),
                        text("name")
                    )
                }
                _ => user == text("name"),
            }
        })
    })
}

fn allows(rule: &Value, verb: &str, target: &Target) -> bool {
    let resource = match target.subresource.as_str() {
        "" => target.resource.plural.to_owned(),
        subresource => format!("{}/{subresource}", target.resource.plural),
    };
    let has = |field: &str, wanted: &str| {
        rule[field]
            .as_array()
            .is_some_and(|values| values.iter().any(|value| value == wanted || value == "*"))
    };
    has("apiGroups", target.resource.group)
        && has("resources", &resource)
        && has("verbs", verb)
        && (rule["resourceNames"].is_null() || has("resourceNames", &target.name))
}
