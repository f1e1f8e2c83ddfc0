use crate::turn::Job;
use crate::wire::{RunCommand, StreamedCommand};

/// The longest path, without the NUL behind it: `PATH_MAX` of Linux.
const PATH_BYTES_MAX: usize = 4095;

/// Names of variables that a client may set: what a terminal and a language are. `PATH`, `LD_PRELOAD`, `IFS` and
/// their like decide what a program does (fault F15).
const VARIABLES: [&str; 8] = [
    "COLORTERM",
    "COLUMNS",
    "LANG",
    "LANGUAGE",
    "LINES",
    "NO_COLOR",
    "TERM",
    "TZ",
];

/// How the names of all other variables begin that a client may set.
const VARIABLES_BEGIN: &str = "LC_";

/// The job that a request asks for, or why it is refused.
pub(super) fn of(asked: &RunCommand) -> Result<Job, String> {
    // An argument ends at a NUL: the program would be given another than was sent (fault F13).
    let with_nul = "the request contains a NUL byte";
    let mut job = Job {
        has_input: asked.has_input,
        is_streamed: true,
        ..Job::default()
    };
    match &asked.command {
        StreamedCommand::Line(line) => job.line.clone_from(line),
        StreamedCommand::Program(arguments) => {
            if arguments.first().is_none_or(Vec::is_empty) {
                return Err("a program without a name".to_owned());
            }
            if arguments.iter().any(|argument| argument.contains(&0)) {
                return Err(with_nul.to_owned());
            }
            job.line = quoted(arguments);
            job.program = Some(arguments.clone());
        }
    }
    if job.line.contains(&0) {
        return Err(with_nul.to_owned());
    }
    if let Some(directory) = &asked.directory {
        job.directory = Some(checked_directory(directory)?);
    }
    for variable in &asked.environment {
        job.environment.push(checked_variable(variable)?);
    }
    Ok(job)
}

fn checked_directory(directory: &str) -> Result<Vec<u8>, String> {
    match directory {
        _ if directory.contains('\0') => Err("a NUL byte in `cwd`".to_owned()),
        _ if !directory.starts_with('/') => Err("`cwd` is no absolute path".to_owned()),
        _ if directory.len() > PATH_BYTES_MAX => {
            Err(format!("`cwd` is longer than {PATH_BYTES_MAX} bytes"))
        }
        _ => Ok(directory.as_bytes().to_vec()),
    }
}

fn checked_variable(variable: &str) -> Result<Vec<u8>, String> {
    let Some((name, value)) = variable.split_once('=') else {
        return Err("`env` has a variable without `=`".to_owned());
    };
    if value.contains('\0') {
        return Err("a NUL byte in `env`".to_owned());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.starts_with(VARIABLES_BEGIN) && name.bytes().all(is_plain);
    if !begins && !VARIABLES.contains(&name) {
        return Err(format!(
            "the variable {name:?} may not be set; {} and {VARIABLES_BEGIN}… may",
            VARIABLES.join(", ")
        ));
    }
    Ok(variable.as_bytes().to_vec())
}

/// What a person would type to have a shell run this.
fn quoted(arguments: &[Vec<u8>]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(byte);
    let mut line = Vec::new();
    for argument in arguments {
        if !line.is_empty() {
            line.push(b' ');
        }
        if !argument.is_empty() && argument.iter().all(is_plain) {
            line.extend_from_slice(argument);
            continue;
        }
        line.push(b'\'');
        for &byte in argument {
            if byte == b'\'' {
                line.extend_from_slice(b"'\\''");
            } else {
                line.push(byte);
            }
        }
        line.push(b'\'');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(arguments: &[&str]) -> RunCommand {
        let arguments = arguments.iter().map(|text| text.as_bytes().to_vec());
        RunCommand::new(StreamedCommand::Program(arguments.collect()))
    }

    #[test]
    fn a_program_is_shown_as_it_would_be_typed_and_run_as_it_is() {
        let job = of(&program(&["printf", "%s\n", "a b", "", "it's", "$HOME"])).unwrap();
        let typed = "printf '%s\n' 'a b' '' 'it'\\''s' '$HOME'";
        assert_eq!(
            job.line.escape_ascii().to_string(),
            typed.escape_default().to_string()
        );
        assert_eq!(job.program.unwrap().len(), 6);
    }

    #[test]
    fn fault_f13_a_nul_byte_anywhere_is_refused() {
        let line = RunCommand::new(StreamedCommand::Line(b"a\0b".to_vec()));
        let mut elsewhere = program(&["ls"]);
        elsewhere.directory = Some("/tmp\0".to_owned());
        let mut variable = program(&["ls"]);
        variable.environment = vec!["TERM=a\0b".to_owned()];
        for asked in [
            line,
            program(&["ls", "\0"]),
            program(&["l\0s"]),
            elsewhere,
            variable,
        ] {
            let reason = of(&asked).unwrap_err();
            assert!(reason.to_lowercase().contains("a nul byte"), "{reason}");
        }
    }

    #[test]
    fn fault_f15_only_what_a_terminal_and_a_language_are_may_be_set() {
        let asks = |variable: &str| {
            let mut asked = program(&["env"]);
            asked.environment = vec![variable.to_owned()];
            of(&asked)
        };
        for variable in [
            "TERM=xterm",
            "LC_ALL=C",
            "LANG=",
            "TZ=UTC=x",
            "LC_PAPER=de_DE",
        ] {
            let job = asks(variable).unwrap();
            assert_eq!(job.environment, [variable.as_bytes()]);
        }
        for variable in [
            "LD_PRELOAD=/x.so",
            "PATH=/tmp",
            "IFS=x",
            "BASH_ENV=x",
            "LC_A L=x",
            "=x",
            "term=x",
        ] {
            let reason = asks(variable).unwrap_err();
            assert!(reason.contains("may not be set"), "{reason}");
        }
        assert_eq!(
            asks("TERM").unwrap_err(),
            "`env` has a variable without `=`"
        );
    }

    #[test]
    fn what_is_no_program_or_no_directory_is_refused() {
        assert!(of(&program(&[])).unwrap_err().contains("without a name"));
        assert!(
            of(&program(&["", "x"]))
                .unwrap_err()
                .contains("without a name")
        );
        let inside = |directory: &str| {
            let mut asked = program(&["ls"]);
            asked.directory = Some(directory.to_owned());
            of(&asked).map(|job| job.directory)
        };
        assert_eq!(inside("/tmp"), Ok(Some(b"/tmp".to_vec())));
        assert!(inside("tmp").unwrap_err().contains("absolute"));
        assert!(inside("").unwrap_err().contains("absolute"));
        assert!(inside(&"/x".repeat(2048)).unwrap_err().contains("4095"));
    }
}
