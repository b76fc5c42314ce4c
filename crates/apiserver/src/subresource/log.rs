//! `pods/<p>/log` (H14-H17).

use futures::StreamExt;
use http::{HeaderValue, Response};
use outrigger_api::StatusError;
use outrigger_streaming::agent::LogOptions;

use super::target;
use crate::codec::invalid;
use crate::handler::Call;
use crate::respond::{self, Body, BoxError};
use crate::server::Api;

pub(super) async fn read(api: &Api, call: &Call) -> Result<Response<Body>, StatusError> {
    let options = options(api, call)?;
    let pod = target::pod(api, call).await?;
    let target = target::container(&pod, call.query.get("container"))?;
    if pod.str_at(&["spec", "nodeName"]).is_empty() {
        // H16: nothing can have been written yet.
        let mut response = respond::text(204, "");
        response.headers_mut().remove(http::header::CONTENT_TYPE);
        return Ok(response);
    }
    let agent = target::agent(api, &pod).await?;
    let stream = agent.logs(&target, &options).await?;
    let stop = api.shutdown.clone();
    let pieces = stream.map(|piece| piece.map_err(BoxError::from)).take_until(stop.cancelled_owned());
    let mut response = respond::response(200, "text/plain", respond::streamed(pieces));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// H14.
fn options(api: &Api, call: &Call) -> Result<LogOptions, StatusError> {
    let query = &call.query;
    let bad = |field: &str, reason: &str, finding: &str| {
        invalid("PodLogOptions", "", &call.path.name, field, reason, finding)
    };
    let positive = |field: &str, least: i64| match query.int(field)? {
        Some(number) if number < least => {
            let finding = if least == 0 {
                format!("Invalid value: {number}: must be greater than or equal to 0")
            } else {
                format!("Invalid value: {number}: must be greater than 0")
            };
            Err(bad(field, "FieldValueInvalid", &finding))
        }
        number => Ok(number.map(i64::unsigned_abs)),
    };
    let seconds = positive("sinceSeconds", 1)?;
    let since_time = query.find("sinceTime").filter(|text| !text.is_empty());
    if seconds.is_some() && since_time.is_some() {
        let finding = "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
        return Err(bad("[]", "FieldValueForbidden", finding));
    }
    let since = match (seconds, since_time) {
        (Some(seconds), _) => Some(
            api.now().checked_sub(std::time::Duration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MIN),
        ),
        (None, Some(text)) => Some(text.parse().map_err(|_| {
            StatusError::bad_request(format!(
                "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\" failed"
            ))
        })?),
        (None, None) => None,
    };
    Ok(LogOptions {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since,
        timestamps: query.flag("timestamps"),
        tail_lines: positive("tailLines", 0)?,
        limit_bytes: positive("limitBytes", 1)?,
    })
}
