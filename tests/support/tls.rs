//! Certificates made on the spot, in files, and clients that trust them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    CertificateParams, CertificateRevocationListParams, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;

use super::certificates::{self, DAY, Issuer};

/// A certificate authority with a folder for what it signs.
pub struct Authority {
    issuer: Issuer,
    folder: TempDir,
}

impl Authority {
    /// One of this name.
    pub fn new(name: &str) -> Self {
        let issuer = certificates::authority(name);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Signs a certificate for these names and writes it to `FILE.pem`, its key to `FILE.key`: an entry of
    /// `certificates`, or of keys `cert` and `key`.
    pub fn issue(&self, file: &str, names: &[&str]) -> String {
        self.issue_with(file, names, |_| {})
    }

    /// The same with something changed.
    pub fn issue_with(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> String {
        let mut params = certificates::params(file, names);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        // Written whole or not at all, as whoever renews certificates does it.
        for (ending, content) in [("key", key.serialize_pem()), ("pem", certificate.pem() + &self.issuer.pem())] {
            let path = self.folder.path().join(format!("{file}.{ending}"));
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, content).unwrap();
            std::fs::rename(&fresh, &path).unwrap();
        }
        let path = self.folder.path().join(file);
        format!("{{ cert = '{0}.pem', key = '{0}.key' }}", path.display())
    }

    /// Writes a list of revoked certificates, which has these serial numbers, to `FILE`; it is due for so many days more.
    pub fn revoke(&self, file: &str, serials: &[u64], days: i64) -> PathBuf {
        let (this_update, next_update) = certificates::span(-1000 * DAY, days * DAY);
        let revoked_certs = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: this_update.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: this_update.into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.path().join(file);
        std::fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    /// A client that trusts it, and shows the certificate of `FILE.pem` in this folder where it is asked.
    pub fn client_showing(&self, file: &str, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let path = |ending| self.folder.path().join(format!("{file}.{ending}"));
        let chain = CertificateDer::pem_file_iter(path("pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(path("key")).unwrap();
        Arc::new(self.trusting(versions).with_client_auth_cert(chain, key).unwrap())
    }

    /// A client that trusts it.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(rustls::DEFAULT_VERSIONS)
    }

    /// The same for these versions of TLS.
    pub fn client_with(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Arc::new(self.trusting(versions).with_no_client_auth())
    }

    fn trusting(&self, versions: &[&'static SupportedProtocolVersion]) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        builder.with_root_certificates(roots)
    }
}

/// What a certificate that was shown calls itself.
pub fn common_name(client: &super::Client) -> String {
    let shown = client.tls().peer_certificates().expect("a certificate was shown")[0].clone();
    evenkeel::config::certificate::Certificate::parse(&shown).unwrap().subject
}
