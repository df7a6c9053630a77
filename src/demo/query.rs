//! What a request tells a service of the demo: `?ms=200&every=3`.

use http::{Response, StatusCode, Uri};
use serde_json::json;
use tidegate::proxy::body::Body;

use super::serve;

/// The number that the query gives for `name`, if it names it.
///
/// # Errors
/// What is written there is no such number, in words.
pub(super) fn number(uri: &Uri, name: &str) -> Result<Option<u64>, String> {
    let parse = |text: &str| {
        let number = text.parse();
        number.map_err(|_| format!("`{name}={text}`: a whole number is wanted"))
    };
    find(uri, name).map(parse).transpose()
}

/// Whether the query names `name` with anything but 0.
pub(super) fn is_set(uri: &Uri, name: &str) -> bool {
    find(uri, name).is_some_and(|value| value != "0")
}

/// The answer to a query that cannot be followed.
pub(super) fn complain(problem: &str) -> Response<Body> {
    serve::json(StatusCode::BAD_REQUEST, &json!({ "problem": problem }))
}

fn find<'u>(uri: &'u Uri, name: &str) -> Option<&'u str> {
    let pairs = uri.query()?.split('&');
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let uri = uri("/slow?comms=1&ms=250&every");
        assert_eq!(number(&uri, "ms").unwrap(), Some(250));
        assert_eq!(number(&uri, "m").unwrap(), None);
    }

    #[test]
    fn what_is_no_number_is_said() {
        for target in ["/slow?ms=1s", "/slow?ms=-1", "/slow?ms"] {
            assert!(number(&uri(target), "ms").is_err(), "{target}");
        }
    }

    #[test]
    fn a_word_is_set_unless_it_is_zero_or_absent() {
        let uri = uri("/flaky?reset&hang=1&every=0");
        let set = ["reset", "hang", "every", "status"].map(|name| is_set(&uri, name));
        assert_eq!(set, [true, true, false, false]);
    }
}
