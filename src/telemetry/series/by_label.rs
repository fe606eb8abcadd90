//! Values that are kept for each variant of an enum, such as a counter for each way in which a
//! delivery can end. The compiler sees to it that every variant has its value.

/// Declares a struct with one value for each variant of an enum. The names of its fields are the
/// label values by which metrics show them.
macro_rules! by_label {
    (
        $(#[$attribute:meta])*
        struct $name:ident by $key:ident { $($variant:ident => $label:ident),* $(,)? }
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Default)]
        pub(in crate::telemetry::series) struct $name<T> {
            $($label: T,)*
        }

        impl<T> $name<T> {
            /// Returns the value of a variant.
            pub(in crate::telemetry::series) fn get(&self, key: $key) -> &T {
                match key {
                    $($key::$variant => &self.$label,)*
                }
            }

            /// Returns the values of all variants, each with its label value.
            pub(in crate::telemetry::series) fn labelled(
                &self,
            ) -> impl Iterator<Item = (&'static str, &T)> {
                [$((stringify!($label), &self.$label)),*].into_iter()
            }
        }
    };
}
pub(super) use by_label;
