//! Every metric: its name, kind, labels and help. No other file holds a metric's name.

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations in buckets, in seconds.
    Histogram,
    /// Always 1; the labels tell. Its name ends in `_info`.
    Info,
}

macro_rules! metrics {
    ($($variant:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        /// A metric of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric { $(#[doc = $help] $variant,)* }

        impl Metric {
            /// Every metric, in the order of the page.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)*];

            /// The name on the page.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Metric::$variant => $name,)* } }

            /// How it behaves.
            #[must_use]
            pub const fn kind(self) -> Kind { match self { $(Metric::$variant => Kind::$kind,)* } }

            /// The names of its labels, in the order in which their values are given.
            #[must_use]
            pub const fn labels(self) -> &'static [&'static str] { match self { $(Metric::$variant => &[$($label),*],)* } }

            /// One sentence for people.
            #[must_use]
            pub const fn help(self) -> &'static str { match self { $(Metric::$variant => $help,)* } }
        }
    };
}

metrics! {
    BuildInfo Info "tidegate_build_info" ["version"] "The program's version.";
    Requests Counter "tidegate_requests_total" ["listener" "route" "method" "status"] "Requests answered.";
    RequestsInFlight Gauge "tidegate_requests_in_flight" ["route"] "Requests whose answer is not complete.";
    RequestDuration Histogram "tidegate_request_duration_seconds" ["route"] "Time from a request's head to the last byte of its answer.";
    GatewayResponses Counter "tidegate_gateway_responses_total" ["route" "reason"] "Answers that the gateway made itself.";
    RequestBytes Counter "tidegate_request_bytes_total" ["route"] "Bytes of request bodies.";
    ResponseBytes Counter "tidegate_response_bytes_total" ["route"] "Bytes of response bodies.";
    Connections Gauge "tidegate_connections" ["listener"] "Client connections open.";
    ConnectionsRefused Counter "tidegate_connections_refused_total" ["listener" "cause"] "Client connections refused at once.";
    ConnectionsCut Counter "tidegate_connections_cut_total" ["listener" "cause"] "HTTP/2 connections cut for what the client did.";
    TlsHandshakes Counter "tidegate_tls_handshakes_total" ["listener" "result"] "TLS handshakes ended.";
    CertificateExpiry Gauge "tidegate_certificate_expiry_timestamp_seconds" ["listener" "name"] "When a certificate expires, in seconds since 1970; of several for one name the first that does.";
    UntrustedForwarded Counter "tidegate_untrusted_forwarded_total" ["listener"] "Requests of private peers outside trusted_proxies whose forwarded fields were dropped.";
    UpstreamRequests Counter "tidegate_upstream_requests_total" ["upstream" "endpoint" "status"] "Answers received from endpoints.";
    UpstreamDuration Histogram "tidegate_upstream_duration_seconds" ["upstream"] "Time from the start of an attempt to the head of its answer.";
    UpstreamConnections Gauge "tidegate_upstream_connections" ["upstream" "endpoint" "state"] "Connections to endpoints.";
    EndpointHealthy Gauge "tidegate_endpoint_healthy" ["upstream" "endpoint"] "1 while an endpoint may serve, 0 while it is ejected or its probes fail.";
    EndpointEjections Counter "tidegate_endpoint_ejections_total" ["upstream" "endpoint"] "Times that an endpoint was left out after failures in a row.";
    UpstreamRetries Counter "tidegate_upstream_retries_total" ["upstream" "cause"] "Attempts after the first, by what made them necessary.";
    RateLimitDecisions Counter "tidegate_rate_limit_decisions_total" ["limit" "decision"] "What rate limits said to requests.";
    RateLimitKeys Gauge "tidegate_rate_limit_keys" ["limit"] "Buckets that a rate limit holds.";
    RateLimitEvictions Counter "tidegate_rate_limit_evictions_total" ["limit"] "Buckets that were forgotten before they were full again.";
    StoreErrors Counter "tidegate_store_errors_total" ["store" "cause"] "Questions to a store that came to nothing, and connections to it that were not made.";
    BreakerState Gauge "tidegate_breaker_state" ["upstream" "endpoint"] "0 while a circuit breaker is closed, 1 open, 2 half-open; without an endpoint it is the upstream's.";
    BreakerTransitions Counter "tidegate_breaker_transitions_total" ["upstream" "endpoint" "to" "cause"] "Times that a circuit breaker moved.";
    WebSocketConnections Gauge "tidegate_websocket_connections" ["route"] "WebSockets open.";
    WebSocketOpens Counter "tidegate_websocket_opens_total" ["route"] "WebSockets opened.";
    WebSocketCloses Counter "tidegate_websocket_closes_total" ["route" "by" "code"] "WebSockets closed, by who was the first to end.";
    WebSocketDuration Histogram "tidegate_websocket_duration_seconds" ["route"] "Time from opening to closing.";
    AccessLogDropped Counter "tidegate_access_log_dropped_total" [] "Lines of the access log that were lost.";
    Panics Counter "tidegate_panics_total" [] "Requests whose handling panicked.";
    ConfigGeneration Gauge "tidegate_config_generation" [] "Number of the configuration in force.";
    ConfigReloads Counter "tidegate_config_reloads_total" ["result"] "Reloads of the configuration.";
    ConfigLastReloadSuccess Gauge "tidegate_config_last_reload_success" [] "1 when the last load of the configuration succeeded, else 0.";
    ConfigLastSuccessTimestamp Gauge "tidegate_config_last_success_timestamp_seconds" [] "When a configuration was last loaded with success, in seconds since 1970.";
    ProcessCpuSeconds Counter "process_cpu_seconds_total" [] "Processor time used, user and system.";
    ProcessOpenFds Gauge "process_open_fds" [] "Open file descriptors.";
    ProcessMaxFds Gauge "process_max_fds" [] "Most file descriptors that may be open.";
    ProcessResidentMemory Gauge "process_resident_memory_bytes" [] "Memory in use.";
    ProcessVirtualMemory Gauge "process_virtual_memory_bytes" [] "Address space in use.";
    ProcessStartTime Gauge "process_start_time_seconds" [] "When the process began, in seconds since 1970.";
    ProcessThreads Gauge "process_threads" [] "Threads of the process.";
}
