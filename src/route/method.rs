//! Sets of methods: the nine of RFC 9110 and RFC 5789 as bits, any other by name.

use std::fmt;

use http::Method;

static KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

/// The bit of every method that is not among the known.
const OTHER: u16 = 1 << 9;

/// The methods that a rule takes.
#[derive(Clone, Debug)]
pub(super) struct Methods {
    known: u16,
    others: Box<[Method]>,
}

impl Methods {
    /// An empty list takes any method.
    pub(super) fn new(list: &[Method]) -> Methods {
        if list.is_empty() {
            return Methods {
                known: u16::MAX,
                others: Box::default(),
            };
        }
        let known = list
            .iter()
            .map(bit)
            .filter(|&bit| bit != OTHER)
            .fold(0, |set, bit| set | bit);
        Methods {
            known,
            others: list
                .iter()
                .filter(|method| bit(method) == OTHER)
                .cloned()
                .collect(),
        }
    }

    /// Takes whatever comes.
    pub(super) fn is_any(&self) -> bool {
        self.known == u16::MAX
    }

    /// HEAD is not GET: a rule takes what it names.
    pub(super) fn accept(&self, asked: Classified<'_>) -> bool {
        self.known & asked.bit != 0 || (asked.bit == OTHER && self.others.contains(asked.method))
    }
}

/// The method of a request, classified once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classified<'m> {
    bit: u16,
    method: &'m Method,
}

impl<'m> Classified<'m> {
    /// Of this request.
    pub(super) fn new(method: &'m Method) -> Classified<'m> {
        Classified {
            bit: bit(method),
            method,
        }
    }
}

/// What a 405 puts into `Allow` (RFC 9110, section 10.2.1): each method once, as many as the file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    known: u16,
    others: Vec<Method>,
}

impl Allowed {
    /// The known methods in a fixed order, then the others in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        let known = KNOWN
            .iter()
            .enumerate()
            .filter(|(number, _)| self.known & (1 << number) != 0);
        known.map(|(_, method)| method).chain(&self.others)
    }

    pub(super) fn add(&mut self, methods: &Methods) {
        self.known |= methods.known;
        for method in &methods.others {
            if !self.others.contains(method) {
                self.others.push(method.clone());
            }
        }
    }
}

impl fmt::Display for Allowed {
    /// The value of the field: `GET, POST`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, method) in self.iter().enumerate() {
            if number > 0 {
                f.write_str(", ")?;
            }
            f.write_str(method.as_str())?;
        }
        Ok(())
    }
}

fn bit(method: &Method) -> u16 {
    match *method {
        Method::GET => 1,
        Method::HEAD => 1 << 1,
        Method::POST => 1 << 2,
        Method::PUT => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::CONNECT => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::PATCH => 1 << 8,
        _ => OTHER,
    }
}
