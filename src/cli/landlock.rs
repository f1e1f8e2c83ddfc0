//! Which files a command reaches (landlock(7)): decided by the kernel, for it and for all that it starts.

use std::path::PathBuf;

use anyhow::Context as _;
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _,
};

use rustix::fs::{Mode, OFlags, open};

/// The first version without a way around: before it (Linux 6.2), truncate(2) wrote to files that could not be written.
const NEEDED: ABI = ABI::V3;

/// Written to without being anybody's file.
const NULL: &str = "/dev/null";

/// From here on this process, and whatever it becomes, reads and runs files beneath `readable` alone, or everywhere if
/// that is empty; and writes beneath `writable` alone, where it reads as well.
pub(super) fn confine(readable: &[PathBuf], writable: &[PathBuf]) -> anyhow::Result<()> {
    let reading = AccessFs::from_read(NEEDED);
    let all = AccessFs::from_all(NEEDED);
    let everywhere = [PathBuf::from("/")];
    let readable = if readable.is_empty() {
        &everywhere
    } else {
        readable
    };
    let null = [PathBuf::from(NULL)];
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(all)
        .and_then(Ruleset::create)
        .context(
            "this kernel does not have it (Linux 6.2 and newer do, if it is among the `lsm`)",
        )?;
    for (paths, access) in [(readable, reading), (writable, all), (&null, all)] {
        for path in paths {
            let place = path.display();
            let opened = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let opened = opened.with_context(|| format!("{place}"))?;
            let access = if path.is_dir() {
                access
            } else {
                access & of_files()
            };
            ruleset = ruleset
                .add_rule(PathBeneath::new(opened, access))
                .with_context(|| format!("{place}"))?;
        }
    }
    ruleset.restrict_self().context("it cannot be turned on")?;
    Ok(())
}

/// What can be done to a file; the rest is done to directories.
fn of_files() -> BitFlags<AccessFs> {
    AccessFs::from_file(NEEDED)
}
