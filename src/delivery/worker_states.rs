//! Every worker state that is in use, for the admin port. It is locked when the configuration
//! changes and when somebody asks, never for an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::worker_state::SubscriptionWorkerState;
use crate::model::SubscriptionKey;

/// Worker states by subscription. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SubscriptionWorkerStates(
    Arc<Mutex<HashMap<SubscriptionKey, Arc<SubscriptionWorkerState>>>>,
);

impl SubscriptionWorkerStates {
    fn lock(&self) -> MutexGuard<'_, HashMap<SubscriptionKey, Arc<SubscriptionWorkerState>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Worker state of a subscription, if it has one.
    #[must_use]
    pub(crate) fn get(&self, key: &SubscriptionKey) -> Option<Arc<SubscriptionWorkerState>> {
        self.lock().get(key).cloned()
    }

    /// Worker state of a subscription; if it has none, `make` makes one.
    pub(crate) fn get_or_insert(
        &self,
        key: SubscriptionKey,
        make: impl FnOnce() -> SubscriptionWorkerState,
    ) -> Arc<SubscriptionWorkerState> {
        Arc::clone(self.lock().entry(key).or_insert_with(|| Arc::new(make())))
    }

    /// Removes the worker state of a subscription, and gives it.
    #[must_use]
    pub(crate) fn remove(&self, key: &SubscriptionKey) -> Option<Arc<SubscriptionWorkerState>> {
        self.lock().remove(key)
    }
}
