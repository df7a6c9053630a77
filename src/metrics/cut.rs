//! Why a client's connection was cut, where no request tells of it.

/// The cause; HTTP/2 alone has connections that end without a request's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// Too much work without getting on: resets, frames that ask for nothing, header blocks without end.
    Flood,
    /// A frame that the protocol forbids.
    Protocol,
}

impl Cut {
    /// Every cause, in the order of their numbers.
    pub const ALL: [Cut; 2] = [Cut::Flood, Cut::Protocol];

    /// The `cause` in the metric.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Cut::Flood => "flood",
            Cut::Protocol => "protocol",
        }
    }
}
