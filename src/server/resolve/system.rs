//! What the machine says about names: `/etc/hosts` and `/etc/resolv.conf`, read again when they have changed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hickory_resolver::proto::rr::Name;
use resolv_conf::Config as ResolvConf;

/// Bytes that are read of either file.
const MOST_BYTES: u64 = 4 << 20;
/// Domains of the search list that are honoured.
const MOST_DOMAINS: usize = 16;
const PORT: u16 = 53;

/// Where the two files are.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) hosts: PathBuf,
    pub(super) resolv_conf: PathBuf,
}

impl Default for Files {
    fn default() -> Files {
        Files {
            hosts: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

/// What the two files said when they were read.
#[derive(Debug)]
pub(super) struct System {
    files: Files,
    stamps: [Option<Stamp>; 2],
    hosts: HashMap<Box<str>, Vec<IpAddr>>,
    /// The servers of `resolv.conf`; never empty.
    pub(super) servers: Vec<SocketAddr>,
    search: Vec<Name>,
    ndots: usize,
}

/// Differs when a file was written or replaced.
#[derive(Debug, PartialEq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl System {
    /// Reads both files; one that cannot be read counts as empty.
    pub(super) fn read(files: Files) -> System {
        // Taken before the files are read: a change in between is seen at the next look.
        let stamps = stamps(&files);
        let (config, errors) = ResolvConf::parse_with_errors(&bytes_of(&files.resolv_conf));
        for error in errors.iter().take(1) {
            tracing::warn!(path = %files.resolv_conf.display(), %error, "a line is left out");
        }
        let servers = config.get_nameservers_or_local().into_iter();
        let search = config.get_last_search_or_domain();
        System {
            hosts: parse_hosts(&String::from_utf8_lossy(&bytes_of(&files.hosts))),
            servers: servers.map(|ip| SocketAddr::new(ip.into(), PORT)).collect(),
            search: search
                .filter_map(|domain| Name::from_ascii(domain).ok())
                .take(MOST_DOMAINS)
                .collect(),
            ndots: usize::try_from(config.ndots).unwrap_or(usize::MAX),
            stamps,
            files,
        }
    }

    /// Reads them again if one of them has changed. True if so.
    pub(super) fn refresh(&mut self) -> bool {
        if stamps(&self.files) == self.stamps {
            return false;
        }
        *self = System::read(self.files.clone());
        true
    }

    /// The addresses that `/etc/hosts` has for `name`; `None` where it does not name it.
    pub(super) fn hosts(&self, name: &str) -> Option<&[IpAddr]> {
        self.hosts.get(name).map(Vec::as_slice)
    }

    /// The absolute names that `name` may stand for, in the order in which they are asked: resolver(5), `search` and
    /// `ndots`, but a name with dots enough is never tried below a search domain. Empty where it is not a name.
    pub(super) fn spellings(&self, name: &str) -> Vec<Name> {
        let Ok(mut absolute) = Name::from_ascii(name) else {
            return Vec::new();
        };
        let relative = absolute.clone();
        absolute.set_fqdn(true);
        let dots = name.matches('.').count();
        // RFC 6761, section 6.3: localhost is nowhere else.
        if absolute.is_localhost() || (dots > 0 && dots >= self.ndots) {
            return vec![absolute];
        }
        let below = |domain: &Name| relative.clone().append_domain(domain).ok();
        let mut spellings: Vec<Name> = self.search.iter().filter_map(below).collect();
        for spelling in &mut spellings {
            spelling.set_fqdn(true);
        }
        let place = if dots >= self.ndots {
            0
        } else {
            spellings.len()
        };
        spellings.insert(place, absolute);
        spellings
    }
}

/// hosts(5): an address, then names; `#` begins a comment. Lines that name the same add up.
fn parse_hosts(text: &str) -> HashMap<Box<str>, Vec<IpAddr>> {
    let mut hosts: HashMap<Box<str>, Vec<IpAddr>> = HashMap::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            hosts.entry(name.into()).or_default().push(ip);
        }
    }
    hosts
}

fn bytes_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
    if let Err(error) = read {
        tracing::debug!(path = %path.display(), %error, "not read");
    }
    bytes
}

fn stamps(files: &Files) -> [Option<Stamp>; 2] {
    [&files.hosts, &files.resolv_conf].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(hosts: &str, resolv_conf: &str) -> (System, PathBuf) {
        let directory = super::super::tests::directory();
        let files = Files {
            hosts: directory.join("hosts"),
            resolv_conf: directory.join("resolv.conf"),
        };
        fs::write(&files.hosts, hosts).unwrap();
        fs::write(&files.resolv_conf, resolv_conf).unwrap();
        (System::read(files), directory)
    }

    fn spellings(resolv_conf: &str, name: &str) -> Vec<String> {
        let (system, directory) = system("", resolv_conf);
        fs::remove_dir_all(directory).unwrap();
        let names = system.spellings(name);
        assert!(names.iter().all(Name::is_fqdn));
        names.iter().map(Name::to_ascii).collect()
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn hosts_names_are_read_with_all_their_lines() {
        let hosts = "\u{feff}127.0.0.1 localhost # comment other\n\n::1\tlocalhost ip6-localhost\n# 9.9.9.9 no\n\
            10.0.0.1 App.Internal. app\nbad line\nfe80::1%eth0 scoped\n10.0.0.2 app";
        let (system, directory) = system(hosts, "");
        fs::remove_dir_all(directory).unwrap();
        let of = |name| system.hosts(name).map(<[IpAddr]>::to_vec);
        assert_eq!(of("localhost"), Some(ips(&["127.0.0.1", "::1"])));
        assert_eq!(of("app.internal"), Some(ips(&["10.0.0.1"])));
        assert_eq!(of("app"), Some(ips(&["10.0.0.1", "10.0.0.2"])));
        for absent in ["other", "no", "line", "scoped", "comment"] {
            assert_eq!(of(absent), None, "{absent}");
        }
    }

    #[test]
    fn servers_are_those_of_the_file_or_this_machine() {
        for (text, servers) in [
            (
                "nameserver 10.0.0.1\nnameserver fd00::1\n",
                ["10.0.0.1:53", "[fd00::1]:53"].as_slice(),
            ),
            ("search a.test\n", &["127.0.0.1:53", "[::1]:53"]),
            ("", &["127.0.0.1:53", "[::1]:53"]),
            (
                "\0\u{1}garbage\nnameserver x",
                &["127.0.0.1:53", "[::1]:53"],
            ),
            ("bad\nnameserver 10.0.0.1", &["10.0.0.1:53"]),
        ] {
            let (system, directory) = system("", text);
            fs::remove_dir_all(directory).unwrap();
            let found: Vec<String> = system.servers.iter().map(ToString::to_string).collect();
            assert_eq!(found, servers, "{text}");
        }
    }

    #[test]
    fn short_names_are_searched_and_long_ones_are_not() {
        let usual = "nameserver 10.0.0.1\nsearch a.test b.test\n";
        assert_eq!(
            spellings(usual, "app"),
            ["app.a.test.", "app.b.test.", "app."]
        );
        assert_eq!(spellings(usual, "app.internal"), ["app.internal."]);
        assert_eq!(spellings(usual, "localhost"), ["localhost."]);
        assert_eq!(
            spellings(usual, "my_app"),
            ["my_app.a.test.", "my_app.b.test.", "my_app."]
        );
        assert_eq!(spellings("domain c.test", "app"), ["app.c.test.", "app."]);
        // As Docker writes it, and as Kubernetes does.
        let docker = format!("{usual}options ndots:0\n");
        assert_eq!(
            spellings(&docker, "app"),
            ["app.", "app.a.test.", "app.b.test."]
        );
        let kubernetes = format!("{usual}options ndots:5\n");
        assert_eq!(
            spellings(&kubernetes, "app.shop"),
            ["app.shop.a.test.", "app.shop.b.test.", "app.shop."]
        );
        assert!(spellings(usual, "a..b").is_empty());
    }

    #[test]
    fn a_file_that_changed_is_read_again() {
        let (mut system, directory) = system("10.0.0.1 app", "nameserver 10.0.0.1");
        assert!(!system.refresh());
        fs::write(directory.join("hosts"), "10.0.0.2 app other").unwrap();
        assert!(system.refresh());
        assert_eq!(system.hosts("app"), Some(ips(&["10.0.0.2"]).as_slice()));
        assert!(!system.refresh());
        fs::remove_file(directory.join("resolv.conf")).unwrap();
        assert!(system.refresh());
        assert_eq!(system.servers[0].to_string(), "127.0.0.1:53");
        fs::remove_dir_all(directory).unwrap();
    }
}
