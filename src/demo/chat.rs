//! A service that speaks WebSocket (RFC 6455) and sends every message back.

use std::convert::Infallible;

use futures_util::{SinkExt, StreamExt};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tidegate::proxy::body::Body;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::serve;

/// Answers the requests of one connection, until one of them turns it into a conversation.
pub(super) async fn converse(stream: TcpStream) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(request)) });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A peer that breaks off is no news for a demo.
    let _ = connection.with_upgrades().await;
}

fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let Some(key) = find_key(request.headers()) else {
        return ask_to_upgrade();
    };
    let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) else {
        return ask_to_upgrade();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    spawn_local(async move {
        if let Ok(upgraded) = upgrade.await {
            let socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None);
            echo(socket.await).await;
        }
    });
    let mut response = Response::new(Body::Own(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// The client's key, if it asks for a WebSocket.
fn find_key(headers: &HeaderMap) -> Option<&HeaderValue> {
    let upgrade = headers.get(header::UPGRADE)?;
    upgrade
        .as_bytes()
        .eq_ignore_ascii_case(b"websocket")
        .then(|| headers.get(header::SEC_WEBSOCKET_KEY))?
}

fn ask_to_upgrade() -> Response<Body> {
    let report = json!({ "service": "chat", "problem": "this service speaks WebSocket" });
    let mut response = serve::json(StatusCode::UPGRADE_REQUIRED, &report);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    response
}

/// Sends texts and binaries back until either side closes; pings are answered below.
async fn echo(mut socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>) {
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
