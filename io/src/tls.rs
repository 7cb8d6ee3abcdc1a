//! TLS for the HTTP server and the WebSocket client, over one crypto library.

use std::fmt;
use std::sync::Arc;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme,
};

/// Named rather than taken from the process default, which other libraries may have set, or not.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::aws_lc_rs::default_provider())
}

/// What is wrong with a certificate or key that the operator gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadPem(String);

impl fmt::Display for BadPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(all) if all.is_empty() => Err(BadPem(
            "the certificate holds no `BEGIN CERTIFICATE` block: give a PEM file, server first, then its issuers"
                .into(),
        )),
        Ok(all) => Ok(all),
        Err(e) => Err(BadPem(format!("the certificate is not readable PEM: {e}"))),
    }
}

pub(crate) fn server_config(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Arc<ServerConfig>, BadPem> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|e| {
        BadPem(format!(
            "the key is not readable PEM ({e}): expected an unencrypted `BEGIN PRIVATE KEY` block"
        ))
    })?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| BadPem(format!("certificate and key do not work together: {e}")))?;
    // WebSocket upgrades are an HTTP/1.1 matter.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Whom to believe on `wss://`.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Whoever this machine trusts. The default, and the only choice for a real call.
    #[default]
    System,
    /// Only this certificate, or what it has issued (PEM): a server with a certificate of its own making.
    Certificate(Vec<u8>),
    /// Anybody. For tests: whoever sits in between reads and changes everything.
    Anyone,
}

pub(crate) fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, BadPem> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| BadPem(e.to_string()))?;
    let config = match trust {
        Trust::System => {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(BadPem(
                    "this machine has no trusted certificates: install its package ca-certificates".into(),
                ));
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Certificate(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots
                    .add(certificate)
                    .map_err(|e| BadPem(format!("the trusted certificate is not usable: {e}")))?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AcceptAnyone(provider())))
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Believes any certificate, for tests against a server that has made its own. Signatures are still checked,
/// so that the peer at least owns the certificate that it shows.
#[derive(Debug)]
struct AcceptAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
