//! The body of a request on its way to an upstream: nothing, the client's, or a copy of the client's.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::copy::BodyCopy;
use super::upload::{Progress, Upload, UploadError};

/// The body of a request towards an upstream.
pub enum RequestBody {
    /// None: most requests.
    Empty,
    /// Streamed from the client, for the attempt of this number.
    Upload(Rc<Upload>, u32),
    /// Copied from an upload.
    Copy(Rc<BodyCopy>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &*self {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Upload(upload, epoch) => upload.poll_frame(*epoch, cx),
            RequestBody::Copy(copy) => copy
                .poll_frame(cx)
                .map_err(|_| UploadError(Progress::Stopped)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Empty => true,
            RequestBody::Upload(upload, epoch) => upload.is_over(*epoch),
            RequestBody::Copy(copy) => copy.is_drained(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            // The head says the length, where it is known.
            RequestBody::Copy(_) => SizeHint::default(),
            RequestBody::Upload(upload, epoch) => upload.size_hint(*epoch),
        }
    }
}
