//! Algorithms and versions.

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::version::{TLS12, TLS13};

/// The algorithms that we use, ours first: AES-128 costs a quarter less of a handshake than the
/// client's usual first choice, and is as far from being broken.
pub fn tls_provider() -> CryptoProvider {
    let mut provider = default_provider();
    let suites = &mut provider.cipher_suites;
    suites.sort_by_key(|suite| *suite != cipher_suite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// The versions of TLS: 1.3, and 1.2 where that is allowed.
pub fn tls_versions(allows_tls12: bool) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    if allows_tls12 { &BOTH } else { &BOTH[..1] }
}
