//! Every lane that is in use, for whoever shows what happens on them. Looked at when the configuration changes and when
//! somebody asks, never on the way of an event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::SubscriptionWorkerState;
use crate::model::SubscriptionKey;

/// Lanes by subscription. Clones share them.
#[derive(Clone, Default)]
pub struct SubscriptionWorkerStates(Arc<Mutex<HashMap<SubscriptionKey, Arc<SubscriptionWorkerState>>>>);

impl SubscriptionWorkerStates {
    fn lock(&self) -> MutexGuard<'_, HashMap<SubscriptionKey, Arc<SubscriptionWorkerState>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of a subscription.
    #[must_use]
    pub fn get(&self, key: &SubscriptionKey) -> Option<Arc<SubscriptionWorkerState>> {
        self.lock().get(key).cloned()
    }

    /// The lane of a subscription; the one that is made here, if it has none.
    pub fn get_or_insert(
        &self,
        key: SubscriptionKey,
        make: impl FnOnce() -> SubscriptionWorkerState,
    ) -> Arc<SubscriptionWorkerState> {
        Arc::clone(self.lock().entry(key).or_insert_with(|| Arc::new(make())))
    }

    /// Takes a lane out, if it is there.
    #[must_use]
    pub fn remove(&self, key: &SubscriptionKey) -> Option<Arc<SubscriptionWorkerState>> {
        self.lock().remove(key)
    }
}
