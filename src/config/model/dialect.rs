//! Which TLS is spoken: versions, cipher suites and groups for the exchange of keys.

/// Which TLS is spoken; [`Dialect::default`] is all that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// `min_version`: older versions are refused.
    pub least: TlsVersion,
    /// `max_version`: newer ones are not spoken.
    pub most: TlsVersion,
    /// `ciphers`: those, the one liked best first; empty: all. Some are of one of the versions.
    pub ciphers: Vec<Cipher>,
    /// `groups`: the same; empty: all that are usual.
    pub groups: Vec<KeyGroup>,
}

impl Default for Dialect {
    fn default() -> Self {
        Self { least: TlsVersion::V1_2, most: TlsVersion::V1_3, ciphers: Vec::new(), groups: Vec::new() }
    }
}

impl Dialect {
    /// Whether a version is spoken: allowed, and with a cipher of its own.
    pub fn speaks(&self, version: TlsVersion) -> bool {
        let has_cipher = self.ciphers.is_empty() || self.ciphers.iter().any(|cipher| cipher.version() == version);
        (self.least..=self.most).contains(&version) && has_cipher
    }
}

/// Versions of TLS; those before 1.2 are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl TlsVersion {
    /// `1.3`.
    pub fn word(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// A cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is called as IANA calls it, which `iana` says")]
pub enum Cipher {
    Aes256Gcm,
    Aes128Gcm,
    Chacha20,
    EcdsaAes256Gcm,
    EcdsaAes128Gcm,
    EcdsaChacha20,
    RsaAes256Gcm,
    RsaAes128Gcm,
    RsaChacha20,
}

impl Cipher {
    /// All of them, the one liked best first.
    pub const ALL: [Self; 9] = [
        Self::Aes256Gcm,
        Self::Aes128Gcm,
        Self::Chacha20,
        Self::EcdsaAes256Gcm,
        Self::EcdsaAes128Gcm,
        Self::EcdsaChacha20,
        Self::RsaAes256Gcm,
        Self::RsaAes128Gcm,
        Self::RsaChacha20,
    ];

    /// Its name at IANA.
    pub fn iana(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::Chacha20 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::EcdsaAes256Gcm => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdsaChacha20 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::RsaAes256Gcm => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::RsaAes128Gcm => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::RsaChacha20 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }

    /// Its name in OpenSSL, which for those of TLS 1.3 is the same.
    pub fn openssl(self) -> &'static str {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm | Self::Chacha20 => self.iana(),
            Self::EcdsaAes256Gcm => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::EcdsaAes128Gcm => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::EcdsaChacha20 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Self::RsaAes256Gcm => "ECDHE-RSA-AES256-GCM-SHA384",
            Self::RsaAes128Gcm => "ECDHE-RSA-AES128-GCM-SHA256",
            Self::RsaChacha20 => "ECDHE-RSA-CHACHA20-POLY1305",
        }
    }

    /// The version that has it.
    pub fn version(self) -> TlsVersion {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm | Self::Chacha20 => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        }
    }
}

/// A group in which keys are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyGroup {
    /// X25519 with ML-KEM-768, which a quantum computer does not break.
    X25519MlKem768,
    /// X25519.
    X25519,
    /// P-256.
    Secp256r1,
    /// P-384.
    Secp384r1,
}

impl KeyGroup {
    /// Its name at IANA.
    pub fn iana(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }
}
