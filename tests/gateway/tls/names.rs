//! Who gets which certificate: by name, by wildcard, by the kind of key that the client knows, or not at all.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::{SignatureScheme, version::TLS12, version::TLS13};

use super::*;

const CERTIFICATES: [(&str, &[&str]); 4] = [
    ("first", &["first.test"]),
    ("exact", &["x.b.test", "also.test"]),
    ("wild", &["*.b.test", "b.test"]),
    ("deep", &["*.y.b.test"]),
];

/// The first name of the certificate that a client gets which asks for `name`, and believes everything.
fn shown(house: &House, name: Option<&str>) -> Option<String> {
    let visitor = house.visitor().with(|config| {
        config.enable_sni = name.is_some();
        config
            .dangerous()
            .set_certificate_verifier(std::sync::Arc::new(Credulous));
    });
    let client = visitor
        .try_visit(house.gateway.address(), name.unwrap_or("first.test"))
        .ok()?;
    let leaf = client.session().peer_certificates()?.first()?.clone();
    Some(first_name(&leaf))
}

fn first_name(leaf: &CertificateDer<'_>) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    match &names.value.general_names[0] {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_name_decides_and_the_first_is_for_all_others() {
    let house = House::build(&CERTIFICATES, "", |setup| setup);
    for (asked, got) in [
        (Some("first.test"), "first.test"),
        (Some("x.b.test"), "x.b.test"),
        (Some("also.test"), "x.b.test"),
        (Some("other.b.test"), "*.b.test"),
        (Some("OTHER.B.test"), "*.b.test"),
        (Some("b.test"), "*.b.test"),
        (Some("z.y.b.test"), "*.y.b.test"),
        // A wildcard is one label, and not none.
        (Some("z.q.b.test"), "first.test"),
        (Some("unknown.test"), "first.test"),
        (None, "first.test"),
    ] {
        assert_eq!(shown(&house, asked).as_deref(), Some(got), "{asked:?}");
    }
}

#[test]
fn strict_sni_refuses_what_nobody_has() {
    let house = House::build(&CERTIFICATES, ", strict_sni: true", |setup| setup);
    assert_eq!(
        shown(&house, Some("other.b.test")).as_deref(),
        Some("*.b.test")
    );
    for refused in [Some("unknown.test"), Some("z.q.b.test"), None] {
        assert_eq!(shown(&house, refused), None, "{refused:?}");
    }
    let alert = house
        .visitor()
        .try_visit(house.gateway.address(), "unknown.test")
        .err()
        .map(|error| error.to_string());
    assert!(
        alert
            .as_deref()
            .is_some_and(|a| a.contains("UnrecognisedName")),
        "{alert:?}"
    );
    house.await_handshakes("failed", 4.0);
}

/// A provider whose client understands signatures by one kind of key only.
fn knowing(kind: Kind) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let is_rsa = |scheme: &SignatureScheme| format!("{scheme:?}").starts_with("RSA");
    let mapping = provider.signature_verification_algorithms.mapping;
    let kept: Vec<_> = mapping
        .iter()
        .filter(|(scheme, _)| is_rsa(scheme) == (kind == Kind::Rsa))
        .copied()
        .collect();
    provider.signature_verification_algorithms.mapping = kept.leak();
    provider
}

#[test]
fn of_several_for_one_name_the_client_gets_one_that_it_knows() {
    let authority = Authority::new("root");
    let pairs = [
        ("rsa", authority.issue_with(&["a.test"], Kind::Rsa, |_| {})),
        ("ecdsa", authority.issue(&["a.test"])),
    ];
    let house = House::furnish(authority, &pairs, "", |setup| setup);
    for version in [&TLS12, &TLS13] {
        for (kind, pair) in [(Kind::Rsa, &pairs[0].1), (Kind::Ecdsa, &pairs[1].1)] {
            for sni in [true, false] {
                let visitor = Visitor::build(&house.authority, knowing(kind), &[version], None)
                    .with(|config| {
                        config.enable_sni = sni;
                        config
                            .dangerous()
                            .set_certificate_verifier(std::sync::Arc::new(Knowing(kind)));
                    });
                let client = visitor.visit(house.gateway.address(), "a.test");
                let shown = client.session().peer_certificates().unwrap();
                assert_eq!(
                    shown.first(),
                    Some(&pair.leaf()),
                    "{version:?} {kind:?} {sni}"
                );
            }
        }
    }
}

/// Believes every certificate: what is asked is which one is shown.
#[derive(Debug)]
struct Credulous;

/// The same, and understands one kind of key.
#[derive(Debug)]
struct Knowing(Kind);

macro_rules! believe_everything {
    ($($who:ty: $schemes:expr;)*) => {$(
        impl rustls::client::danger::ServerCertVerifier for $who {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &rustls::pki_types::ServerName<'_>,
                _: &[u8],
                _: rustls::pki_types::UnixTime,
            ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
                Ok(rustls::client::danger::ServerCertVerified::assertion())
            }

            fn verify_tls12_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &rustls::DigitallySignedStruct,
            ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
                Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
            }

            fn verify_tls13_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &rustls::DigitallySignedStruct,
            ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
                Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                let schemes: fn(&$who) -> Vec<SignatureScheme> = $schemes;
                schemes(self)
            }
        }
    )*};
}

believe_everything! {
    Credulous: |_| aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes();
    Knowing: |this| knowing(this.0).signature_verification_algorithms.supported_schemes();
}
