//! The small services that the example file points to, beside the gateway in one process: `tidegate demo`.

mod chat;
mod echo;
mod flaky;
mod guide;
mod query;
mod serve;
mod slow;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::mpsc;

use tidegate::config::{Config, Endpoint, EndpointHost, Loaded};
use tokio::runtime::{Builder, LocalOptions};
use tokio::task::spawn_local;

/// A service is known by the name of the upstream that points to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Echo,
    Slow,
    Flaky,
    Chat,
}

impl Service {
    const ALL: [Service; 4] = [Service::Echo, Service::Slow, Service::Flaky, Service::Chat];

    /// The name of its upstream.
    const fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Slow => "slow",
            Service::Flaky => "flaky",
            Service::Chat => "chat",
        }
    }
}

/// Starts the services on the addresses that `loaded` names, on a thread of their own, and says how to try them.
///
/// # Errors
/// An address that cannot be bound; the message names it and says what to do.
pub(crate) fn start(loaded: &Loaded) -> io::Result<()> {
    let places = find_places(&loaded.config);
    let sockets = places
        .iter()
        .map(|(service, address)| Ok((*service, bind(*service, *address)?)))
        .collect::<io::Result<Vec<_>>>()?;
    let (say, started) = mpsc::channel();
    std::thread::Builder::new()
        .name("demo".into())
        .spawn(move || run(sockets, &say))?;
    started
        .recv()
        .unwrap_or_else(|_| Err(io::Error::other("the demo's thread ended")))?;
    eprint!("{}", guide::write(loaded, &places));
    Ok(())
}

/// Where services are wanted: on every loopback address of an upstream with their name. What lies elsewhere is a
/// real service that somebody put in its place.
fn find_places(config: &Config) -> Vec<(Service, SocketAddr)> {
    Service::ALL
        .into_iter()
        .flat_map(|service| {
            let upstream = config.upstreams.iter().find(|u| u.name == service.name());
            upstream
                .into_iter()
                .flat_map(|upstream| &upstream.endpoints)
                .filter_map(find_loopback)
                .map(move |address| (service, address))
        })
        .collect()
}

fn find_loopback(endpoint: &Endpoint) -> Option<SocketAddr> {
    match &endpoint.host {
        EndpointHost::Name(name) if &**name == "localhost" => {
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.port)))
        }
        _ => endpoint
            .address()
            .filter(|address| address.ip().is_loopback()),
    }
}

fn bind(service: Service, address: SocketAddr) -> io::Result<TcpListener> {
    let name = service.name();
    let socket = TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process has it, perhaps another demo: stop that one"
            }
            _ => "it is taken from there",
        };
        let text = format!(
            "{address} of the demo's {name} service cannot be bound ({remedy}, or change the endpoint of upstream {name}): {error}"
        );
        io::Error::new(error.kind(), text)
    })?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The thread: serves until the process ends.
fn run(sockets: Vec<(Service, TcpListener)>, say: &mpsc::Sender<io::Result<()>>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            let _ = say.send(sockets.into_iter().try_for_each(serve));
            std::future::pending().await
        }),
        Err(error) => drop(say.send(Err(error))),
    }
}

fn serve((service, socket): (Service, TcpListener)) -> io::Result<()> {
    let socket = tokio::net::TcpListener::from_std(socket)?;
    match service {
        Service::Echo => {
            spawn_local(serve::accept(socket, |stream| {
                serve::converse(stream, echo::answer)
            }));
        }
        Service::Slow => {
            spawn_local(serve::accept(socket, |stream| {
                serve::converse(stream, slow::answer)
            }));
        }
        Service::Flaky => {
            let told = Rc::new(flaky::Told::default());
            spawn_local(serve::accept(socket, move |stream| {
                let told = told.clone();
                serve::converse(stream, move |request| flaky::answer(told.clone(), request))
            }));
        }
        Service::Chat => {
            spawn_local(serve::accept(socket, chat::converse));
        }
    }
    Ok(())
}
