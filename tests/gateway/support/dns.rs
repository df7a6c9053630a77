//! A scripted DNS server on loopback, over UDP and TCP: what it says is set per name, and what it is asked is kept.
//!
//! It depends on nothing else of the harness: the unit tests of the resolver use it too.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

/// How often the threads look whether they shall end.
const LOOK: Duration = Duration::from_millis(20);

/// What the server says to a question.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Those of the family that was asked for, with this time to live in seconds; none of it is an empty answer.
    Addresses(Vec<IpAddr>, u32),
    /// The name is an alias of another, with this time to live; the answer has the alias alone.
    Alias(&'static str, u32),
    /// These records, whoever's they are: name, address, time to live.
    Records(Vec<(&'static str, IpAddr, u32)>),
    /// A response code and nothing else.
    Code(ResponseCode),
    /// Nothing at all.
    Silence,
    /// This, but only after a while.
    Late(Duration, Box<Say>),
    /// Bytes that are no message, under the right id.
    Garbage,
    /// These addresses under another id than the question's, and then nothing.
    WrongId(Vec<IpAddr>),
    /// Over UDP a truncated answer; over TCP this.
    Truncated(Box<Say>),
}

/// The addresses `list`, each to be read from text.
pub(crate) fn addresses(list: &[&str], ttl: u32) -> Say {
    Say::Addresses(list.iter().map(|ip| ip.parse().unwrap()).collect(), ttl)
}

/// A question that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// In lower case, without the dot at its end.
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) over_tcp: bool,
    pub(crate) at: Instant,
}

#[derive(Default)]
struct Script {
    /// By name, and by family where they differ.
    says: HashMap<(String, Option<RecordType>), Say>,
    asked: Vec<Question>,
    /// Questions whose answers are late, and the most that there ever were of them.
    open: HashSet<(String, RecordType)>,
    most_open: usize,
}

impl Script {
    /// Marks the question that came last as one that waits for its answer.
    fn open_last(&mut self) -> (String, RecordType) {
        let last = self.asked.last().expect("a question came");
        let question = (last.name.clone(), last.kind);
        self.open.insert(question.clone());
        self.most_open = self.most_open.max(self.open.len());
        question
    }
}

/// The server. Its threads end when it goes.
pub(crate) struct Dns {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Dns {
    /// Listens on a free port of loopback. A name without a script does not exist.
    pub(crate) fn start() -> Dns {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            // The same port may be taken over TCP.
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let mut dns = Dns {
            address: udp.local_addr().unwrap(),
            script: Arc::default(),
            ended: Arc::default(),
            threads: Vec::new(),
        };
        dns.serve(udp, tcp);
        dns
    }

    fn serve(&mut self, udp: UdpSocket, tcp: TcpListener) {
        udp.set_read_timeout(Some(LOOK)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        let (script, ended) = (self.script.clone(), self.ended.clone());
        self.threads
            .push(thread::spawn(move || serve_udp(&udp, &script, &ended)));
        let (script, ended) = (self.script.clone(), self.ended.clone());
        self.threads
            .push(thread::spawn(move || serve_tcp(&tcp, &script, &ended)));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this is said of `name`.
    pub(crate) fn say(&self, name: &str, say: Say) {
        let mut script = self.script.lock().unwrap();
        script.says.retain(|(other, _), _| other != name);
        script.says.insert((name.to_owned(), None), say);
    }

    /// The same for one family only.
    pub(crate) fn say_of(&self, name: &str, kind: RecordType, say: Say) {
        let mut script = self.script.lock().unwrap();
        script.says.insert((name.to_owned(), Some(kind)), say);
    }

    /// Every question about `name` so far.
    pub(crate) fn questions(&self, name: &str) -> Vec<Question> {
        let script = self.script.lock().unwrap();
        let asked = script.asked.iter().filter(|question| question.name == name);
        asked.cloned().collect()
    }

    /// How often the addresses of one family of `name` were asked for.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> usize {
        let questions = self.questions(name);
        questions.iter().filter(|q| q.kind == kind).count()
    }

    /// The most questions that waited for a late answer at one time; one that was sent again is the same.
    pub(crate) fn most_open(&self) -> usize {
        self.script.lock().unwrap().most_open
    }

    /// Closes its sockets, as a server that dies does.
    pub(crate) fn stop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }

    /// Listens again on the same address after [`Dns::stop`].
    pub(crate) fn restart(&mut self) {
        self.ended = Arc::default();
        let udp = UdpSocket::bind(self.address).unwrap();
        let tcp = TcpListener::bind(self.address).unwrap();
        self.serve(udp, tcp);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve_udp(socket: &UdpSocket, script: &Arc<Mutex<Script>>, ended: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !ended.load(Ordering::SeqCst) {
        let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let (wait, answer) = reply(&buffer[..length], script, false);
        let Some(answer) = answer else {
            continue;
        };
        if wait.is_zero() {
            let _ = socket.send_to(&answer, peer);
        } else {
            let (socket, script) = (socket.try_clone().unwrap(), script.clone());
            let question = script.lock().unwrap().open_last();
            thread::spawn(move || {
                thread::park_timeout(wait);
                script.lock().unwrap().open.remove(&question);
                let _ = socket.send_to(&answer, peer);
            });
        }
    }
}

fn serve_tcp(listener: &TcpListener, script: &Arc<Mutex<Script>>, ended: &AtomicBool) {
    while !ended.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                let script = script.clone();
                thread::spawn(move || drop(serve_stream(stream, &script)));
            }
            Err(_) => thread::park_timeout(LOOK),
        }
    }
}

/// RFC 1035, section 4.2.2: each message behind its length. Ends with the connection.
fn serve_stream(mut stream: TcpStream, script: &Arc<Mutex<Script>>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let (wait, answer) = reply(&question, script, true);
        if !wait.is_zero() {
            thread::park_timeout(wait);
        }
        if let Some(answer) = answer {
            stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }
}

/// The answer to a message, and how long to wait before it is sent; `None` = none.
fn reply(message: &[u8], script: &Mutex<Script>, over_tcp: bool) -> (Duration, Option<Vec<u8>>) {
    let Ok(question) = Message::from_vec(message) else {
        return (Duration::ZERO, None);
    };
    let Some(query) = question.queries.first() else {
        return (Duration::ZERO, None);
    };
    let (kind, name) = (query.query_type(), query.name().to_ascii());
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let mut script = script.lock().unwrap();
    script.asked.push(Question {
        name: name.clone(),
        kind,
        over_tcp,
        at: Instant::now(),
    });
    let own = script.says.get(&(name.clone(), Some(kind)));
    let say = own.or_else(|| script.says.get(&(name, None))).cloned();
    answer(
        &question,
        say.unwrap_or(Say::Code(ResponseCode::NXDomain)),
        over_tcp,
    )
}

fn answer(question: &Message, say: Say, over_tcp: bool) -> (Duration, Option<Vec<u8>>) {
    let query = question.queries[0].clone();
    let mut message = question.clone().into_response();
    match say {
        Say::Silence => return (Duration::ZERO, None),
        Say::Late(wait, say) => return (wait, answer(question, *say, over_tcp).1),
        Say::Truncated(say) if over_tcp => return answer(question, *say, over_tcp),
        Say::Truncated(_) => message.metadata.truncation = true,
        Say::Garbage => {
            let mut bytes = question.to_vec().unwrap();
            bytes.truncate(2);
            bytes.extend([0x81, 0x80, 0, 1, 0, 200, 0, 0, 0, 0, 0xff, 0xff, 0xff]);
            return (Duration::ZERO, Some(bytes));
        }
        Say::Code(code) => message.metadata.response_code = code,
        Say::Addresses(list, ttl) => {
            message.add_answers(records(query.name(), query.query_type(), &list, ttl));
        }
        Say::WrongId(list) => {
            message.metadata.id = question.id.wrapping_add(1);
            message.add_answers(records(query.name(), query.query_type(), &list, 60));
        }
        Say::Alias(target, ttl) => {
            let target = Name::from_ascii(format!("{target}.")).unwrap();
            let data = RData::CNAME(CNAME(target));
            message.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
        }
        Say::Records(list) => {
            for (owner, ip, ttl) in list {
                let owner = Name::from_ascii(format!("{owner}.")).unwrap();
                message.add_answers(records(&owner, query.query_type(), &[ip], ttl));
            }
        }
    }
    (Duration::ZERO, Some(message.to_vec().unwrap()))
}

fn records(name: &Name, kind: RecordType, list: &[IpAddr], ttl: u32) -> Vec<Record> {
    let wanted = list
        .iter()
        .filter(|ip| ip.is_ipv4() == (kind == RecordType::A));
    wanted
        .map(|ip| Record::from_rdata(name.clone(), ttl, RData::from(*ip)))
        .collect()
}
