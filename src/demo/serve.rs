//! How a service of the demo talks: connections in, requests answered one after the other, a hang-up where it is wished.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidegate::proxy::body::Body;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

/// An answer, or the wish to break the connection instead.
pub(super) type Answer = Result<Response<Body>, HangUp>;

/// The connection is to be reset.
#[derive(Debug)]
pub(super) struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to break the connection")
    }
}

impl std::error::Error for HangUp {}

/// Takes connections as they come and gives each to `serve`, in a task of its own.
pub(super) async fn accept<F>(socket: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + 'static,
{
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                spawn_local(serve(stream));
            }
            // Most likely out of descriptors, which others may give back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Answers the requests of one connection until it ends.
pub(super) async fn converse<F>(stream: TcpStream, answer: impl Fn(Request<Incoming>) -> F + Unpin)
where
    F: Future<Output = Answer> + 'static,
{
    let service = service_fn(|request| -> Pin<Box<dyn Future<Output = Answer>>> {
        Box::pin(answer(request))
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut stream = connection.into_parts().io.into_inner();
    if ended.is_err_and(|error| wants_hang_up(&error)) {
        // A close with this setting is a reset: the peer sees it at once and cannot take it for an orderly end.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    } else {
        let _: io::Result<()> = stream.shutdown().await;
    }
}

fn wants_hang_up(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.is_some_and(<dyn std::error::Error>::is::<HangUp>)
}

/// An answer in JSON, laid out for people.
pub(super) fn json(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Own(format!("{value:#}\n").into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
