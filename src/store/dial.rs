//! From an address to a connection that has shown that it serves: name, TCP, TLS, password, script, and one question.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio_rustls::TlsConnector;

use super::Address;
use super::cause::{Cause, Failure};
use super::shared::Shared;
use crate::tls::{Said, Towards};

/// The script that works on buckets.
const SCRIPT: &str = include_str!("bucket.lua");
/// For everything but the first question.
pub(super) const WITHIN: Duration = Duration::from_secs(1);
/// Batches that may wait for the socket; what waits is bounded before.
const BUFFER: usize = 256;

/// One connection.
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    /// What the server calls the script.
    pub(super) script: Arc<str>,
    pub(super) driver: Driver,
}

/// The task that reads and writes the socket, which closes when this goes.
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    /// Waits until the connection is closed.
    pub(super) async fn end(&mut self) -> Failure {
        let _ = (&mut self.0).await;
        Failure::new(Cause::Closed, "the connection was closed")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, and makes sure that the server does what limits need.
pub(super) async fn dial(shared: &Shared) -> Result<Connection, Failure> {
    let late = |_| Failure::new(Cause::Connect, format!("no connection within {WITHIN:?}"));
    let mut connection = tokio::time::timeout(WITHIN, open(&shared.address))
        .await
        .map_err(late)??;
    let timeout = shared.timeout();
    let late = |_| Failure::new(Cause::Timeout, format!("no answer within {timeout:?}"));
    tokio::time::timeout(timeout, prove(&mut connection))
        .await
        .map_err(late)??;
    Ok(connection)
}

async fn open(address: &Address) -> Result<Connection, Failure> {
    let stream = reach(address).await?;
    if !address.is_secure {
        return greet(address, stream).await;
    }
    let tls = |said: String| Failure::new(Cause::Tls, said);
    let towards = Towards::new(&Said::default()).map_err(|(_, fault)| tls(fault.message))?;
    let target = towards
        .to(&address.host)
        .ok_or_else(|| tls("the host cannot be a name of a certificate".into()))?;
    // Redis has no name in ALPN.
    let mut config = (*target.config).clone();
    config.alpn_protocols.clear();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(target.name, stream)
        .await
        .map_err(|error| tls(error.to_string()))?;
    greet(address, stream).await
}

/// One address after the other, each with its part of the time.
async fn reach(address: &Address) -> Result<TcpStream, Failure> {
    let place = (address.host.as_str(), address.port);
    let found = tokio::net::lookup_host(place).await;
    let found: Vec<SocketAddr> = found.map_err(|error| Failure::io(&error))?.collect();
    let mut failure = Failure::new(Cause::Connect, "the name has no address");
    let share = WITHIN / u32::try_from(found.len() + 1).unwrap_or(u32::MAX);
    for one in found {
        match tokio::time::timeout(share, TcpStream::connect(one)).await {
            Ok(Ok(stream)) => {
                // Questions are small and wait for answers.
                stream
                    .set_nodelay(true)
                    .map_err(|error| Failure::io(&error))?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Failure::io(&error),
            Err(_) => failure = Failure::new(Cause::Connect, "no connection in time"),
        }
    }
    Err(failure)
}

async fn greet<S>(address: &Address, stream: S) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut info = RedisConnectionInfo::default()
        .set_db(address.database.into())
        .set_skip_set_lib_name();
    if let Some(user) = &address.user {
        info = info.set_username(user);
    }
    if let Some(password) = &address.password {
        info = info.set_password(password);
    }
    let config = AsyncConnectionConfig::new()
        .set_pipeline_buffer_size(BUFFER)
        .set_response_timeout(None);
    let greeted = MultiplexedConnection::new_with_config(&info, stream, config).await;
    let (redis, driver) =
        greeted.map_err(|error| Failure::new(Cause::of_greeting(&error), error.to_string()))?;
    let driver = Driver(spawn_local(driver));
    let mut connection = Connection {
        redis,
        script: "".into(),
        driver,
    };
    connection.script = load(&mut connection.redis).await?;
    Ok(connection)
}

/// Gives the server the script.
pub(super) async fn load(redis: &mut MultiplexedConnection) -> Result<Arc<str>, Failure> {
    let mut load = Cmd::new();
    load.arg("SCRIPT").arg("LOAD").arg(SCRIPT);
    match redis.send_packed_command(&load).await {
        Ok(Value::BulkString(name)) => String::from_utf8(name)
            .map(Arc::from)
            .map_err(|_| Failure::new(Cause::Reply, "the script's name is no text")),
        Ok(Value::SimpleString(name)) => Ok(name.into()),
        Ok(Value::ServerError(error)) => Err(refusal(&error)),
        Ok(_) => Err(Failure::new(
            Cause::Reply,
            "the answer is not a script's name",
        )),
        Err(error) => Err(Failure::new(
            Cause::of_connection(&error),
            error.to_string(),
        )),
    }
}

/// A question that writes: a server that is full, or a replica, answers all else and would fail every limit.
async fn prove(connection: &mut Connection) -> Result<(), Failure> {
    let mut pipeline = Pipeline::new();
    let command = pipeline.cmd("EVALSHA").arg(&*connection.script).arg(1);
    command.arg("tidegate:-proof").arg("owe");
    // One millisecond of a bucket of one second: it is forgotten at once.
    for number in [1, 0, 0, 1_000_000, 0, 0, 0, 0, 1_000_000] {
        command.arg(number);
    }
    let answered = connection.redis.send_packed_commands(&pipeline, 0, 1).await;
    match answered.as_deref() {
        Ok([Value::ServerError(error)]) => Err(refusal(error)),
        Ok([Value::Array(_)]) => Ok(()),
        Ok(_) => Err(Failure::new(
            Cause::Reply,
            "the script answers something else",
        )),
        Err(error) => Err(Failure::new(Cause::of_connection(error), error.to_string())),
    }
}

pub(super) fn refusal(error: &redis::ServerError) -> Failure {
    let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
    Failure::new(Cause::of_reply(error), said)
}
