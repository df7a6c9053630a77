//! TLS towards upstreams: whom the gateway believes, what it shows, what it sends as SNI, and what a client hears when
//! no TLS came to be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Authority, Gateway, Kind, PATIENCE, Pair, unique_directory, until};

/// What an endpoint saw of one handshake.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    name: Option<String>,
    alpn: Option<Vec<u8>>,
    shown: bool,
    resumed: bool,
}

/// An endpoint that speaks TLS and answers every request with `ok`.
struct Secure {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Secure {
    /// Shows `pair`; asks for certificates of `clients`, if there are any to ask for.
    fn start(pair: &Pair, clients: Option<&Authority>) -> Secure {
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap();
        let mut config = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let root =
                    rustls::pki_types::CertificateDer::from_pem_slice(authority.cert.as_bytes());
                roots.add(root.unwrap()).unwrap();
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        }
        .with_single_cert(vec![pair.leaf()], key)
        .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = seen.clone();
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                let (config, notes) = (config.clone(), notes.clone());
                thread::spawn(move || {
                    let session = ServerConnection::new(config).unwrap();
                    talk(StreamOwned::new(session, socket), &notes);
                });
            }
        });
        Secure { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Serves one connection until it ends; nothing is noted of a handshake that fails.
fn talk(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>, notes: &Mutex<Vec<Seen>>) {
    let (mut head, mut noted) = (Vec::new(), false);
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => head.extend_from_slice(&buffer[..n]),
            _ => return,
        }
        if !std::mem::replace(&mut noted, true) {
            let kind = stream.conn.handshake_kind();
            notes.lock().unwrap().push(Seen {
                name: stream.conn.server_name().map(String::from),
                alpn: stream.conn.alpn_protocol().map(<[u8]>::to_vec),
                shown: stream.conn.peer_certificates().is_some(),
                resumed: kind == Some(rustls::HandshakeKind::Resumed),
            });
        }
        while let Some(end) = head.windows(4).position(|w| w == b"\r\n\r\n") {
            head.drain(..end + 4);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

/// A gateway in front of `endpoint` (with its scheme), whose upstream says `keys`.
fn gateway(directory: PathBuf, endpoint: &str, keys: &str) -> Gateway {
    std::fs::write(directory.join("gateway.yaml"), file(endpoint, keys)).unwrap();
    Gateway::start_in(directory, "gateway.yaml")
}

fn file(endpoint: &str, keys: &str) -> String {
    format!(
        "listeners: [{{ bind: '127.0.0.1:0', name: main }}]\nadmin: {{ bind: '127.0.0.1:0' }}\n\
         routes: [{{ name: all, match: {{ path_prefix: / }}, upstream: app }}]\n\
         upstreams: {{ app: {{ endpoints: ['{endpoint}'], {keys} }} }}\n"
    )
}

fn authority_in(directory: &Path) -> Authority {
    let authority = Authority::new("root");
    std::fs::write(directory.join("ca.pem"), &authority.cert).unwrap();
    authority
}

#[test]
fn a_private_authority_is_believed_and_connections_are_kept() {
    let directory = unique_directory();
    let authority = authority_in(&directory);
    let secure = Secure::start(&authority.issue(&["localhost"]), None);
    let url = format!("https://localhost:{}", secure.address.port());
    let gateway = gateway(directory, &url, "tls: { ca: ca.pem }");
    let mut client = gateway.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").expect_ok().text(), "ok");
    }
    let seen = secure.seen();
    assert_eq!(seen.len(), 1, "one handshake serves them all: {seen:?}");
    assert_eq!(seen[0].name.as_deref(), Some("localhost"));
    assert_eq!(seen[0].alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(!seen[0].shown);
}

#[test]
fn whoever_is_not_believed_gets_no_request() {
    let stranger = Authority::new("stranger");
    for (pair, keys) in [
        (stranger.issue(&["localhost"]), "tls: { ca: ca.pem }"),
        // The system knows neither of them.
        (stranger.issue(&["localhost"]), "timeouts: { connect: 5s }"),
    ] {
        let directory = unique_directory();
        authority_in(&directory);
        let secure = Secure::start(&pair, None);
        let url = format!("https://localhost:{}", secure.address.port());
        let gateway = gateway(directory.clone(), &url, keys);
        gateway.get("/").expect_refusal(502, "upstream_tls_failed");
        assert_eq!(secure.seen(), []);
    }
}

/// What `openssl req -x509` makes is an authority, and is refused with what to do.
#[test]
fn an_authority_in_a_servers_place_is_told_in_words() {
    let directory = unique_directory();
    let authority = Authority::new("root");
    let own = authority.issue_with(&["localhost"], Kind::Ecdsa, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    std::fs::write(directory.join("ca.pem"), &authority.cert).unwrap();
    let secure = Secure::start(&own, None);
    let url = format!("https://localhost:{}", secure.address.port());
    let gateway = gateway(directory, &url, "tls: { ca: ca.pem }");
    let refusal = gateway.get("/");
    refusal.expect_refusal(502, "upstream_tls_failed");
    let told = refusal.text();
    assert!(told.contains("CA:TRUE"), "{told}");
}

#[test]
fn the_name_has_to_be_in_the_certificate() {
    let directory = unique_directory();
    let authority = authority_in(&directory);
    let secure = Secure::start(&authority.issue(&["app.internal"]), None);
    let url = format!("https://127.0.0.1:{}", secure.address.port());
    let without = gateway(directory.clone(), &url, "tls: { ca: ca.pem }");
    without.get("/").expect_refusal(502, "upstream_tls_failed");
    let keys = "tls: { ca: ca.pem, server_name: app.internal }";
    let with = gateway(directory.clone(), &url, keys);
    with.get("/").expect_ok();
    assert_eq!(secure.seen()[0].name.as_deref(), Some("app.internal"));
    let keys = "tls: { insecure_skip_verify: true }";
    gateway(directory, &url, keys).get("/").expect_ok();
}

#[test]
fn a_certificate_is_shown_to_who_asks_for_one() {
    let directory = unique_directory();
    let authority = authority_in(&directory);
    let clients = Authority::new("clients");
    clients
        .client("gateway", &["gateway.test"])
        .write(&directory, "own");
    let secure = Secure::start(&authority.issue(&["localhost"]), Some(&clients));
    let url = format!("https://localhost:{}", secure.address.port());
    let without = gateway(directory.clone(), &url, "tls: { ca: ca.pem }");
    // With TLS 1.3 the refusal comes when the handshake is over for us: the connection breaks.
    assert_eq!(without.get("/").status, 502);
    let keys = "tls: { ca: ca.pem, client_cert: own.pem, client_key: own.key }";
    let with = gateway(directory, &url, keys);
    with.get("/").expect_ok();
    assert!(secure.seen().iter().all(|seen| seen.shown));
}

#[test]
fn broken_files_stay_and_all_else_goes_on() {
    let directory = unique_directory();
    let authority = authority_in(&directory);
    let clients = Authority::new("clients");
    let own = clients.client("gateway", &["gateway.test"]);
    own.write(&directory, "own");
    let secure = Secure::start(&authority.issue(&["localhost"]), Some(&clients));
    let url = format!("https://localhost:{}", secure.address.port());
    // Hardly any connection is kept, so that each request shakes hands.
    let keys =
        "pool: { max_age: 1ms }, tls: { ca: ca.pem, client_cert: own.pem, client_key: own.key }";
    let mut gateway = gateway(directory.clone(), &url, keys);
    gateway.get("/").expect_ok();
    let success = "tidegate_config_last_reload_success";
    let renewed = clients.client("gateway", &["gateway.test"]);
    for (file, text, said) in [
        ("ca.pem", "nothing", "`ca.pem` holds no certificate"),
        (
            "own.pem",
            &*renewed.cert,
            "`own.key` holds the key of another certificate",
        ),
    ] {
        let good = std::fs::read_to_string(directory.join(file)).unwrap();
        std::fs::write(directory.join(file), text).unwrap();
        gateway.await_metric(success, &[], 0.0);
        // What else is new is taken up, and what was read before still opens connections.
        gateway.apply(&self::file(&url, &format!("balance: random, {keys}")));
        let before = secure.seen().len();
        until(PATIENCE, "another connection", || {
            gateway.get("/").expect_ok();
            secure.seen().len() > before
        });
        let line = gateway.await_stderr(&format!("{said}; what it held before stays in force"));
        assert!(line.contains("gateway.yaml:"), "{line}");
        assert_eq!(gateway.metric(success, &[]), Some(0.0));
        let refused = gateway.admin_post("/reload");
        assert_eq!(refused.status, 422);
        let problems = refused.json()["problems"].to_string();
        assert!(problems.contains(said), "{problems}");
        std::fs::write(directory.join(file), good).unwrap();
        gateway.await_metric(success, &[], 1.0);
        gateway.apply(&self::file(&url, keys));
    }
    // A name under which nothing is in force has nothing that could stay.
    gateway.write_config(&self::file(&url, "tls: { ca: none.pem }"));
    gateway.await_stderr("`none.pem` cannot be read");
    gateway.get("/").expect_ok();
}

#[test]
fn clear_text_behind_https_is_a_failed_handshake() {
    let directory = unique_directory();
    authority_in(&directory);
    let plain = crate::support::Upstream::start(|peer| {
        // Before anything is read: what comes is no request.
        let _ = peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
        peer.closed();
    });
    let url = format!("https://127.0.0.1:{}", plain.address().port());
    gateway(directory, &url, "tls: { ca: ca.pem }")
        .get("/")
        .expect_refusal(502, "upstream_tls_failed");
}

#[test]
fn a_changed_authority_makes_new_connections() {
    let directory = unique_directory();
    let authority = authority_in(&directory);
    let secure = Secure::start(&authority.issue(&["localhost"]), None);
    let url = format!("https://localhost:{}", secure.address.port());
    let gateway = gateway(directory.clone(), &url, "tls: { ca: ca.pem }");
    gateway.get("/").expect_ok();
    // The kept connection was made under a trust that is gone.
    let other = Authority::new("other");
    std::fs::write(directory.join("ca.pem"), &other.cert).unwrap();
    until(PATIENCE, "nobody is believed any more", || {
        gateway.get("/").status == 502
    });
    std::fs::write(directory.join("ca.pem"), &authority.cert).unwrap();
    until(PATIENCE, "it is believed again", || {
        gateway.get("/").status == 200
    });
}

#[test]
fn endpoints_of_tls_are_probed_over_tls() {
    let often = "health_check: { interval: 60ms, timeout: 5s }";
    let authority = Authority::new("root");
    let secure = Secure::start(&authority.issue(&["localhost"]), None);
    let url = format!("https://localhost:{}", secure.address.port());
    let told = |gateway: &Gateway| {
        let said = gateway.admin_get("/upstreams", "").expect_ok().json();
        said["upstreams"][0]["endpoints"][0]["health"]["probe"].clone()
    };
    for (server_name, verdict) in [("localhost", "healthy"), ("other.test", "unhealthy")] {
        let directory = unique_directory();
        std::fs::write(directory.join("ca.pem"), &authority.cert).unwrap();
        let keys = format!("{often}, tls: {{ ca: ca.pem, server_name: {server_name} }}");
        let gateway = gateway(directory, &url, &keys);
        until(PATIENCE, verdict, || told(&gateway)["verdict"] == verdict);
        if verdict == "healthy" {
            // Each probe has a connection of its own, and does not begin from nothing.
            until(PATIENCE, "a session is resumed", || {
                secure.seen().iter().any(|seen| seen.resumed)
            });
        } else {
            let last = told(&gateway)["last"].clone();
            assert!(
                last.as_str().unwrap().contains("no TLS came to be"),
                "{last}"
            );
        }
    }
}

#[test]
fn sessions_are_resumed_over_a_reload() {
    let directory = unique_directory();
    let authority = authority_in(&directory);
    let endpoint = Secure::start(&authority.issue(&["127.0.0.1"]), None);
    let url = format!("https://{}", endpoint.address);
    // Hardly any connection is kept.
    let keys = "pool: { max_age: 1ms }, tls: { ca: ca.pem }";
    let gateway = gateway(directory, &url, keys);
    let shake = || {
        let before = endpoint.seen().len();
        until(PATIENCE, "another connection", || {
            gateway.get("/").expect_ok();
            endpoint.seen().len() > before
        });
        endpoint.seen()[before].resumed
    };
    assert_eq!([shake(), shake()], [false, true]);
    gateway.apply(&file(&url, &format!("balance: random, {keys}")));
    assert!(shake());
    // Another way of believing begins anew.
    let other = "pool: { max_age: 1ms }, tls: { ca: ca.pem, server_name: 127.0.0.1 }";
    gateway.apply(&file(&url, other));
    assert!(!shake());
}
