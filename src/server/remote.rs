//! A configuration that is fetched: every ten seconds, only if it has changed, and only from whom the operator trusts.
//!
//! What is fetched goes the same way as a file. A text whose signature is missing or wrong is never looked at.

mod address;
mod fetch;
mod kept;
mod signature;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::Instant;

use crate::config::{self, FilesInForce, Loaded, Problem};
use address::Address;
use fetch::Answer;
use kept::{Kept, LastGood};
use signature::Key;

/// The pause between two questions, on average.
const PAUSE: Duration = Duration::from_secs(10);

/// What the command line says of a remote configuration.
pub struct Options {
    /// `https://…`, or `http://…` on this machine.
    pub url: String,
    /// PEM file with the authorities of its server; `None` = those of the system.
    pub ca: Option<PathBuf>,
    /// File with the public key of whoever signs it; `None` = it is not signed.
    pub key: Option<PathBuf>,
    /// Directory for the last good one; `None` = none is kept.
    pub state_dir: Option<PathBuf>,
}

/// A remote configuration, as far as it is known.
pub struct Remote {
    url: String,
    address: Address,
    tls: Arc<ClientConfig>,
    key: Option<Key>,
    kept: Option<Kept>,
    /// The text that was fetched last and is properly signed, good or bad.
    known: Option<Known>,
    /// Why the last question had no answer.
    trouble: Option<String>,
    next: Instant,
}

struct Known {
    text: Arc<str>,
    signature: Option<String>,
    tag: Option<HeaderValue>,
    is_kept: bool,
}

/// What a question came to.
#[derive(Debug, PartialEq)]
pub(super) enum Poll {
    /// There is something to read.
    New,
    /// Nothing is new.
    Same,
    /// No text could be had, for another reason than the last time.
    Failed(Problem),
    /// No text could be had, for the same reason as the last time.
    StillFailed(Problem),
}

impl Remote {
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub fn new(options: Options) -> io::Result<Remote> {
        let Options {
            url,
            ca,
            key,
            state_dir,
        } = options;
        let said = |what: &str, error: String| io::Error::other(format!("{what}: {error}"));
        let address = Address::parse(&url).map_err(|error| said(&url, error))?;
        let key = key.map(|path| {
            let named = |error: String| said(&format!("--config-key {}", path.display()), error);
            let text = std::fs::read_to_string(&path).map_err(|e| named(e.to_string()))?;
            Key::parse(&text).map_err(named)
        });
        let tls = client(ca.as_ref()).map_err(|error| match &ca {
            Some(path) => said(&format!("--config-ca {}", path.display()), error),
            None => said(&url, error),
        })?;
        if let Some(directory) = state_dir.as_ref().filter(|path| !path.is_dir()) {
            let what = format!("--state-dir {}", directory.display());
            return Err(said(&what, "it is no directory".to_owned()));
        }
        Ok(Remote {
            kept: state_dir.map(|directory| Kept::new(&directory, &url)),
            url,
            address,
            tls,
            key: key.transpose()?,
            known: None,
            trouble: None,
            next: Instant::now(),
        })
    }

    /// Fetches the first configuration; if its server has none that is good, the last good one will do.
    ///
    /// # Errors
    /// Every problem of what was fetched, or that nothing was.
    pub fn begin(&mut self, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Vec<Problem>> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build_local(LocalOptions::default());
        let polled = match runtime {
            Ok(runtime) => {
                let polled = runtime.block_on(self.poll());
                // A resolver that hangs must not hold up the start.
                runtime.shutdown_background();
                polled
            }
            Err(error) => Poll::Failed(self.problem(error.to_string())),
        };
        let problems = match polled {
            Poll::Failed(problem) | Poll::StillFailed(problem) => vec![problem],
            Poll::New | Poll::Same => match self.read(env).map(|reading| reading.result) {
                Some(Ok(loaded)) => {
                    if let Some(keep) = self.keep() {
                        keep();
                    }
                    return Ok(loaded);
                }
                Some(Err(problems)) => problems,
                None => Vec::new(),
            },
        };
        self.fall_back(env, problems)
    }

    /// The last good configuration in place of what has `problems`.
    fn fall_back(
        &mut self,
        env: &dyn Fn(&str) -> Option<String>,
        problems: Vec<Problem>,
    ) -> Result<Loaded, Vec<Problem>> {
        let Some(kept) = &self.kept else {
            return Err(problems);
        };
        let path = kept.path().display().to_string();
        let good = match kept.load() {
            Ok(Some(good)) => good,
            Ok(None) => return Err(problems),
            Err(error) => {
                tracing::warn!(file = path, %error, "the last good configuration cannot be read");
                return Err(problems);
            }
        };
        if let Err(error) = self.check(good.text.as_bytes(), good.signature.as_deref()) {
            tracing::warn!(
                file = path,
                error,
                "the last good configuration is not used"
            );
            return Err(problems);
        }
        let loaded = config::read_text(&self.url, &good.text, env, &FilesInForce::default()).result;
        if loaded.is_ok() {
            for problem in &problems {
                tracing::error!("{}: {}", problem.file, problem.message);
            }
            tracing::warn!(file = path, "starting with the last good configuration");
            self.known = Some(Known {
                text: good.text.into(),
                signature: good.signature,
                tag: None,
                is_kept: true,
            });
        }
        loaded.map_err(|_| problems)
    }

    /// Where it comes from.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The text to read, and what it is to be called; `None` before there is one.
    pub(super) fn text(&self) -> Option<(String, Arc<str>)> {
        let known = self.known.as_ref()?;
        Some((self.url.clone(), known.text.clone()))
    }

    /// Waits until it is time to ask again.
    pub(super) async fn next(&self) {
        tokio::time::sleep_until(self.next).await;
    }

    /// Asks whether there is another text.
    pub(super) async fn poll(&mut self) -> Poll {
        let fetched = self.fetch().await;
        self.next = Instant::now() + jittered(PAUSE);
        match fetched {
            // After a failure what is known may be in force or not: it is looked at anew.
            Ok(None) if self.trouble.take().is_some() => {
                tracing::info!(url = self.url, "the configuration can be fetched again");
                Poll::New
            }
            Ok(None) => Poll::Same,
            Ok(Some(known)) => {
                self.trouble = None;
                self.known = Some(known);
                Poll::New
            }
            Err(error) => {
                let problem = self.problem(error.clone());
                let before = self.trouble.replace(error);
                if before == self.trouble {
                    Poll::StillFailed(problem)
                } else {
                    Poll::Failed(problem)
                }
            }
        }
    }

    /// What keeps the text that is known, which is good, for the next start; `None` where that is done. It blocks.
    pub(super) fn keep(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let (kept, known) = (self.kept.clone()?, self.known.as_mut()?);
        if std::mem::replace(&mut known.is_kept, true) {
            return None;
        }
        let good = LastGood {
            text: known.text.to_string(),
            signature: known.signature.clone(),
        };
        Some(move || {
            if let Err(error) = kept.save(&good) {
                tracing::warn!(file = %kept.path().display(), %error, "the last good configuration cannot be kept");
            }
        })
    }

    /// What there is and is properly signed; `None` where it is what is known.
    async fn fetch(&self) -> Result<Option<Known>, String> {
        let tag = self.known.as_ref().and_then(|known| known.tag.as_ref());
        let (body, tag) = match fetch::fetch(&self.address, tag, &self.tls).await? {
            Answer::NotModified => return Ok(None),
            Answer::Body(body, tag) => (body, tag),
        };
        let signature = self.fetch_signature().await?;
        self.check(&body, signature.as_deref())?;
        let text = String::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
        // A server without ETags says the same again and again.
        if let Some(known) = self.known.as_ref().filter(|known| *known.text == *text)
            && known.tag == tag
        {
            return Ok(None);
        }
        Ok(Some(Known {
            text: text.into(),
            signature,
            tag,
            is_kept: false,
        }))
    }

    async fn fetch_signature(&self) -> Result<Option<String>, String> {
        if self.key.is_none() {
            return Ok(None);
        }
        let named = |error: String| format!("its signature (`.sig`): {error}");
        let address = self.address.signature().ok_or("it has no signature")?;
        match fetch::fetch(&address, None, &self.tls)
            .await
            .map_err(named)?
        {
            Answer::Body(body, _) => String::from_utf8(body)
                .map(Some)
                .map_err(|_| named("no base64".to_owned())),
            Answer::NotModified => Err(named("it was not sent".to_owned())),
        }
    }

    fn check(&self, text: &[u8], signature: Option<&str>) -> Result<(), String> {
        match (&self.key, signature) {
            (None, _) => Ok(()),
            (Some(key), Some(signature)) => key.verify(text, signature.as_bytes()),
            (Some(_), None) => Err("it is not signed".to_owned()),
        }
    }

    fn read(&self, env: &dyn Fn(&str) -> Option<String>) -> Option<config::Reading> {
        let (url, text) = self.text()?;
        Some(config::read_text(
            &url,
            &text,
            env,
            &FilesInForce::default(),
        ))
    }

    fn problem(&self, error: String) -> Problem {
        Problem::of_file(&self.url, format!("cannot be fetched: {error}"), None)
    }
}

/// A client that trusts the authorities of `ca`, or those of the system.
fn client(ca: Option<&PathBuf>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path).map_err(|e| e.to_string())?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| e.to_string())?;
                roots.add(certificate).map_err(|e| e.to_string())?;
            }
            if roots.is_empty() {
                return Err("no certificate in it".to_owned());
            }
        }
        None => {
            // Without any, every server is refused, and the refusal says so.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(client))
}

/// A tenth more or less, so that gateways that were started together do not ask together.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no TLS either.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    pause.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}
