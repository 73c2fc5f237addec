//! Who the server is: a chain to a known authority, or one certificate pinned by its digest.
//!
//! Either way the handshake's signature is verified, which proves that the server holds the
//! certificate's key. Nothing is kept between connections: no session of one agent serves another.

use std::fmt;
use std::io;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring as provider, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::refusal::{Class, Refusal};
use crate::error::{Context, Error, Result};
use crate::wire::text::hex;

/// TLS as this plane's operator set it up.
#[derive(Debug)]
pub(super) struct Tls {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl Tls {
    /// With the operator's authorities and the system's, all PEM.
    ///
    /// # Errors
    /// Fails where a text of the operator's holds no usable certificate; the system's are taken as
    /// far as they are usable.
    pub(super) fn new(ca: &[String], system: &[String]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for (number, text) in ca.iter().enumerate() {
            let what = || format!("read certification authority {} of `ca`", number + 1);
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                roots.add(certificate.context(what)?).context(what)?;
            }
            if roots.len() == before {
                return Err(Error::new(format!(
                    "{}: it holds no PEM certificate",
                    what()
                )));
            }
        }
        for text in system {
            let usable = CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok);
            roots.add_parsable_certificates(usable);
        }
        let provider = Arc::new(provider::default_provider());
        let chain = if roots.is_empty() {
            None
        } else {
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(
                builder
                    .build()
                    .context(|| "set up certificate checks".into())?,
            )
        };
        Ok(Self { provider, chain })
    }

    /// Speaks TLS with the server on `socket`, which has to be `host`, or to have the certificate
    /// with the digest `pin` (SHA-256 of the DER, hex).
    pub(super) async fn connect(
        &self,
        socket: TcpStream,
        host: &str,
        pin: Option<&str>,
    ) -> Result<TlsStream<TcpStream>, Refusal> {
        let refusal = |why: String| Refusal::new(Class::TlsFailed, why);
        let name = ServerName::try_from(host.to_owned()).map_err(|e| refusal(e.to_string()))?;
        let config = self.config(pin).map_err(|e| refusal(e.to_string()))?;
        let connected = TlsConnector::from(Arc::new(config))
            .connect(name, socket)
            .await;
        connected.map_err(|error| refusal(explain(&error)))
    }

    fn config(&self, pin: Option<&str>) -> Result<ClientConfig, rustls::Error> {
        let trust = match (pin, &self.chain) {
            (Some(pin), _) => Trust::Pin(pin.to_owned()),
            (None, Some(chain)) => Trust::Chain(Arc::clone(chain)),
            (None, None) => Trust::Nobody,
        };
        let algorithms = self.provider.signature_verification_algorithms;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { trust, algorithms }))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Whom a connection trusts.
#[derive(Debug)]
enum Trust {
    Chain(Arc<WebPkiServerVerifier>),
    Pin(String),
    Nobody,
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = hex(digest(&SHA256, leaf).as_ref());
        let why = match &self.trust {
            Trust::Pin(pin) if *pin == shown => return Ok(ServerCertVerified::assertion()),
            Trust::Pin(_) => "it is not the pinned one".to_owned(),
            Trust::Nobody => "no certification authority is configured".to_owned(),
            Trust::Chain(verifier) => {
                match verifier.verify_server_cert(leaf, chain, name, ocsp, now) {
                    Ok(verified) => return Ok(verified),
                    Err(error) => reason(&error),
                }
            }
        };
        let distrust = Distrust { why, shown };
        Err(CertificateError::Other(OtherError(Arc::new(distrust))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a certificate is not trusted, with what an operator needs to trust it.
#[derive(Debug)]
struct Distrust {
    why: String,
    shown: String,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server's certificate is not trusted: {}; if it is the right one, put \
             `pin_sha256 = \"{}\"` in the rule",
            self.why, self.shown
        )
    }
}

impl std::error::Error for Distrust {}

/// What is wrong with a chain, in words.
fn reason(error: &rustls::Error) -> String {
    let text = error.to_string();
    let known = [
        (
            "CaUsedAsEndEntity",
            "it is a CA certificate used by a server (as `openssl req -x509` makes them)",
        ),
        ("BadSignature", "its signature is not its issuer's"),
        ("UnknownIssuer", "no known authority has issued it"),
        ("expired", "it has expired"),
        ("not valid yet", "it is not valid yet"),
        ("not valid for name", "it is for another name"),
    ];
    match known.iter().find(|(mark, _)| text.contains(mark)) {
        Some((_, words)) => format!("{words} ({text})"),
        None => text,
    }
}

fn explain(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            other.0.to_string()
        }
        Some(_) | None => format!("TLS: {error}"),
    }
}
