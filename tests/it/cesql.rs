//! The public conformance cases of CESQL, where they lie beside the project (`../shared/cesql_tck`,
//! or wherever `SEALPOST_CESQL_TCK` says). The project's own tables cover the language without
//! them.

use std::borrow::Cow;
use std::path::PathBuf;

use sealpost::filter::cesql::{
    AttributeSource, CesqlExpression, CesqlValue, EvaluationError, MeterExceeded, WorkMeter,
};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// Where the cases and the specification disagree: the table of casts (cesql §3.7) makes `NOT 10`
/// false without error.
const DEVIATIONS: [&str; 1] = ["Invalid int cast"];

#[derive(Deserialize)]
struct File {
    tests: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    expression: Json,
    result: Option<Json>,
    error: Option<String>,
    event: Option<Map<String, Json>>,
    event_overrides: Option<Map<String, Json>>,
}

impl Case {
    fn event(&self) -> Map<String, Json> {
        let mut event = self.event.clone().unwrap_or_else(|| {
            let pairs = [
                ("specversion", "1.0"),
                ("id", "1"),
                ("source", "/s"),
                ("type", "t"),
            ];
            pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect()
        });
        event.extend(self.event_overrides.clone().unwrap_or_default());
        event
    }

    fn expression(&self) -> String {
        text(&self.expression)
    }

    /// What is wrong with our answer, if something is.
    fn complaint(&self) -> Option<String> {
        let event = self.event();
        let expression = match CesqlExpression::parse(&self.expression()) {
            Ok(expression) => expression,
            Err(_) if self.error.as_deref() == Some("parse") => return None,
            Err(error) => return Some(error.to_string()),
        };
        let evaluated = expression.evaluate(&Given(&event), &mut WorkMeter::default());
        let error = evaluated.error.map(|error| match error {
            EvaluationError::Math => "math",
            EvaluationError::Cast => "cast",
            EvaluationError::MissingAttribute => "missingAttribute",
            EvaluationError::MissingFunction => "missingFunction",
            EvaluationError::FunctionEvaluation => "functionEvaluation",
            EvaluationError::Limit => "limit",
        });
        if error != self.error.as_deref() {
            return Some(format!("error {error:?} instead of {:?}", self.error));
        }
        let wanted = self.result.as_ref().map(value)?;
        (evaluated.value != wanted).then(|| format!("{:?} instead of {wanted:?}", evaluated.value))
    }
}

/// The attributes of a case's event. None of them is long.
struct Given<'c>(&'c Map<String, Json>);

impl<'e> AttributeSource<'e> for Given<'_> {
    fn get(
        &self,
        name: &str,
        _meter: &mut WorkMeter,
    ) -> Result<Option<CesqlValue<'e>>, MeterExceeded> {
        Ok(self.0.get(name).map(value))
    }

    fn exists(&self, name: &str, _meter: &mut WorkMeter) -> Result<bool, MeterExceeded> {
        Ok(self.0.contains_key(name))
    }
}

/// YAML reads some expressions as numbers or booleans.
fn text(json: &Json) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
}

fn value(json: &Json) -> CesqlValue<'static> {
    match json {
        Json::Bool(truth) => CesqlValue::Boolean(*truth),
        Json::Number(number) => CesqlValue::Integer(
            number
                .as_i64()
                .and_then(|n| i32::try_from(n).ok())
                .expect("32 bits"),
        ),
        json => CesqlValue::String(Cow::Owned(text(json))),
    }
}

#[test]
fn the_public_conformance_cases() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/cesql_tck");
    let directory =
        std::env::var_os("SEALPOST_CESQL_TCK").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        eprintln!(
            "no conformance cases at {}: only the project's own tables are tested",
            directory.display()
        );
        return;
    };
    let (mut cases, mut complaints) = (0, Vec::new());
    for entry in entries {
        let path = entry.expect("a file").path();
        let yaml = std::fs::read_to_string(&path).expect("text");
        let file: File = serde_saphyr::from_str(&yaml)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in file.tests {
            cases += 1;
            let complaint = case.complaint();
            let deviates =
                DEVIATIONS.contains(&case.name.as_str()) && case.expression() == "NOT 10";
            assert!(
                !deviates || complaint.is_some(),
                "{} is no deviation any more",
                case.name
            );
            if let Some(complaint) = complaint.filter(|_| !deviates) {
                complaints.push(format!("{}: {}: {complaint}", case.name, case.expression()));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(cases >= 275, "{cases} cases");
}
