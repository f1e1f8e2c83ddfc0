//! `onepoll man`: the pages of the manual, made of the same text as `--help`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;

use super::{Outcome, print, print_bytes};

/// Print the manual's page of onepoll, or write the pages of all subcommands into a directory
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write `onepoll.1`, `onepoll-serve.1` and so on here, for man(1); the directory is made
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it, for this command line.
pub(super) fn run(args: Args, mut command: Command) -> Outcome {
    command.build();
    let Some(dir) = args.dir else {
        print_bytes(&page(&command, &command)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    write(&dir, &command, &command)?;
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    // `help` repeats what the pages say.
    for subcommand in shown.filter(|sub| sub.get_name() != "help") {
        write(&dir, &command, subcommand)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, whole: &Command, command: &Command) -> Result<(), super::Failure> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(whole, command)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    print(path.display())
}

/// One page, in roff(7).
fn page(whole: &Command, command: &Command) -> anyhow::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let version = whole.get_version().unwrap_or_default();
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .section("1")
        .date(DATE)
        .source(format!("onepoll {version}"))
        .manual("User Commands");
    let mut roff = Vec::new();
    page.render(&mut roff).context("cannot make the page")?;
    // A blank line is a space of its own, and breaks the line already.
    let text = String::from_utf8(roff).context("cannot make the page")?;
    Ok(text.replace("\n.br\n\n.br\n", "\n.sp\n").into_bytes())
}

/// When the pages last changed in a way that a reader should know.
const DATE: &str = "2026-11-27";
