//! The certificate, key and roots of an endpoint: read and checked before anything is bound.
//!
//! What would be found out only by the first client that connects is said at start: a key that is not the
//! certificate's, or a certificate that has expired.

use std::sync::Arc;

use super::Endpoint;
use super::unserved::Unserved;
use crate::config::Lookups;
use crate::reactor::Secure;

/// What begins the sessions of an endpoint's connections; `None`: they are plain.
pub(super) fn secure(
    endpoint: &Endpoint,
    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_variables, reason = "there is nothing to read")
    )]
    lookups: &mut Lookups,
) -> Result<Option<Arc<dyn Secure>>, Unserved> {
    if !endpoint.common.tls {
        return Ok(None);
    }
    #[cfg(feature = "tls")]
    {
        let tls = files::load(&endpoint.common, lookups).map_err(|problem| {
            let wrong = format_args!("option `{}`: {}", problem.option, problem.what);
            Unserved::refused(endpoint, wrong)
        })?;
        Ok(Some(Arc::new(tls)))
    }
    #[cfg(not(feature = "tls"))]
    Err(Unserved::refused(
        endpoint,
        "this program was built without TLS",
    ))
}

#[cfg(feature = "tls")]
mod files {
    use super::super::{Common, TlsMin};
    use crate::config::Lookups;
    use crate::reactor::{Tls, TlsOptions};
    use crate::tls::{Problem, certified, roots};

    pub(super) fn load(common: &Common, lookups: &mut Lookups) -> Result<Tls, Problem> {
        let (cert, key) = (of("cert", &common.cert)?, of("key", &common.key)?);
        let certified = certified(cert, key, lookups)?;
        let client_roots = match common.client_ca.as_deref() {
            None => None,
            Some(file) => Some(roots("client-ca", file, lookups)?),
        };
        Tls::new(TlsOptions {
            certified,
            client_roots,
            allows_tls12: common.tls_min == Some(TlsMin::V1_2),
        })
        .map_err(|error| problem("tls", error))
    }

    fn problem(option: &'static str, what: impl ToString) -> Problem {
        let what = what.to_string();
        Problem { option, what }
    }

    /// That a pair is complete, the options have checked.
    fn of<'a>(option: &'static str, file: &'a Option<String>) -> Result<&'a str, Problem> {
        let file = file.as_deref();
        file.ok_or_else(|| problem(option, "a file is needed"))
    }
}
