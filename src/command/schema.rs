//! `sealpost schema`: prints the fields of a kind, for editors.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::SchemaOptions;
use crate::control::{json_schema, schema_names};

/// Prints the JSON Schema of a kind; without a kind, the names of all that there are.
///
/// # Errors
/// Fails if there is no such kind.
pub fn run(options: &SchemaOptions) -> anyhow::Result<ExitCode> {
    let text = match &options.kind {
        None => schema_names().map(|name| format!("{name}\n")).collect(),
        Some(kind) => {
            let known = || schema_names().collect::<Vec<_>>().join(", ");
            let schema = json_schema(kind)
                .with_context(|| format!("{kind:?} is not read here: there are {}", known()))?;
            format!("{schema:#}\n")
        }
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
