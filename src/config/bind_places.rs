//! Where the addresses to bind stand in the files: that one of them is taken turns out after the files were found good.

use std::net::SocketAddr;

use super::address;
use super::fields::Fields;
use super::keys;
use super::node::{Node, Span};
use super::problem::{Problem, Severity};
use super::report::{Fault, Report};

/// The place of each `bind`, of listeners and of `admin`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BindPlaces(Vec<(SocketAddr, Problem)>);

impl BindPlaces {
    pub(super) fn find(root: &Node, report: &Report) -> BindPlaces {
        let fields = Fields::new(Some(root), keys::ROOT);
        let listeners = fields.node("listeners").map(Node::items);
        let listeners = listeners.unwrap_or_default().iter();
        let binds = listeners
            .filter_map(|node| Fields::new(Some(node), keys::LISTENER).node("bind"))
            .chain(fields.section("admin").node("bind"))
            .flat_map(Node::items);
        let places = binds.filter_map(|node| {
            let address = address::bind(&node.scalar()?.text).ok()?;
            Some((address, blank(node.span, report)?))
        });
        BindPlaces(places.collect())
    }

    /// The problem `message` with `address`, at the first place where it is written; of `file` as a whole where it is a
    /// default.
    #[must_use]
    pub fn problem(
        &self,
        address: SocketAddr,
        file: &str,
        message: String,
        help: String,
    ) -> Problem {
        match self.0.iter().find(|(other, _)| *other == address) {
            Some((_, place)) => Problem {
                message,
                help: Some(help),
                ..place.clone()
            },
            None => Problem::of_file(file, message, Some(help)),
        }
    }
}

fn blank(span: Span, report: &Report) -> Option<Problem> {
    report.problem(span, Fault::bare(""), Severity::Error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_of_an_address_stands_where_that_is_written() {
        let text = "listeners:\n  - bind: 127.0.0.1:1\n  - { name: b, bind: [\"127.0.0.1:2\", \"127.0.0.1:3\"] }\n\
                    admin: { bind: \"127.0.0.1:4\" }\nroutes: [{ respond: { status: 200 } }]\n";
        let binds = super::super::parse_text("f", text, &|_| None)
            .unwrap()
            .binds;
        let place = |port| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let problem = binds.problem(address, "f", "taken".into(), "move".into());
            assert_eq!(
                (problem.message.as_str(), problem.help.as_deref()),
                ("taken", Some("move"))
            );
            (problem.line, problem.column)
        };
        assert_eq!(
            [place(1), place(2), place(3), place(4)],
            [(2, 11), (3, 23), (3, 38), (4, 16)]
        );
        assert_eq!(place(9901), (0, 0), "a default");
    }
}
