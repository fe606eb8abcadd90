//! The budgets of namespaces, by name. A budget is there as long as a channel or a queue has it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::MemoryBudget;
use super::limit_set::{NamespaceLimit, NamespaceLimitSet};

/// The limits of namespaces, and the budgets of those that are in use.
#[derive(Debug)]
pub(super) struct NamespaceTable(Mutex<NamespaceEntries>);

#[derive(Debug, Default)]
struct NamespaceEntries {
    limits: NamespaceLimitSet,
    budgets: HashMap<Arc<str>, Weak<MemoryBudget>>,
}

impl NamespaceTable {
    pub(super) fn new(limits: NamespaceLimitSet) -> Self {
        Self(Mutex::new(NamespaceEntries {
            limits,
            ..NamespaceEntries::default()
        }))
    }

    fn lock(&self) -> MutexGuard<'_, NamespaceEntries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The budget of a namespace; it is made if nobody has it.
    pub(super) fn find_or_make(
        &self,
        namespace: &str,
        make: impl FnOnce(NamespaceLimit) -> Arc<MemoryBudget>,
    ) -> Arc<MemoryBudget> {
        let mut entries = self.lock();
        if let Some(budget) = entries.budgets.get(namespace).and_then(Weak::upgrade) {
            return budget;
        }
        let budget = make(entries.limits.of_namespace(namespace));
        // Namespaces that are gone are cleared away here, so that the table does not grow.
        entries.budgets.retain(|_, known| known.strong_count() > 0);
        let known = Arc::downgrade(&budget);
        entries.budgets.insert(namespace.into(), known);
        budget
    }

    /// Replaces the limits, and has them applied to each budget.
    pub(super) fn replace_limits(
        &self,
        limits: NamespaceLimitSet,
        apply: impl Fn(&MemoryBudget, NamespaceLimit),
    ) {
        self.lock().limits = limits;
        for (_, limit, budget) in self.entries() {
            apply(&budget, limit);
        }
    }

    /// The budgets that are in use, in the order of their names, each with its limits.
    pub(super) fn entries(&self) -> Vec<(Arc<str>, NamespaceLimit, Arc<MemoryBudget>)> {
        let entries = self.lock();
        let known = entries.budgets.iter();
        let mut found: Vec<_> = known
            .filter_map(|(name, budget)| {
                let limit = entries.limits.of_namespace(name);
                Some((Arc::clone(name), limit, budget.upgrade()?))
            })
            .collect();
        drop(entries);
        found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        found
    }
}
