//! The standard metrics of a process, read from `/proc/self`; for the control thread, never for a request.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::names::Metric;
use super::text::Page;

/// Writes the `process_*` metrics. What the system does not tell is left out.
pub fn write(page: &mut Page) {
    if let Some(stat) = fs::read_to_string("/proc/self/stat")
        .ok()
        .as_deref()
        .and_then(Stat::parse)
    {
        let ticks = clock_ticks_per_second() as f64;
        page.value(
            Metric::ProcessCpuSeconds,
            &[],
            stat.cpu_ticks as f64 / ticks,
        );
        page.value(
            Metric::ProcessResidentMemory,
            &[],
            stat.resident_pages as f64 * page_size() as f64,
        );
        page.value(Metric::ProcessVirtualMemory, &[], stat.virtual_bytes as f64);
        page.value(Metric::ProcessThreads, &[], stat.threads as f64);
        if let Some(boot) = fs::read_to_string("/proc/stat")
            .ok()
            .as_deref()
            .and_then(boot_seconds)
        {
            page.value(
                Metric::ProcessStartTime,
                &[],
                boot + stat.start_ticks as f64 / ticks,
            );
        }
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        // The directory being read is open itself.
        page.value(
            Metric::ProcessOpenFds,
            &[],
            entries.count().saturating_sub(1) as f64,
        );
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        page.value(Metric::ProcessMaxFds, &[], limit as f64);
    }
}

/// What `/proc/self/stat` tells (proc_pid_stat(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// The second field is the program's name in parentheses and may hold anything, so fields are counted from the
    /// last parenthesis: the next one is the third.
    fn parse(stat: &str) -> Option<Stat> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine began, in seconds since 1970, from `/proc/stat`.
fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 7 0 12345 1048576 99 184 1 1";
        let expected = Stat {
            cpu_ticks: 300,
            threads: 7,
            start_ticks: 12345,
            virtual_bytes: 1_048_576,
            resident_pages: 99,
        };
        assert_eq!(Stat::parse(stat), Some(expected));
        assert_eq!(Stat::parse("42 (a) S 1"), None);
    }

    #[test]
    fn the_start_of_this_process_lies_near_its_own_clock() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let boot = boot_seconds(&fs::read_to_string("/proc/stat").unwrap()).unwrap();
        let start =
            boot + Stat::parse(&stat).unwrap().start_ticks as f64 / clock_ticks_per_second() as f64;
        let now = crate::time::wall_nanos() as f64 / 1e9;
        assert!(start <= now + 2.0 && start > now - 3600.0, "{start} {now}");
    }
}
