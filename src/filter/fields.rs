//! Changes to the fields of a message, as the file says them: remove, then set, then add.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// What a route does to the fields of its requests or answers.
#[derive(Clone, Debug, Default)]
pub struct FieldChanges {
    /// Taken away, every line.
    pub remove: Vec<HeaderName>,
    /// One line with this value, whatever was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// One line more.
    pub add: Vec<(HeaderName, HeaderValue)>,
}

impl FieldChanges {
    /// Applies them, in this order.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}
