use log::Level;

use crate::cli::logging::announce;
use crate::endpoint::Attempt;

/// What the person who starts the server should hear of an endpoint that is served.
pub(super) fn remark(attempt: &Attempt) {
    let endpoint = &attempt.endpoint;
    if let Some(warning) = attempt.exposure.and_then(|exposure| exposure.warning) {
        let warning = format!("warning: {endpoint}: {warning}");
        announce(Level::Warn, &warning, None);
    }
    if let Some(absent) = attempt.absence() {
        announce(Level::Warn, &format!("{endpoint}: {absent}"), None);
    }
}
