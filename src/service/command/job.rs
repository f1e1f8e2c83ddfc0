use super::terms::Terms;
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

/// The job that a line asks for, or why it is refused.
pub(super) fn of_line(terms: &Terms, line: Vec<u8>) -> Result<Job, &'static str> {
    let mut job = Job::line(line);
    within(terms, &mut job)?;
    Ok(job)
}

/// The job that a request asks for, or why it is refused.
pub(super) fn of(terms: &Terms, asked: &RunCommand) -> Result<Job, String> {
    // An argument ends at a NUL: the program would be given another than was sent (fault F13).
    let with_nul = "the request contains a NUL byte";
    let mut job = Job {
        has_input: asked.has_input,
        is_streamed: true,
        line: asked.command.typed(),
        ..Job::default()
    };
    if let StreamedCommand::Program(arguments) = &asked.command {
        if arguments.first().is_none_or(Vec::is_empty) {
            return Err("a program without a name".to_owned());
        }
        job.program = Some(arguments.clone());
    }
    if job.line.contains(&0) {
        return Err(with_nul.to_owned());
    }
    if let Some(directory) = &asked.directory {
        if terms.programs.is_some() {
            let why = "`cwd`: programs that are listed run where the server says";
            return Err(why.to_owned());
        }
        job.directory = Some(checked_directory(directory)?);
    }
    for variable in &asked.environment {
        job.environment.push(checked_variable(terms, variable)?);
    }
    within(terms, &mut job)?;
    Ok(job)
}

/// What the endpoint says of every command.
fn within(terms: &Terms, job: &mut Job) -> Result<(), &'static str> {
    if let Some(programs) = &terms.programs {
        match &job.program {
            Some(words) => programs.check(words)?,
            None => job.program = Some(programs.of_line(&job.line)?),
        }
    }
    if job.directory.is_none() {
        job.directory.clone_from(&terms.directory);
    }
    let asked: Vec<Vec<u8>> = job
        .environment
        .iter()
        .map(|variable| name_of(variable))
        .collect();
    let kept = terms
        .environment
        .iter()
        .filter(|variable| !asked.contains(&name_of(variable)));
    job.environment.extend(kept.cloned());
    job.confinement.clone_from(&terms.confinement);
    Ok(())
}

fn name_of(variable: &[u8]) -> Vec<u8> {
    variable
        .iter()
        .copied()
        .take_while(|&byte| byte != b'=')
        .collect()
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

fn checked_variable(terms: &Terms, variable: &str) -> Result<Vec<u8>, String> {
    let Some((name, value)) = variable.split_once('=') else {
        return Err("`env` has a variable without `=`".to_owned());
    };
    if value.contains('\0') {
        return Err("a NUL byte in `env`".to_owned());
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.starts_with(VARIABLES_BEGIN) && name.bytes().all(is_plain);
    let more = &terms.variables;
    if !begins && !VARIABLES.contains(&name) && !more.iter().any(|known| known == name) {
        let more = more.iter().map(String::as_str);
        let known: Vec<&str> = VARIABLES.into_iter().chain(more).collect();
        return Err(format!(
            "the variable {name:?} may not be set; {} and {VARIABLES_BEGIN}… may",
            known.join(", ")
        ));
    }
    Ok(variable.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::service::command::Options;

    fn of(asked: &RunCommand) -> Result<Job, String> {
        super::of(&terms(Options::default()), asked)
    }

    fn terms(options: Options) -> Terms {
        Terms::new(&options, &Limits::default())
    }

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

    #[test]
    fn fault_f14_listed_programs_are_all_that_runs_however_they_are_asked_for() {
        let listed = terms(Options {
            programs: vec!["ls *".into()],
            cwd: Some("/srv".into()),
            ..Options::default()
        });
        let job = of_line(&listed, b"ls 'a b'".to_vec()).unwrap();
        let words: Vec<Vec<u8>> = vec![b"ls".to_vec(), b"a b".to_vec()];
        assert_eq!(job.program, Some(words.clone()));
        assert_eq!(job.directory.as_deref(), Some(&b"/srv"[..]));
        let asked = RunCommand::new(StreamedCommand::Program(words.clone()));
        assert_eq!(super::of(&listed, &asked).unwrap().program, Some(words));
        let line = RunCommand::new(StreamedCommand::Line(b"ls x".to_vec()));
        assert!(super::of(&listed, &line).unwrap().program.is_some());
        for line in ["ls x; id", "ls -l", "id", "ls $(id) x", "sh -c ls"] {
            assert!(
                of_line(&listed, line.as_bytes().to_vec()).is_err(),
                "{line}"
            );
            let asked = RunCommand::new(StreamedCommand::Line(line.as_bytes().to_vec()));
            assert!(super::of(&listed, &asked).is_err(), "{line}");
        }
        for words in [
            &["ls", "-l"][..],
            &["ls", "a", "b"],
            &["sh", "-c", "ls a"],
            &["/bin/ls", "a"],
        ] {
            assert!(super::of(&listed, &program(words)).is_err(), "{words:?}");
        }
        let mut elsewhere = program(&["ls", "x"]);
        elsewhere.directory = Some("/tmp".to_owned());
        let reason = super::of(&listed, &elsewhere).unwrap_err();
        assert!(reason.contains("where the server says"), "{reason}");
    }

    #[test]
    fn fault_f15_a_request_sets_what_the_endpoint_names_and_is_heard_before_the_server() {
        let mut named = terms(Options {
            env: vec!["CI".into(), "STAGE".into()],
            cwd: Some("/srv".into()),
            ..Options::default()
        });
        named.environment = vec![b"CI=ours".to_vec()];
        let job = of_line(&named, b"env".to_vec()).unwrap();
        assert_eq!(job.environment, [b"CI=ours"]);
        let mut asked = program(&["env"]);
        asked.environment = vec!["CI=theirs".into(), "STAGE=x".into()];
        asked.directory = Some("/tmp".into());
        let job = super::of(&named, &asked).unwrap();
        assert_eq!(job.environment, [&b"CI=theirs"[..], b"STAGE=x"]);
        assert_eq!(job.directory.as_deref(), Some(&b"/tmp"[..]));
    }

    #[test]
    fn fault_h9_whatever_is_asked_for_runs_within_what_the_endpoint_says() {
        let confined = terms(Options {
            run_as: Some("nobody".into()),
            no_new_privs: true,
            ..Options::default()
        });
        let line = of_line(&confined, b"id".to_vec()).unwrap();
        let streamed = super::of(&confined, &program(&["id"])).unwrap();
        for job in [line, streamed] {
            let within = job.confinement.expect("a confinement");
            assert_eq!(within.user.as_deref(), Some("nobody"));
            assert!(within.no_new_privs);
        }
        let free = of_line(&terms(Options::default()), b"id".to_vec()).unwrap();
        assert_eq!(free.confinement, None);
    }
}
