//! The ServiceAccounts that events are sent as (contract 7.1, 7.2).

use std::sync::Arc;

use super::SenderRules;
use crate::control::read::header::is_dns_name;
use crate::control::read::kind::ResourceKind;
use crate::control::read::report::ObjectReport;
use crate::control::resolve::senders::service_account::is_sender_account_name;
use crate::control::settings::ApiServerAvailability;
use crate::model::ServiceAccount;

impl SenderRules {
    /// The ServiceAccount as which the role `ingress` sends; `None` without OIDC.
    pub(crate) fn ingress_account(&self) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref().map(|_| Arc::clone(&self.ingress))
    }

    /// The ServiceAccount of a sender, by `status`, or without a cluster by name (contract 7.1).
    pub(crate) fn sender_account(
        &self,
        kind: ResourceKind,
        report: &mut ObjectReport<'_>,
    ) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref()?;
        let document = report.document();
        if let Some(name) = document.text(&["status", "auth", "serviceAccountName"]) {
            return self.sender_account_named(name, "status.auth.serviceAccountName", report);
        }
        self.generated_sender_account(kind, &report.object().namespace, &report.object().name)
    }

    /// The ServiceAccount that Knative would give an object; `None` in a cluster.
    pub(crate) fn generated_sender_account(
        &self,
        kind: ResourceKind,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<ServiceAccount>> {
        self.oidc
            .as_ref()
            .filter(|_| self.api_server == ApiServerAvailability::Missing)?;
        let group = kind.api_version().split('/').next().unwrap_or_default();
        let name = format!("{name}-oidc-{group}-{}", kind.as_str()).to_ascii_lowercase();
        Some(Arc::new(ServiceAccount {
            namespace: namespace.to_owned(),
            name,
        }))
    }

    /// The account of this name in the object's namespace (contract 7.2); `None` without OIDC.
    pub(crate) fn sender_account_named(
        &self,
        name: &str,
        field: &str,
        report: &mut ObjectReport<'_>,
    ) -> Option<Arc<ServiceAccount>> {
        self.oidc.as_ref()?;
        if !is_dns_name(name, 253) {
            report.error(field, format!("{name:?} is no name of a ServiceAccount"));
            return None;
        }
        if !is_sender_account_name(name) {
            let remedy = "leave it to Knative, which names it NAME-oidc-GROUP-KIND";
            report.error(
                field,
                format!(
                    "{name:?} is no ServiceAccount of a Subscription, Trigger or source: {remedy}"
                ),
            );
            return None;
        }
        Some(Arc::new(ServiceAccount {
            namespace: report.object().namespace.clone(),
            name: name.to_owned(),
        }))
    }
}
