//! What became of an event: `GET /api/v1/explain?id=ID[&source=SOURCE]`, a line of JSON for each
//! thing that is known of it.

use std::sync::Arc;

use http::StatusCode;
use url::form_urlencoded;

use super::answer::AdminRefusal;
use super::operations::AdminOperations;
use crate::observation::Explanation;
use crate::telemetry::counters::ProcessCounters;
use crate::wire_text::WireText;

/// The event that is asked for.
#[derive(Debug, Default)]
struct ExplainQuery {
    id: String,
    source: Option<String>,
}

impl ExplainQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "id" => asked.id = value.into_owned(),
                "source" => asked.source = Some(value.into_owned()),
                name => {
                    let name = WireText::new(name);
                    return Err(format!("{name} is not known: use id and source"));
                }
            }
        }
        if asked.id.is_empty() {
            return Err("id is missing: /api/v1/explain?id=ID".to_owned());
        }
        Ok(asked)
    }
}

/// Returns the lines of an event.
///
/// # Errors
/// Fails with a status and a line of text if the query is not understood, or if there is no such
/// event.
pub(super) async fn explain(
    counters: &Arc<ProcessCounters>,
    operations: &AdminOperations,
    query: &str,
) -> Result<Vec<u8>, AdminRefusal> {
    let asked = ExplainQuery::parse(query).map_err(AdminRefusal::bad_request)?;
    let (counters, shown) = (Arc::clone(counters), WireText::new(&asked.id));
    // Looking through everything takes some dozen milliseconds, which no event waits for.
    let search = move || {
        counters
            .observer
            .explain(&asked.id, asked.source.as_deref())
    };
    let searched = operations.run(|_stop| tokio::task::spawn_blocking(search));
    let busy = || {
        let text = "too many ask now: try again";
        AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, text)
    };
    let Explanation { lines, reach } = searched.await.and_then(Result::ok).ok_or_else(busy)?;
    if lines.is_empty() {
        let text = match reach {
            Some(reach) => format!("no event with the id {shown} is known here: {reach}"),
            None => {
                "events are not kept here: run sealpost without --explain-max-bytes 0".to_owned()
            }
        };
        return Err(AdminRefusal::not_found(text));
    }
    Ok(lines)
}
