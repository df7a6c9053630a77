//! `respond`: a fixed answer.

use bytes::Bytes;
use http::StatusCode;

use super::changes;
use super::fields::Fields;
use super::report::{Fault, Report};

/// `routes[].respond`.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// 200 to 599.
    pub status: http::StatusCode,
    /// Fields in file order.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Sent as it is.
    pub body: bytes::Bytes,
}

/// `respond`.
pub(super) fn parse(fields: &Fields<'_>, report: &mut Report) -> Respond {
    let status = status(fields, StatusCode::OK);
    let body = Bytes::copy_from_slice(fields.text("body").unwrap_or_default().as_bytes());
    // RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
    if !body.is_empty() && matches!(status.as_u16(), 204 | 205 | 304) {
        let fault = Fault::bare(format!(
            "an answer with status {} has no body",
            status.as_u16()
        ));
        report.error(fields.span("body"), fault);
    }
    let headers = changes::lines(fields, "headers", "a list gives it several values", report);
    Respond {
        status,
        headers,
        body,
    }
}

/// `status`, which is valid or was reported.
pub(super) fn status(fields: &Fields<'_>, otherwise: StatusCode) -> StatusCode {
    let code = fields
        .number("status")
        .and_then(|code| u16::try_from(code).ok());
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .unwrap_or(otherwise)
}
