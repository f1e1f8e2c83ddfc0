//! What a server of NATS is told first: who we are.

use serde_json::{Value, json};

use crate::service::BusLogin;

/// The JSON of CONNECT, to a server that said this nonce, if it said one.
pub(super) fn connect(login: &BusLogin, nonce: Option<&str>) -> Result<Value, &'static str> {
    let mut connect = json!({
        "verbose": false,
        "pedantic": false,
        "headers": true,
        "no_responders": true,
        "echo": false,
        "name": "onepoll",
        "lang": "onepoll",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
    });
    match login {
        BusLogin::Nothing => {}
        BusLogin::Password(user, password) => {
            connect["user"] = user.as_str().into();
            connect["pass"] = password.as_str().into();
        }
        BusLogin::Token(token) => connect["auth_token"] = token.as_str().into(),
        #[cfg(feature = "tls")]
        BusLogin::Nkey(seed) => {
            let nonce =
                nonce.ok_or("it says no nonce to sign: it knows no users by their nkeys")?;
            let (user, signature) = signed::by(seed, nonce.as_bytes())?;
            connect["nkey"] = user.into();
            connect["sig"] = signature.into();
        }
    }
    #[cfg(not(feature = "tls"))]
    let _ = nonce;
    Ok(connect)
}

#[cfg(feature = "tls")]
mod signed {
    use data_encoding::BASE64URL_NOPAD;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use crate::config::{NKEY_BYTES, NkeySeed, nkey_user};

    /// The user's name and the signature of what the server said, as CONNECT has them.
    pub(super) fn by(seed: &NkeySeed, nonce: &[u8]) -> Result<(String, String), &'static str> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.bytes());
        let pair = pair.map_err(|_| "the nkey is no key of Ed25519")?;
        let public: &[u8; NKEY_BYTES] = pair.public_key().as_ref().try_into().map_err(|_| "")?;
        let signature = BASE64URL_NOPAD.encode(pair.sign(nonce).as_ref());
        Ok((nkey_user(public), signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn an_nkey_signs_what_this_server_said() {
        use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
        use ring::signature::{ED25519, UnparsedPublicKey};

        use crate::config::NkeySeed;

        let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        let login = BusLogin::Nkey(NkeySeed::read(seed).unwrap());
        let said = connect(&login, Some("PXoWU7zWAMt75FY")).unwrap();
        // The public key of the pair in NATS' documentation.
        let user = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
        assert_eq!(said["nkey"], user);
        let key = BASE32_NOPAD.decode(user.as_bytes()).unwrap();
        let signature = said["sig"].as_str().unwrap();
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, &key[1..33]);
        key.verify(b"PXoWU7zWAMt75FY", &signature).unwrap();
        key.verify(b"another", &signature).unwrap_err();
        assert!(connect(&login, None).unwrap_err().contains("no nonce"));
    }

    #[test]
    fn a_server_is_told_what_it_knows_us_by_and_nothing_else() {
        let password = BusLogin::Password("us".into(), "pa\"ss".to_owned().into());
        for (login, told) in [
            (BusLogin::Nothing, [None, None, None]),
            (password, [Some("us"), Some("pa\"ss"), None]),
            (
                BusLogin::Token("t".to_owned().into()),
                [None, None, Some("t")],
            ),
        ] {
            let said = connect(&login, Some("nonce")).unwrap();
            let of = |key| said.get(key).and_then(Value::as_str);
            assert_eq!(["user", "pass", "auth_token"].map(of), told);
            assert_eq!(["nkey", "sig"].map(of), [None, None]);
        }
    }
}
