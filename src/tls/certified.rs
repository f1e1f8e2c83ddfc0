//! A certificate and its key, of a server or of a client, read and checked before anything else is done.
//!
//! What would be found out only by the peer that is shown it is said beforehand: a key that is not the
//! certificate's, or a certificate that has expired.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::provider::tls_provider;
use crate::config::{Content, Lookups};

/// What is wrong with the file of an option.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Which option names it, or both its own and its peer's: `cert`, `key`.
    pub(crate) option: &'static str,
    /// What is wrong.
    pub(crate) what: String,
}

/// Longer than every chain of certificates, and not as long as a device that never ends.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Bits of a file's mode that let everybody in.
const EVERYBODY: u32 = 0o007;

/// The certificates in `cert`, the first of which is the one that is shown, and its key in `key`.
pub(crate) fn certified(
    cert: &str,
    key: &str,
    lookups: &mut Lookups,
) -> Result<Arc<CertifiedKey>, Problem> {
    let chain = certificates("cert", cert, lookups)?;
    chain_is_valid(cert, &chain, UnixTime::now())?;
    let certified = fitting(cert, chain, key, private_key(key, lookups)?)?;
    Ok(Arc::new(certified))
}

/// Roots that vouch for the certificates of others.
pub(crate) fn roots(
    option: &'static str,
    file: &str,
    lookups: &mut Lookups,
) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    for root in certificates(option, file, lookups)? {
        let added = roots.add(root);
        added.map_err(|error| problem(option, format!("{file}: {error}")))?;
    }
    Ok(roots)
}

fn problem(option: &'static str, what: impl ToString) -> Problem {
    let what = what.to_string();
    Problem { option, what }
}

fn read(option: &'static str, file: &str, lookups: &mut Lookups) -> Result<Content, Problem> {
    let content = lookups
        .file(Path::new(file), FILE_BYTES_MAX)
        .map_err(|error| {
            let remedy = match error.kind() {
                ErrorKind::NotFound => {
                    "; `onepoll certificate DIR` makes a key and its certificate"
                }
                _ => "",
            };
            problem(option, format!("{file} cannot be read: {error}{remedy}"))
        })?;
    if content.bytes.len() > FILE_BYTES_MAX {
        return Err(problem(
            option,
            format!("{file} has more than {FILE_BYTES_MAX} bytes, so it is no PEM file"),
        ));
    }
    Ok(content)
}

fn certificates(
    option: &'static str,
    file: &str,
    lookups: &mut Lookups,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let bytes = read(option, file, lookups)?.bytes;
    let all: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(problem(
            option,
            format!("{file} holds no certificate (PEM: a block `BEGIN CERTIFICATE`)"),
        )),
        Err(error) => Err(problem(option, format!("{file}: {error}"))),
    }
}

fn private_key(file: &str, lookups: &mut Lookups) -> Result<PrivateKeyDer<'static>, Problem> {
    let Content { bytes, mode } = read("key", file, lookups)?;
    let mode = mode & 0o7777;
    if mode & EVERYBODY != 0 {
        return Err(problem(
            "key",
            format!(
                "every user of this machine can read {file} (mode {mode:04o}), so it is no secret: chmod 600 {file}"
            ),
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        let what = match error {
            pem::Error::NoItemsFound => {
                format!("{file} holds no private key (PEM: a block `BEGIN PRIVATE KEY`)")
            }
            error => format!("{file}: {error}"),
        };
        problem("key", what)
    })
}

fn fitting(
    cert: &str,
    chain: Vec<CertificateDer<'static>>,
    file: &str,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Problem> {
    let certified = CertifiedKey::from_der(chain, key, &tls_provider());
    certified.map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => problem(
            "key",
            format!("the key in {file} is not that of the certificate in {cert}"),
        ),
        Error::InvalidCertificate(error) => problem("cert", format!("{cert}: {error}")),
        error => problem("key", format!("{file}: {error}")),
    })
}

/// Whether every certificate of a chain can be used now.
fn chain_is_valid(
    file: &str,
    chain: &[CertificateDer<'static>],
    now: UnixTime,
) -> Result<(), Problem> {
    for (nth, certificate) in chain.iter().enumerate() {
        let Err(error) = is_valid(certificate, now) else {
            continue;
        };
        let which = match nth {
            0 => "the certificate".to_owned(),
            nth => format!("certificate {}", nth + 1),
        };
        return Err(problem("cert", format!("{which} in {file} {error}")));
    }
    Ok(())
}

/// A verifier looks at the dates before anything else: what else it says of a certificate that stands
/// alone is for those to judge who are shown it.
fn is_valid(certificate: &CertificateDer<'static>, now: UnixTime) -> Result<(), String> {
    let unusable = |error: &dyn ToString| format!("cannot be used: {}", error.to_string());
    let mut roots = RootCertStore::empty();
    roots
        .add(certificate.clone())
        .map_err(|error| unusable(&error))?;
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(tls_provider()));
    let verifier = builder.build().map_err(|error| unusable(&error))?;
    let name = ServerName::try_from("localhost").map_err(|error| unusable(&error))?;
    let ago = |then: UnixTime| words(now.as_secs().abs_diff(then.as_secs()));
    match verifier.verify_server_cert(certificate, &[], &name, &[], now) {
        Err(Error::InvalidCertificate(CertificateError::Expired)) => Err("has expired".to_owned()),
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Err(format!("expired {} ago", ago(not_after)))
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYet)) => {
            Err("is not valid yet".to_owned())
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before, ..
        })) => Err(format!("is valid only in {}", ago(not_before))),
        _ => Ok(()),
    }
}

/// About how long that is.
fn words(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn valid(from: SystemTime, until: SystemTime) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from.into(), until.into());
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_is_judged_by_its_dates_at_start() {
        let start = SystemTime::UNIX_EPOCH + DAY * 20_000;
        let now = UnixTime::since_unix_epoch(DAY * 20_000);
        let judge = |from, until| is_valid(&valid(from, until), now);
        assert_eq!(judge(start - DAY, start + DAY), Ok(()));
        let expired = judge(start - DAY * 9, start - DAY * 3);
        assert_eq!(expired, Err("expired 3 days ago".to_owned()));
        let early = judge(start + DAY * 2, start + DAY * 9);
        assert_eq!(early, Err("is valid only in 2 days".to_owned()));
        // Any of a chain is enough.
        let chain = [
            valid(start - DAY, start + DAY),
            valid(start - DAY * 9, start - DAY * 3),
        ];
        let problem = chain_is_valid("chain.pem", &chain, now).unwrap_err();
        assert_eq!(
            problem.what,
            "certificate 2 in chain.pem expired 3 days ago"
        );
    }
}
