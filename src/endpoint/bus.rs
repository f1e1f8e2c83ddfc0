use std::path::Path;

use zeroize::Zeroizing;

use super::bus_tls::secure;
use super::secret_file::look_up_private;
#[cfg(feature = "tls")]
use crate::config::NkeySeed;
use crate::config::{BusOptions, ConfigError, Lookups, random_bytes};
use crate::service::{Bus, BusLogin, BusServer};

/// How long a password or a token may be, in bytes: a line.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// The bus that these options mean: its hosts are resolved and its files are read. It may wait.
pub fn look_up_bus(options: &BusOptions, lookups: &mut Lookups) -> Result<Bus, ConfigError> {
    let secures = secure(options, lookups).map_err(wrong)?;
    let mut servers = Vec::new();
    for (url, secure) in options.url.iter().zip(secures) {
        let name = url.to_string();
        let found = lookups
            .host(&url.at)
            .map_err(|error| wrong(format!("{name} cannot be resolved: {error}")))?;
        servers.extend(found.into_iter().map(|to| BusServer {
            name: name.clone(),
            to,
            secure: secure.clone(),
        }));
    }
    if servers.is_empty() {
        return Err(wrong("no server of it has an address".into()));
    }
    let login = login(options, lookups)?;
    let nonce = random_bytes().map_err(|error| wrong(format!("no random number: {error}")))?;
    Ok(Bus {
        servers,
        login,
        replicas: options.replicas,
        lease: options.lease,
        nonce: u64::from_le_bytes(nonce).into(),
    })
}

/// By what the servers know us: at most one of these is given.
fn login(options: &BusOptions, lookups: &mut Lookups) -> Result<BusLogin, ConfigError> {
    if let (Some(user), Some(path)) = (&options.user, &options.password_file) {
        return Ok(BusLogin::Password(user.clone(), credential(path, lookups)?));
    }
    if let Some(path) = &options.token_file {
        return Ok(BusLogin::Token(credential(path, lookups)?));
    }
    #[cfg(feature = "tls")]
    if let Some(path) = &options.nkey_file {
        let seed = NkeySeed::read(&credential(path, lookups)?);
        let seed = seed.map_err(|why| wrong(format!("`nkey-file`: {} {why}", path.display())))?;
        return Ok(BusLogin::Nkey(seed));
    }
    Ok(BusLogin::Nothing)
}

/// The one line of a file that only its owner may read.
fn credential(path: &Path, lookups: &mut Lookups) -> Result<Zeroizing<String>, ConfigError> {
    let name = path.display();
    let content = look_up_private(path, CREDENTIAL_BYTES_MAX, "umask 077; cat >FILE", lookups)
        .map_err(|error| wrong(error.to_string()))?;
    let text = content.bytes.strip_suffix(b"\n").unwrap_or(&content.bytes);
    if text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX || text.contains(&b'\n') {
        return Err(wrong(format!(
            "{name} is not one line of at most {CREDENTIAL_BYTES_MAX} bytes"
        )));
    }
    match std::str::from_utf8(text) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(wrong(format!("{name} is not UTF-8"))),
    }
}

fn wrong(problem: String) -> ConfigError {
    ConfigError {
        place: "[bus]".into(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_resolved_and_files_are_read_before_the_loop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "hush\n").unwrap();
        let written = json!({
            "url": ["nats://127.0.0.1", "nats://[::1]:4333"],
            "user": "eva",
            "password-file": path,
        });
        let options: BusOptions = serde_json::from_value(written).unwrap();
        let look_up = || look_up_bus(&options, &mut Lookups::live());
        let open = look_up().unwrap_err().to_string();
        assert!(
            open.starts_with("[bus]: ") && open.contains("chmod 600"),
            "{open}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let bus = look_up().unwrap();
        let at: Vec<String> = bus
            .servers
            .iter()
            .map(|server| server.to.to_string())
            .collect();
        assert_eq!(at, ["127.0.0.1:4222", "[::1]:4333"]);
        let password = Zeroizing::new("hush".to_owned());
        assert_eq!(bus.login, BusLogin::Password("eva".into(), password));
        let number = bus.own_number();
        assert_ne!(number, bus.own_number());
        assert_ne!(number, look_up().unwrap().own_number());
        std::fs::write(&path, "two\nlines").unwrap();
        assert!(look_up().unwrap_err().to_string().contains("not one line"));
    }
}
