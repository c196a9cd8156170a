//! Certificates made on the spot, in files, and clients that trust them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use super::certificates::{self, Issuer};

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

    /// A client that trusts it.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(rustls::DEFAULT_VERSIONS)
    }

    /// The same for these versions of TLS.
    pub fn client_with(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// What a certificate that was shown calls itself.
pub fn common_name(client: &super::Client) -> String {
    let shown = client.tls().peer_certificates().expect("a certificate was shown")[0].clone();
    evenkeel::config::certificate::Certificate::parse(&shown).unwrap().subject
}
