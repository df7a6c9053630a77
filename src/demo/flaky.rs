//! A service that fails when told: `?status=503`, `?reset=1`, `?hang=1`; with `&every=3` each third time only.

use std::cell::Cell;
use std::rc::Rc;

use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use serde_json::json;

use super::query;
use super::serve::{self, Answer, HangUp};

/// What requests told so far.
#[derive(Default)]
pub(super) struct Told {
    /// Requests that said `every`.
    counted: Cell<u64>,
}

#[derive(Debug, PartialEq)]
enum Failure {
    Status(StatusCode),
    Reset,
    Hang,
}

/// Answers with 200, or fails as the query says.
pub(super) async fn answer(told: Rc<Told>, request: Request<Incoming>) -> Answer {
    match choose(&told, request.uri()) {
        Ok(None) => Ok(serve::json(
            StatusCode::OK,
            &json!({ "service": "flaky", "failed": false }),
        )),
        Ok(Some(Failure::Status(status))) => Ok(serve::json(
            status,
            &json!({ "service": "flaky", "failed": true }),
        )),
        Ok(Some(Failure::Reset)) => Err(HangUp),
        // Ends when the gateway has waited long enough and closes.
        Ok(Some(Failure::Hang)) => std::future::pending().await,
        Err(problem) => Ok(query::complain(&problem)),
    }
}

/// How this request is to fail, if at all. Without a kind, `every` means 503.
fn choose(told: &Told, uri: &Uri) -> Result<Option<Failure>, String> {
    let status = query::number(uri, "status")?
        .map(parse_status)
        .transpose()?;
    let every = query::number(uri, "every")?;
    let failure = if query::is_set(uri, "reset") {
        Some(Failure::Reset)
    } else if query::is_set(uri, "hang") {
        Some(Failure::Hang)
    } else {
        status
            .or_else(|| every.map(|_| StatusCode::SERVICE_UNAVAILABLE))
            .map(Failure::Status)
    };
    let due = match every {
        Some(0) => return Err("`every=0`: at least 1 is wanted".into()),
        Some(every) => {
            let count = told.counted.get() + 1;
            told.counted.set(count);
            count.is_multiple_of(every)
        }
        None => true,
    };
    Ok(failure.filter(|_| due))
}

fn parse_status(code: u64) -> Result<StatusCode, String> {
    let status = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    status
        .filter(|status| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| format!("`status={code}`: 200 to 599 are possible"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(told: &Told, target: &str) -> Result<Option<Failure>, String> {
        choose(told, &target.parse().unwrap())
    }

    #[test]
    fn fails_as_told() {
        let told = Told::default();
        assert_eq!(ask(&told, "/"), Ok(None));
        assert_eq!(ask(&told, "/?reset=1"), Ok(Some(Failure::Reset)));
        assert_eq!(ask(&told, "/?hang=1"), Ok(Some(Failure::Hang)));
        let status = Failure::Status(StatusCode::IM_A_TEAPOT);
        assert_eq!(ask(&told, "/?status=418"), Ok(Some(status)));
    }

    #[test]
    fn every_third_fails() {
        let told = Told::default();
        let failed = [1, 2, 3, 4, 5, 6].map(|_| ask(&told, "/?every=3").unwrap().is_some());
        assert_eq!(failed, [false, false, true, false, false, true]);
    }

    #[test]
    fn what_cannot_be_followed_is_said() {
        let told = Told::default();
        for target in ["/?status=99", "/?status=x", "/?every=0", "/?status=600"] {
            assert!(ask(&told, target).is_err(), "{target}");
        }
    }
}
