//! `--for NAME OPTION=VALUE …`: what is said of one server alone, without a URL that a shell would take apart.

use super::target::NamedTarget;
use crate::cli::Failure;
use crate::config::nearest;

/// Gives each of `targets` what `words` say of it: a name, its options, and perhaps another name.
pub(super) fn give(targets: &mut [NamedTarget], words: &[String]) -> Result<(), Failure> {
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(name) = words.next() {
        let place = place(targets, name).ok_or_else(|| Failure::Usage(unknown(targets, name)))?;
        let mut is_said = false;
        while let Some(word) = words.next_if(|word| self::place(targets, word).is_none()) {
            let wrong = |wrong| Failure::Usage(format!("--for {name}: {wrong}"));
            let (option, value) = word
                .split_once('=')
                .ok_or_else(|| wrong(misplaced(targets, word)))?;
            if word.contains("://") && !NamedTarget::options().iter().any(|one| one == option) {
                return Err(wrong(misplaced(targets, word)));
            }
            targets[place].give(option, value).map_err(wrong)?;
            is_said = true;
        }
        if !is_said {
            let why = "write what is for it alone behind it: OPTION=VALUE";
            return Err(Failure::Usage(format!("--for {name}: {why}")));
        }
    }
    Ok(())
}

/// By its name in the result, or as it was typed.
fn place(targets: &[NamedTarget], name: &str) -> Option<usize> {
    let mut targets = targets.iter();
    targets.position(|target| target.name == name || target.url == name)
}

fn unknown(targets: &[NamedTarget], name: &str) -> String {
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    let meant = match nearest(name, &names) {
        Some(near) => format!("perhaps `{near}` was meant"),
        None => format!("write one of {}", names.join(", ")),
    };
    format!("--for {name}: no endpoint has this name: {meant}")
}

/// Of a word that is no option: perhaps it is meant for something else.
fn misplaced(targets: &[NamedTarget], word: &str) -> String {
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    match nearest(word, &names) {
        Some(near) => {
            format!("{word:?} is no OPTION=VALUE: perhaps the endpoint `{near}` was meant")
        }
        None => format!(
            "{word:?} is no OPTION=VALUE; endpoints stand before --for, or behind another flag"
        ),
    }
}
