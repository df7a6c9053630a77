//! Methods and status codes as small numbers and label values: closed sets, whatever a peer sends.

use http::{Method, StatusCode};

/// Label values of methods, by [`method_index`].
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER",
];

/// A method's number: 0 to 8 for the known nine, 9 for any other.
#[must_use]
#[inline]
pub fn method_index(method: &Method) -> u8 {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::DELETE => 4,
        Method::CONNECT => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::PATCH => 8,
        _ => 9,
    }
}

/// The label value for a [`method_index`].
#[must_use]
pub fn method_label(index: u8) -> &'static str {
    METHODS.get(usize::from(index)).unwrap_or(&"OTHER")
}

/// The registered codes that are seen in practice, and 499 of the access log; ascending.
const USUAL: [(u16, &str); 69] = [
    (100, "100"),
    (101, "101"),
    (102, "102"),
    (103, "103"),
    (200, "200"),
    (201, "201"),
    (202, "202"),
    (203, "203"),
    (204, "204"),
    (205, "205"),
    (206, "206"),
    (207, "207"),
    (208, "208"),
    (226, "226"),
    (300, "300"),
    (301, "301"),
    (302, "302"),
    (303, "303"),
    (304, "304"),
    (305, "305"),
    (307, "307"),
    (308, "308"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (406, "406"),
    (407, "407"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (411, "411"),
    (412, "412"),
    (413, "413"),
    (414, "414"),
    (415, "415"),
    (416, "416"),
    (417, "417"),
    (418, "418"),
    (421, "421"),
    (422, "422"),
    (423, "423"),
    (424, "424"),
    (425, "425"),
    (426, "426"),
    (428, "428"),
    (429, "429"),
    (431, "431"),
    (451, "451"),
    (499, "499"),
    (500, "500"),
    (501, "501"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
    (505, "505"),
    (506, "506"),
    (507, "507"),
    (508, "508"),
    (510, "510"),
    (511, "511"),
    (520, "520"),
    (521, "521"),
    (522, "522"),
    (523, "523"),
    (524, "524"),
    (530, "530"),
];

/// Label values of all other codes, by their first digit; numbered after the usual ones.
const CLASSES: [&str; 10] = [
    "0xx", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx",
];

/// For each code from 0 to 999 its number.
const INDEX: [u8; 1000] = {
    let mut index = [0; 1000];
    let mut code = 0;
    while code < 1000 {
        index[code] = (USUAL.len() + code / 100) as u8;
        code += 1;
    }
    let mut usual = 0;
    while usual < USUAL.len() {
        index[USUAL[usual].0 as usize] = usual as u8;
        usual += 1;
    }
    index
};

/// A status code's number: one for each usual code, else one for its class.
#[must_use]
#[inline]
pub fn status_index(status: StatusCode) -> u8 {
    INDEX[usize::from(status.as_u16()) % INDEX.len()]
}

/// The label value for a [`status_index`]: the code itself, or its class such as `4xx`.
#[must_use]
pub fn status_label(index: u8) -> &'static str {
    let index = usize::from(index);
    match USUAL.get(index) {
        Some((_, label)) => label,
        None => CLASSES.get(index - USUAL.len()).unwrap_or(&CLASSES[0]),
    }
}
