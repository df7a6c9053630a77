//! `/`: one small page for a browser that lists what this port serves. Nothing on it is loaded from anywhere.

use std::fmt::Write as _;

use super::pages::{ROWS, Way};

/// Only the style of this page, by its hash (CSP level 3, section 2.3.1), and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'sha256-9jf5I4xF1DtaefgCUYM5DIiuZFZ8MQ3yC4d0Q+MswFM='; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = ":root{color-scheme:light dark;--line:#8884;--soft:#888}\
body{font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:3rem auto;padding:0 1.5rem}\
h1{font-size:1.5rem;margin:0}h2{font-size:1rem;margin:2.2rem 0 .4rem}\
.facts{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:.5rem 0 0;padding:0;list-style:none;color:var(--soft)}\
.facts b{color:CanvasText;font-weight:600}\
table{border-collapse:collapse;width:100%}td{padding:.45rem 1rem .45rem 0;border-top:1px solid var(--line);vertical-align:top}\
td:first-child{white-space:nowrap;width:11rem}\
code,pre{font:13px/1.5 ui-monospace,monospace}pre{overflow-x:auto;padding:.7rem .9rem;border:1px solid var(--line);border-radius:.4rem}\
a{color:LinkText}";

/// What the page tells beside the list.
pub(super) struct Facts {
    pub(super) version: &'static str,
    pub(super) generation: u64,
    /// `serving` or `draining`.
    pub(super) phase: &'static str,
    pub(super) listeners: usize,
    pub(super) routes: usize,
    pub(super) upstreams: usize,
    /// Of the control log.
    pub(super) level: String,
    /// Where this page was asked for, for the examples.
    pub(super) address: String,
    /// Do the examples want a token?
    pub(super) token: bool,
}

/// The page.
pub(super) fn render(facts: &Facts) -> String {
    let mut out = String::with_capacity(4096);
    let Facts {
        version,
        generation,
        phase,
        listeners,
        routes,
        upstreams,
        level,
        ..
    } = facts;
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Tidegate</title><style>{STYLE}</style>\
         <h1>Tidegate</h1><ul class=\"facts\"><li>version <b>{version}</b><li><b>{phase}</b><li>generation <b>{generation}</b>\
         <li>listeners <b>{listeners}</b><li>routes <b>{routes}</b><li>upstreams <b>{upstreams}</b><li>log level <b>{}</b></ul>",
        escape(level)
    );
    out.push_str("<h2>Pages</h2><table>");
    for row in ROWS.iter().filter(|row| !matches!(row.way, Way::Verb(_))) {
        let (path, what) = (row.path, escape(row.what));
        let _ = if path.contains('{') {
            write!(out, "<tr><td><code>{path}</code><td>{what}")
        } else {
            write!(
                out,
                "<tr><td><a href=\"{path}\"><code>{path}</code></a><td>{what}"
            )
        };
    }
    out.push_str("</table><h2>Verbs</h2><table>");
    for row in &ROWS {
        if let Way::Verb(method) | Way::ReadOr(method) = row.way {
            let _ = write!(
                out,
                "<tr><td><code>{method} {}</code><td>{}",
                row.path,
                escape(row.what)
            );
        }
    }
    out.push_str("</table><h2>By hand</h2><pre>");
    for line in examples(facts) {
        let _ = writeln!(out, "{}", escape(&line));
    }
    out.push_str("</pre></html>\n");
    out
}

fn examples(facts: &Facts) -> [String; 4] {
    let token = if facts.token {
        " -H \"Authorization: Bearer $TOKEN\""
    } else {
        ""
    };
    let address = &facts.address;
    [
        format!("curl{token} http://{address}/config"),
        format!("curl -X POST -H 'X-Tidegate-Admin: 1'{token} http://{address}/reload"),
        format!(
            "curl -X PUT -H 'X-Tidegate-Admin: 1'{token} -d '{{\"level\":\"debug\"}}' http://{address}/loglevel"
        ),
        format!(
            "curl -X PUT -H 'X-Tidegate-Admin: 1'{token} -d '{{\"force\":\"open\"}}' http://{address}/breakers/NAME"
        ),
    ]
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    fn page() -> String {
        render(&Facts {
            version: "1.2.3",
            generation: 7,
            phase: "serving",
            listeners: 1,
            routes: 2,
            upstreams: 3,
            level: "info, <b>".into(),
            address: "127.0.0.1:9901".into(),
            token: true,
        })
    }

    /// RFC 4648, section 4.
    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk
                .iter()
                .fold(0, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for place in 0..4 {
                let letter = LETTERS[(word >> (18 - 6 * place) & 63) as usize];
                out.push(if place > chunk.len() {
                    '='
                } else {
                    char::from(letter)
                });
            }
        }
        out
    }

    #[test]
    fn the_policy_allows_this_style_and_nothing_else() {
        let hash = base64(&Sha256::digest(STYLE));
        assert!(
            POLICY.contains(&format!("'sha256-{hash}'")),
            "the hash is {hash}"
        );
        assert!(POLICY.starts_with("default-src 'none';"));
    }

    #[test]
    fn the_page_lists_everything_and_loads_nothing() {
        let page = page();
        for row in &ROWS {
            assert!(page.contains(row.path), "{}", row.path);
        }
        for word in ["src=", "<script", "@import", "url(", "style="] {
            assert!(!page.contains(word), "{word}");
        }
        assert!(page.contains("info, &lt;b&gt;") && page.contains("<b>7</b>"));
    }
}
