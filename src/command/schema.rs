//! `sealpost schema`: which fields there are, for editors.

use std::process::ExitCode;

use anyhow::Context;

use crate::cli::SchemaOptions;
use crate::control::{json_schema, schema_names};

/// Prints the JSON Schema of a kind; without one, a line for each that there is.
///
/// # Errors
/// If there is no such kind.
pub fn run(options: &SchemaOptions) -> anyhow::Result<ExitCode> {
    let text = match &options.kind {
        None => schema_names().map(|name| format!("{name}\n")).collect(),
        Some(kind) => {
            let known = || schema_names().collect::<Vec<_>>().join(", ");
            let schema =
                json_schema(kind).with_context(|| format!("{kind:?} is not read here: there are {}", known()))?;
            format!("{schema:#}\n")
        }
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}
