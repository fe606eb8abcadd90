//! The few rules about objects that a dispatcher's writes could break.

use serde_json::Value;

use super::refusal::Refusal;
use super::resource::Target;

/// Whether an API server would take this object.
pub(crate) fn check(target: &Target, object: &Value) -> Result<(), Refusal> {
    let spec = &object["spec"];
    match target.resource.kind {
        "ConfigMap" => {
            let values = object["data"]
                .as_object()
                .into_iter()
                .flat_map(|data| data.values());
            all(values, Value::is_string).ok_or_else(|| Refusal::bad_request("data: expected text"))
        }
        "Event" => {
            micro(&object["eventTime"])?;
            let about = object["involvedObject"]["namespace"].as_str();
            let fits = about == Some(target.namespace.as_str());
            fits.then_some(()).ok_or_else(|| {
                Refusal::invalid(
                    target,
                    "involvedObject.namespace: does not match event.namespace",
                )
            })
        }
        "Lease" => {
            micro(&spec["acquireTime"])?;
            micro(&spec["renewTime"])?;
            let duration = &spec["leaseDurationSeconds"];
            let fits = duration.is_null() || duration.as_i64().is_some_and(|seconds| seconds > 0);
            fits.then_some(()).ok_or_else(|| {
                Refusal::invalid(target, "spec.leaseDurationSeconds: must be greater than 0")
            })
        }
        _ => Ok(()),
    }
}

fn all<'a>(
    mut values: impl Iterator<Item = &'a Value>,
    holds: impl Fn(&Value) -> bool,
) -> Option<()> {
    values.all(holds).then_some(())
}

/// A `MicroTime` has six decimals, neither more nor less.
fn micro(value: &Value) -> Result<(), Refusal> {
    let Some(text) = value.as_str() else {
        return Ok(());
    };
    let decimals = text
        .split_once('.')
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).count());
    match decimals {
        Some(6) => Ok(()),
        _ => Err(Refusal::bad_request(format!("{text} is no MicroTime"))),
    }
}
