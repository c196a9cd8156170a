//! Versions, cipher suites and groups, as the configuration says them and as rustls has them.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

use super::provider;
use crate::config::model::{Cipher, Dialect, KeyGroup, TlsVersion};

/// The versions that are spoken, the newest first.
pub(super) fn versions(dialect: &Dialect) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    all.into_iter().filter(|(version, _)| dialect.speaks(*version)).map(|(_, known)| known).collect()
}

/// The cryptography with what is spoken and nothing else: shared where that is everything.
pub(super) fn provider_of(dialect: &Dialect) -> Arc<CryptoProvider> {
    if dialect.ciphers.is_empty() && dialect.groups.is_empty() {
        return Arc::clone(provider());
    }
    let mut own = CryptoProvider::clone(provider());
    if !dialect.ciphers.is_empty() {
        own.cipher_suites = dialect.ciphers.iter().copied().map(suite).collect();
    }
    if !dialect.groups.is_empty() {
        own.kx_groups = dialect.groups.iter().copied().map(group).collect();
    }
    Arc::new(own)
}

fn suite(cipher: Cipher) -> SupportedCipherSuite {
    match cipher {
        Cipher::Aes256Gcm => cipher_suite::TLS13_AES_256_GCM_SHA384,
        Cipher::Aes128Gcm => cipher_suite::TLS13_AES_128_GCM_SHA256,
        Cipher::Chacha20 => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        Cipher::EcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        Cipher::EcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        Cipher::EcdsaChacha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        Cipher::RsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        Cipher::RsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        Cipher::RsaChacha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(group: KeyGroup) -> &'static dyn SupportedKxGroup {
    match group {
        KeyGroup::X25519MlKem768 => kx_group::X25519MLKEM768,
        KeyGroup::X25519 => kx_group::X25519,
        KeyGroup::Secp256r1 => kx_group::SECP256R1,
        KeyGroup::Secp384r1 => kx_group::SECP384R1,
    }
}
