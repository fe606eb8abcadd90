//! Series by the objects that they belong to. They live as long as somebody holds them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::series_key::SeriesKey;

/// The registered series of one type, by the objects that they belong to.
#[derive(Debug)]
pub(super) struct WeakSeries<S>(Mutex<BTreeMap<SeriesKey, Weak<S>>>);

impl<S> Default for WeakSeries<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> WeakSeries<S> {
    /// Returns the series of this object, which `new` makes if nobody holds them.
    pub(super) fn find_or_register(
        &self,
        name: &SeriesKey,
        new: impl FnOnce(SeriesKey) -> S,
    ) -> Arc<S> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(name).and_then(Weak::upgrade) {
            return series;
        }
        let series = Arc::new(new(name.clone()));
        known.insert(name.clone(), Arc::downgrade(&series));
        series
    }

    /// Returns the series that somebody still holds; the others are forgotten.
    pub(super) fn live(&self) -> Vec<Arc<S>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, series| series.strong_count() > 0);
        known.values().filter_map(Weak::upgrade).collect()
    }
}
