//! What is printed when a test fails: little enough that a report which is cut still has why it failed.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;
use std::thread;

/// Lines of the control log, which hold the start and whatever went wrong.
const CONTROL: usize = 40;
/// Lines of the access log.
const ACCESS: usize = 20;
/// Characters of a line.
const WIDTH: usize = 400;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on the message of a panic is kept, to be said once more behind the logs.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let _ = PANIC.try_with(|kept| {
                kept.borrow_mut().get_or_insert_with(|| info.to_string());
            });
            usual(info);
        }));
    });
}

/// Prints the ends of both logs, and then why this thread panics.
pub(super) fn print(control: &[String], access: &[String]) {
    let name = thread::current().name().unwrap_or_default().to_owned();
    print_end("control log", control, CONTROL);
    print_end("access log", access, ACCESS);
    PANIC.with_borrow(|kept| {
        if let Some(message) = kept {
            eprintln!("--- {name} failed: {message}");
        }
    });
}

fn print_end(title: &str, lines: &[String], most: usize) {
    let left_out = lines.len().saturating_sub(most);
    eprintln!("--- {title} of the gateway ({left_out} lines before these)");
    for line in &lines[left_out..] {
        match line.char_indices().nth(WIDTH) {
            Some((end, _)) => eprintln!("{}…", &line[..end]),
            None => eprintln!("{line}"),
        }
    }
}
