//! Whatever is written, an answer comes and names a place of the text.

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/gateway.yaml"));

fn answers(text: &str) {
    let lines = text.split(['\n', '\r']).count();
    let problems = match parse_text("f", text, &no_env) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => {
            assert!(!problems.is_empty());
            problems
        }
    };
    assert!(
        problems
            .iter()
            .all(|p| (1..=lines).contains(&p.line) && p.column >= 1),
        "{}",
        render(&problems)
    );
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in "([ -~\n]|[{}\\[\\]:&*!|>'\"%@`#,?-]|\\PC|\t|\r){0,60}") {
        answers(&text);
    }

    #[test]
    fn a_damaged_example_has_an_answer(
        at in 0..EXAMPLE.len(),
        gone in 0_usize..40,
        put in "([a-z0-9 \n:]|[{}\\[\\]&*!|>'\"$#,?-]|<<: |\\PC){0,12}",
    ) {
        let from = (0..=at).rev().find(|at| EXAMPLE.is_char_boundary(*at)).unwrap_or(0);
        let to = (at + gone..).find(|to| *to >= EXAMPLE.len() || EXAMPLE.is_char_boundary(*to)).unwrap_or(at);
        let rest = EXAMPLE.get(to..).unwrap_or_default();
        answers(&format!("{}{put}{rest}", &EXAMPLE[..from]));
    }
}
