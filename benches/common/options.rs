//! The command line of a bench without a harness.

use std::time::Duration;

/// What is asked of a bench.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Options {
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// How long each time.
    pub(crate) time: Duration,
    /// Only tests whose name contains this.
    pub(crate) only: Option<String>,
    /// Once, tiny: whether it runs at all.
    pub(crate) is_test: bool,
}

impl Options {
    /// Reads the command line; `None`: there is nothing to run (`--list`).
    ///
    /// `cargo bench` says `--bench`; `cargo test`, which runs benches so that they cannot rot, does
    /// not. Both pass on what is meant for other harnesses: that is left alone.
    pub(crate) fn read(rounds: usize, seconds: f64) -> Result<Option<Options>, String> {
        let mut options = Options {
            rounds,
            time: Duration::from_secs_f64(seconds),
            only: None,
            is_test: !std::env::args().any(|arg| arg == "--bench"),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let wrong = |what: &str, given: &str| format!("{what}: {given:?} is no number for it");
            match arg.as_str() {
                "--rounds" => {
                    let given = value()?;
                    options.rounds = given.parse().map_err(|_| wrong("--rounds", &given))?;
                }
                "--seconds" => {
                    let given = value()?;
                    let seconds: f64 = given.parse().map_err(|_| wrong("--seconds", &given))?;
                    options.time = Duration::try_from_secs_f64(seconds)
                        .map_err(|_| wrong("--seconds", &given))?;
                }
                "--only" => options.only = Some(value()?),
                "--test" => options.is_test = true,
                "--list" => return Ok(None),
                "--help" => {
                    return Err("cargo bench --bench NAME -- [--rounds N] [--seconds S] \
                                [--only TEST] [--test]"
                        .into());
                }
                other if !other.starts_with('-') => options.only = Some(other.to_owned()),
                _ => {}
            }
        }
        if options.is_test {
            options.rounds = 1;
            options.time = Duration::from_millis(10);
        }
        options.rounds = options.rounds.max(1);
        Ok(Some(options))
    }

    /// Whether a test of this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    }
}
