//! Why a request was not served: one table of reason word, status, title and who is at fault.
//!
//! The words are the contract's closed set; the same word stands in the answer, the access log and the metric.

use http::StatusCode;

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The request or its sender.
    Client,
    /// A rule or the state of this gateway.
    Gateway,
    /// The upstream.
    Upstream,
}

macro_rules! reasons {
    ($($variant:ident $word:literal $status:literal $origin:ident $proxy_error:literal $title:literal;)*) => {
        /// A reason of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $title] $variant,)* }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The word in `X-Gateway-Reason`, log and metric.
            #[must_use]
            pub const fn word(self) -> &'static str { match self { $(Reason::$variant => $word,)* } }

            /// The status code of the answer; 499 never reaches a client.
            #[must_use]
            pub fn status(self) -> StatusCode {
                let code: u16 = match self { $(Reason::$variant => $status,)* };
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// Who is at fault.
            #[must_use]
            pub const fn origin(self) -> Origin { match self { $(Reason::$variant => Origin::$origin,)* } }

            /// The error type for `Proxy-Status` (RFC 9209, section 2.3).
            #[must_use]
            pub const fn proxy_error(self) -> &'static str { match self { $(Reason::$variant => $proxy_error,)* } }

            /// One sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Reason::$variant => $title,)* } }
        }
    };
}

reasons! {
    BadRequest "bad_request" 400 Client "http_request_error" "The request is malformed";
    OriginDenied "origin_denied" 403 Client "http_request_denied" "Pages of this origin may not connect";
    UpgradeRefused "upgrade_refused" 403 Client "http_request_denied" "This upgrade is not allowed";
    RouteNotFound "route_not_found" 404 Client "destination_not_found" "No route matches this request";
    MethodNotAllowed "method_not_allowed" 405 Client "http_request_denied" "No route for this path takes this method";
    RequestTimeout "request_timeout" 408 Client "http_request_error" "The request came too slowly";
    BodyTooLarge "body_too_large" 413 Client "http_request_denied" "The request body is larger than allowed";
    UriTooLong "uri_too_long" 414 Client "http_request_error" "The request target is longer than allowed";
    ExpectationFailed "expectation_failed" 417 Client "http_request_error" "Only the expectation 100-continue can be met";
    MisdirectedRequest "misdirected_request" 421 Client "http_request_error" "This host is not served on this TLS connection";
    UpgradeRequired "upgrade_required" 426 Client "http_request_error" "Only another version of this upgrade is spoken";
    RateLimited "rate_limited" 429 Client "http_request_denied" "Too many requests";
    ConcurrencyLimited "concurrency_limited" 429 Client "http_request_denied" "Too many requests at once";
    HeadTooLarge "head_too_large" 431 Client "http_request_error" "The request head is larger than allowed";
    ClientClosed "client_closed" 499 Client "connection_terminated" "The client left before the answer was complete";
    InternalError "internal_error" 500 Gateway "proxy_internal_error" "The gateway failed";
    NotImplemented "not_implemented" 501 Gateway "http_request_error" "The gateway does not do this";
    UpstreamConnectFailed "upstream_connect_failed" 502 Upstream "connection_refused" "The upstream could not be reached";
    UpstreamTlsFailed "upstream_tls_failed" 502 Upstream "tls_protocol_error" "No TLS connection to the upstream came to be";
    UpstreamReset "upstream_reset" 502 Upstream "connection_terminated" "The upstream broke the connection";
    UpstreamProtocolError "upstream_protocol_error" 502 Upstream "http_protocol_error" "The upstream's answer is not valid HTTP";
    NoHealthyEndpoint "no_healthy_endpoint" 503 Upstream "destination_unavailable" "No endpoint of the upstream can be used";
    BreakerOpen "breaker_open" 503 Upstream "destination_unavailable" "The circuit breaker of the upstream is open";
    UpstreamOverloaded "upstream_overloaded" 503 Upstream "connection_limit_reached" "The upstream bears no more";
    Overloaded "overloaded" 503 Gateway "connection_limit_reached" "The gateway is overloaded";
    StoreUnavailable "store_unavailable" 503 Gateway "proxy_internal_error" "A limit's store is away";
    Draining "draining" 503 Gateway "proxy_internal_response" "The gateway is shutting down";
    UpstreamConnectTimeout "upstream_connect_timeout" 504 Upstream "connection_timeout" "Connecting to the upstream took too long";
    UpstreamTimeout "upstream_timeout" 504 Upstream "http_response_timeout" "The upstream took too long to answer";
}
