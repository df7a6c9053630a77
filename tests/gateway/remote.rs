//! A configuration from a server: fetched only when it changes, believed only when it is signed, remembered for bad days.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{Authority, Client, Gateway, PATIENCE, Visitor, unique_directory, until};

/// What the server has at the moment.
#[derive(Clone, Default)]
struct Shelf {
    text: String,
    signature: Option<String>,
    redirect: Option<String>,
    /// Hangs up before it answers.
    away: bool,
    /// Requests of the text, and how many of them were answered with 304.
    asked: usize,
    not_modified: usize,
}

/// A server of configurations, with an authority of its own.
struct Server {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    directory: PathBuf,
    tls: bool,
}

impl Server {
    fn start(text: &str) -> Server {
        Server::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), text, true)
    }

    fn start_on(listener: TcpListener, text: &str, tls: bool) -> Server {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let directory = unique_directory();
        fs::write(directory.join("ca.pem"), own.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let shelf = Arc::new(Mutex::new(Shelf {
            text: text.to_owned(),
            ..Shelf::default()
        }));
        let server = Server {
            address: listener.local_addr().unwrap(),
            shelf: shelf.clone(),
            directory,
            tls,
        };
        let config = Arc::new(config);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, shelf) = (config.clone(), shelf.clone());
                thread::spawn(move || {
                    if tls {
                        let connection = ServerConnection::new(config).unwrap();
                        serve(StreamOwned::new(connection, stream), &shelf);
                    } else {
                        serve(stream, &shelf);
                    }
                });
            }
        });
        server
    }

    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://localhost:{}/gateway.yaml", self.address.port())
    }

    fn put(&self, change: impl FnOnce(&mut Shelf)) {
        change(&mut self.shelf.lock().unwrap());
    }

    fn count(&self) -> Shelf {
        self.shelf.lock().unwrap().clone()
    }

    /// Starts a gateway that trusts this server.
    fn spawn(&self, more: &[&str]) -> Gateway {
        let ca = self.directory.join("ca.pem").display().to_string();
        let mut arguments = vec!["--config-ca", &ca];
        arguments.extend(more);
        Gateway::spawn_remote(&self.url(), unique_directory(), &arguments)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn serve(mut stream: impl Read + Write, shelf: &Mutex<Shelf>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    if shelf.lock().unwrap().away {
        return;
    }
    let answer = answer(&head, &mut shelf.lock().unwrap());
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
}

fn answer(head: &str, shelf: &mut Shelf) -> String {
    let target = head.split(' ').nth(1).unwrap();
    let whole = |body: &str, more: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{more}\r\n{body}",
            body.len()
        )
    };
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    if target == "/gateway.yaml.sig" {
        return shelf.signature.as_ref().map_or(missing, |s| whole(s, ""));
    }
    if let Some(to) = shelf
        .redirect
        .as_ref()
        .filter(|_| target == "/gateway.yaml")
    {
        return format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
    }
    shelf.asked += 1;
    let tag = format!(
        "\"{}-{}\"",
        shelf.text.len(),
        shelf.text.matches('7').count()
    );
    if head.contains(&tag) {
        shelf.not_modified += 1;
        return format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n");
    }
    whole(&shelf.text, &format!("ETag: {tag}\r\n"))
}

fn saying(word: &str) -> String {
    format!(
        "workers: 1\nadmin: {{ bind: \"127.0.0.1:0\" }}\nlisteners: [{{ name: main, bind: \"127.0.0.1:0\" }}]\n\
         routes: [{{ respond: {{ body: {word} }} }}]\n"
    )
}

/// The same over TLS, with the certificate `NAME.pem` and its key.
fn secured(name: &str) -> String {
    let tls = format!("tls: {{ certificates: [{{ cert: {name}.pem, key: {name}.key }}] }}, bind:");
    saying("sealed").replacen(
        "bind: \"127.0.0.1:0\" }]",
        &format!("{tls} \"127.0.0.1:0\" }}]"),
        1,
    )
}

/// Expects the end, and returns what was said.
fn refused(mut gateway: Gateway) -> String {
    let status = gateway.wait_exit(2 * PATIENCE);
    assert!(matches!(status.code(), Some(1 | 2)), "{status}");
    gateway.stderr_lines().join("\n")
}

fn await_word(gateway: &Gateway, word: &str) {
    until(2 * PATIENCE, word, || gateway.get("/").text() == word);
}

#[test]
fn it_is_fetched_again_only_when_it_changes() {
    let server = Server::start(&saying("one"));
    let gateway = server.spawn(&[]).ready();
    assert_eq!(gateway.get("/").expect_ok().text(), "one");
    assert_eq!(server.count().not_modified, 0);
    gateway.sighup();
    until(PATIENCE, "it asks by ETag", || {
        server.count().not_modified == 1
    });
    until(PATIENCE, "nothing is new", || {
        gateway.count_stderr("reload unchanged") == 1
    });
    server.put(|shelf| shelf.text = saying("second"));
    gateway.sighup();
    await_word(&gateway, "second");
    // A text with a problem changes nothing, and its place is told.
    server.put(|shelf| shelf.text = saying("third").replace("workers: 1", "wrkers: 1"));
    gateway.sighup();
    until(PATIENCE, "the problem is told with its place", || {
        gateway.count_stderr(&format!("{}:1:1: unknown key", server.url())) == 1
    });
    assert_eq!(gateway.get("/").text(), "second");
}

#[test]
fn it_is_looked_at_every_ten_seconds() {
    let server = Server::start_on(
        TcpListener::bind("127.0.0.1:0").unwrap(),
        &saying("one"),
        false,
    );
    let gateway = server.spawn(&[]).ready();
    server.put(|shelf| shelf.text = saying("second"));
    await_word(&gateway, "second");
    let asked = server.count().asked;
    until(2 * PATIENCE, "it asks once more", || {
        server.count().asked > asked
    });
    // Nothing is new, and nobody asked: no word of it.
    assert_eq!(gateway.count_stderr("reload unchanged"), 0);
    assert_eq!(gateway.count_stderr("reload applied"), 1);
}

#[test]
fn only_a_text_that_is_signed_is_taken_up() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let sign = |text: &str| Some(STANDARD.encode(pair.sign(text.as_bytes())));
    let server = Server::start(&saying("one"));
    let key = server.directory.join("key").display().to_string();
    fs::write(&key, STANDARD.encode(pair.public_key().as_ref())).unwrap();
    let options = ["--config-key", key.as_str()];
    let said = refused(server.spawn(&options));
    assert!(said.contains(".sig") && said.contains("404"), "{said}");
    server.put(|shelf| shelf.signature = sign("something else"));
    let said = refused(server.spawn(&options));
    assert!(said.contains("signature"), "{said}");
    server.put(|shelf| shelf.signature = sign(&shelf.text));
    let gateway = server.spawn(&options).ready();
    assert_eq!(gateway.get("/").text(), "one");
    // The text comes before its signature: refused, then taken up.
    server.put(|shelf| shelf.text = saying("second"));
    gateway.sighup();
    until(PATIENCE, "the old signature is refused", || {
        gateway.count_stderr("the signature is not that of") == 1
    });
    assert_eq!(gateway.get("/").text(), "one");
    assert_eq!(
        gateway.metric("tidegate_config_last_reload_success", &[]),
        Some(0.0)
    );
    server.put(|shelf| shelf.signature = sign(&shelf.text));
    gateway.sighup();
    await_word(&gateway, "second");
}

#[test]
fn the_last_good_one_serves_while_the_server_is_away() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let state = unique_directory();
    let server = Server::start(&saying("good"));
    server.put(|shelf| {
        shelf.signature = Some(STANDARD.encode(pair.sign(shelf.text.as_bytes())));
    });
    let key = server.directory.join("key").display().to_string();
    fs::write(&key, STANDARD.encode(pair.public_key().as_ref())).unwrap();
    let kept = state.display().to_string();
    let options = ["--config-key", key.as_str(), "--state-dir", kept.as_str()];
    drop(server.spawn(&options).ready());
    let files: Vec<PathBuf> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    // Its server hangs up on everybody.
    server.put(|shelf| shelf.away = true);
    let gateway = server.spawn(&options).ready();
    assert_eq!(gateway.get("/").text(), "good");
    assert_eq!(
        gateway.count_stderr("starting with the last good configuration"),
        1
    );
    server.put(|shelf| {
        shelf.away = false;
        shelf.text = saying("better");
        shelf.signature = Some(STANDARD.encode(pair.sign(shelf.text.as_bytes())));
    });
    gateway.sighup();
    await_word(&gateway, "better");
    let is_kept = || fs::read_to_string(&files[0]).unwrap().contains("better");
    until(PATIENCE, "the better one is kept", is_kept);
    drop(gateway);
    // What somebody else wrote there is not signed.
    let text = fs::read_to_string(&files[0]).unwrap();
    fs::write(&files[0], text.replace("better", "forged")).unwrap();
    server.put(|shelf| shelf.away = true);
    let said = refused(server.spawn(&options));
    assert!(
        said.contains("the last good configuration is not used"),
        "{said}"
    );
    fs::remove_dir_all(state).unwrap();
}

#[test]
fn a_server_that_goes_and_comes_back_is_told_of_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start_on(listener, &saying("one"), false);
    let gateway = server.spawn(&[]).ready();
    server.put(|shelf| shelf.redirect = Some("https://other.test/".to_owned()));
    let asked = || gateway.count_stderr("only redirects within one host are followed");
    until(2 * PATIENCE, "the failure is told", || asked() == 1);
    let admin = gateway.admin().unwrap();
    let verb = format!(
        "POST /reload HTTP/1.1\r\nHost: {admin}\r\nX-Tidegate-Admin: 1\r\nContent-Length: 0\r\n\r\n"
    );
    let told = Client::connect(admin).ask(&verb);
    assert_eq!(told.status, 422);
    assert_eq!(told.json()["problems"][0]["file"], server.url());
    assert_eq!(gateway.get("/").text(), "one");
    server.put(|shelf| shelf.redirect = Some("/moved.yaml".to_owned()));
    assert_eq!(Client::connect(admin).ask(&verb).status, 200);
    assert_eq!(
        gateway.metric("tidegate_config_last_reload_success", &[]),
        Some(1.0)
    );
}

#[test]
fn what_cannot_be_trusted_or_understood_is_refused_at_the_start() {
    let server = Server::start(&saying("one"));
    let directory = || unique_directory();
    let said = refused(Gateway::spawn_remote(&server.url(), directory(), &[]));
    assert!(said.contains("certificate"), "an unknown authority: {said}");
    let said = refused(Gateway::spawn_remote(
        "http://10.0.0.1/g.yaml",
        directory(),
        &[],
    ));
    assert!(said.contains("this machine only"), "{said}");
    let said = refused(Gateway::spawn_remote(
        "gateway.yaml",
        directory(),
        &["--state-dir", "/"],
    ));
    assert!(said.contains("is a path"), "{said}");
    for (text, why) in [
        (
            format!("{}include: [more.yaml]\n", saying("x")),
            "is not beside this configuration",
        ),
        (
            secured("a"),
            "certificates and keys are not fetched: name a file of this machine",
        ),
        (
            format!("# {}\n{}", "x".repeat(8 << 20), saying("x")),
            "larger than 8 MiB",
        ),
        ("listeners: {\n".to_owned(), "gateway.yaml:"),
    ] {
        server.put(|shelf| shelf.text = text);
        let said = refused(server.spawn(&[]));
        assert!(
            said.contains(why) && said.contains(&server.url()),
            "{why}: {said}"
        );
    }
}

#[test]
fn its_certificates_are_files_of_this_machine() {
    let (authority, directory) = (Authority::new("edge"), unique_directory());
    let visitor = Visitor::trusting(&authority);
    authority.issue(&["a.test"]).write(&directory, "a");
    let path = directory.join("a").display().to_string();
    let server = Server::start(&secured(&path));
    let gateway = server.spawn(&[]).ready();
    let visit = || visitor.visit(gateway.address(), "a.test");
    assert_eq!(visit().get("/").expect_ok().text(), "sealed");
    // They are watched like any others, and the text is not fetched for it.
    let renewed = authority.issue(&["a.test"]);
    renewed.write(&directory, "a");
    until(PATIENCE, "the new certificate", || {
        visit().session().peer_certificates().unwrap()[0] == renewed.leaf()
    });
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/g.yaml", silent.local_addr().unwrap());
    let said = refused(Gateway::spawn_remote(&url, unique_directory(), &[]));
    assert!(said.contains("no whole answer within 10s"), "{said}");
    assert!(silent.accept().is_ok(), "it was asked");
}
