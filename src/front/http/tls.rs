//! TLS 1.3 with client certificates. Who the client is is the digest of its certificate, enrolled
//! by an operator, and nothing in it: no authority has a say. The handshake's signature proves that
//! the client has the certificate's key.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error as TlsError, PeerIncompatible, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::{Context, Result};
use crate::wire::messages::DoorTls;
use crate::wire::text::hex;

/// Takes TLS connections as the door `tls`.
///
/// # Errors
/// Fails where certificate and key do not go together, or are of a kind TLS has no use for.
pub(super) fn acceptor(tls: &DoorTls) -> Result<TlsAcceptor> {
    let what = || "use its certificate and key".into();
    let chain = CertificateDer::pem_slice_iter(tls.chain.as_bytes())
        .collect::<std::result::Result<Vec<_>, _>>()
        .context(what)?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).context(what)?;
    let provider = Arc::new(provider::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context(what)?
        .with_client_cert_verifier(Arc::new(Anybody { algorithms }))
        .with_single_cert(chain, key)
        .context(what)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is taken up again would bring its certificate along unseen.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// SHA-256 of the certificate that the client has proved to have the key of, lower-case hex.
pub(super) fn fingerprint<S>(stream: &TlsStream<S>) -> Option<String> {
    let (_, connection) = stream.get_ref();
    let own = connection.peer_certificates()?.first()?;
    Some(hex(digest(&SHA256, own.as_ref()).as_ref()))
}

/// Takes every certificate whose key the client has: which agent that is, is looked up then.
#[derive(Debug)]
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Anybody {
    /// No authority is asked for, so that clients show what they have.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, TlsError> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_own_key() {
        let make = || rcgen::generate_simple_self_signed(["gate".into()]).unwrap();
        let (one, other) = (make(), make());
        let tls = |key: &rcgen::KeyPair| DoorTls {
            chain: one.cert.pem(),
            key: key.serialize_pem(),
        };
        acceptor(&tls(&one.signing_key)).unwrap();
        let error = acceptor(&tls(&other.signing_key)).err().unwrap();
        assert!(error.message().contains("certificate and key"), "{error}");
    }
}
