//! `onepoll certificate`: a certificate and its key, for a server that no authority has to vouch for.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustix::system::uname;

use super::{Failure, Outcome, print};
use crate::config::write_new;
use crate::tls::Fingerprint;

/// Makes a self-signed certificate and its key, and prints its fingerprint
///
/// Writes DIR/cert.pem and DIR/key.pem, the key for your user only (mode 0600). Neither is ever
/// overwritten. `onepoll serve 'SERVICE://ADDRESS?tls=true&cert=DIR/cert.pem&key=DIR/key.pem'` serves with
/// them; clients trust it by `--fingerprint`, or by a copy of cert.pem as `--ca`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the two files go; made if it is not there
    dir: PathBuf,
    /// A name or IP address of the server, instead of localhost, 127.0.0.1, ::1 and the name of this machine;
    /// may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// How many days it is valid
    #[arg(long, value_name = "COUNT", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

/// Ten years: whoever pins a fingerprint has to be told of each new one.
const DAYS: u32 = 3650;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes them.
pub fn run(args: Args) -> Outcome {
    let (cert, key) = (args.dir.join("cert.pem"), args.dir.join("key.pem"));
    for file in [&cert, &key] {
        if file.symlink_metadata().is_ok() {
            return Err(Failure::Run(anyhow!(
                "{} is there already; nothing was overwritten",
                file.display()
            )));
        }
    }
    let pair = make(names(args.name), args.days).map_err(Failure::usage)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.dir)
        .with_context(|| format!("{} cannot be made", args.dir.display()))?;
    // The key first: a certificate without one is of no use.
    write(&key, 0o600, &pem("PRIVATE KEY", &pair.key))?;
    write(&cert, 0o644, &pem("CERTIFICATE", &pair.certificate))?;
    print(format!(
        "cert={}\nkey={}\nfingerprint={}",
        cert.display(),
        key.display(),
        Fingerprint::of(&pair.certificate)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Both as DER.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

fn names(asked: Vec<String>) -> Vec<String> {
    if !asked.is_empty() {
        return asked;
    }
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).into();
    let machine = uname().nodename().to_string_lossy().into_owned();
    // What is no name in the DNS cannot stand in a certificate.
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    if !machine.is_empty() && machine.chars().all(is_name) && !names.contains(&machine) {
        names.push(machine);
    }
    names
}

fn make(names: Vec<String>, days: u32) -> Result<Pair, rcgen::Error> {
    let key = KeyPair::generate()?;
    let name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, name);
    let now = now();
    // Clocks differ.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days).into();
    let certificate = params.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.der().to_vec(),
        key: key.serialize_der(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is valid between two points of wall time"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn write(file: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let name = file.display();
    write_new(file, mode, text.as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            Failure::Run(anyhow!("{name} is there already; nothing was overwritten"))
        }
        _ => Failure::Run(anyhow!("{name} cannot be written: {error}")),
    })
}

/// As RFC 7468 has it.
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for group in line.chunks(3) {
            let mut bytes = [0; 3];
            bytes[..group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
            for nth in 0..4 {
                let is_padding = nth > group.len();
                let six = (bits >> (18 - 6 * nth) & 63) as usize;
                let c = if is_padding { b'=' } else { BASE64[six] };
                text.push(char::from(c));
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn pem_is_read_as_what_it_was_made_of() {
        for len in 0..200u8 {
            let der: Vec<u8> = (0..len).map(|n| n.wrapping_mul(37)).collect();
            let text = pem("CERTIFICATE", &der);
            assert!(text.lines().all(|line| line.len() <= 64));
            let read = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
            assert_eq!(read.as_ref(), der, "{text}");
        }
    }
}
