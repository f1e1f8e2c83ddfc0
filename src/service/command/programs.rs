//! Which programs may be run, with which arguments: the option `programs`.
//!
//! An entry is a command line, split into words as a POSIX shell quotes them and with nothing expanded. A
//! request is split the same way, and is run, without a shell, if an entry has its words. In an entry:
//!
//! | a word | stands for |
//! | --- | --- |
//! | `*` | one argument that does not begin with `-`: a name that begins so would be an option |
//! | `v*`, `-*`, `--depth=*`, `*.log` | one argument like this; the `*` is any text, `/` and none included |
//! | `**`, as the last | any number of arguments, whatever they are |
//! | any other | itself |
//!
//! The first word is the program: an absolute path, or a name that is looked up where commands find programs.
//! It stands for itself alone.

use crate::config::quoted;

/// Programs that may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs(Vec<Entry>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    program: String,
    arguments: Vec<String>,
    /// Any others may follow.
    and_more: bool,
}

/// The most words of an entry: to compare costs their number, and each `*` once more the length of the argument.
const WORDS_MAX: usize = 64;

const ANY: char = '*';
const ANY_NUMBER: &str = "**";

impl Programs {
    /// Understands entries; or says which of them is wrong, and why.
    pub(super) fn parse(entries: &[String]) -> Result<Programs, String> {
        let parsed: Result<Vec<Entry>, String> = entries.iter().map(|e| Entry::parse(e)).collect();
        parsed.map(Programs)
    }

    /// The words of a line that may be run, or why it may not.
    pub(super) fn of_line(&self, line: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
        let line = std::str::from_utf8(line).map_err(|_| "the request is not UTF-8")?;
        let words = shell_words::split(line).map_err(|_| "a quote is not closed")?;
        let words: Vec<Vec<u8>> = words.into_iter().map(String::into_bytes).collect();
        self.check(&words)?;
        Ok(words)
    }

    /// Whether a program may be run with these arguments; else why not.
    pub(super) fn check(&self, words: &[Vec<u8>]) -> Result<(), &'static str> {
        let is_allowed = self.0.iter().any(|entry| entry.has(words));
        is_allowed
            .then_some(())
            .ok_or("it is not among the programs that may be run here")
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Entry, String> {
        let shown = quoted(text);
        let words = shell_words::split(text);
        let words = words.map_err(|_| format!("a quote is not closed in {shown}"))?;
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| format!("{shown} names no program"))?;
        if program.contains(ANY) {
            return Err(format!(
                "{shown} lets the client choose the program: `*` stands for arguments only"
            ));
        }
        if program.contains('/') && !program.starts_with('/') {
            return Err(format!(
                "{shown} depends on where the server was started; write the program's whole path"
            ));
        }
        let mut arguments: Vec<String> = words.collect();
        let and_more = arguments.last().is_some_and(|last| last == ANY_NUMBER);
        if and_more {
            arguments.pop();
        }
        if arguments.iter().any(|word| word == ANY_NUMBER) {
            return Err(format!(
                "`**` is any number of arguments, and stands last or not at all, but {shown} goes on"
            ));
        }
        if arguments.len() >= WORDS_MAX {
            return Err(format!("{shown} has more than {WORDS_MAX} words"));
        }
        Ok(Entry {
            program,
            arguments,
            and_more,
        })
    }

    fn has(&self, words: &[Vec<u8>]) -> bool {
        let Some((program, arguments)) = words.split_first() else {
            return false;
        };
        let known = self.arguments.len();
        let has_number = if self.and_more {
            arguments.len() >= known
        } else {
            arguments.len() == known
        };
        has_number
            && *program == self.program.as_bytes()
            && self
                .arguments
                .iter()
                .zip(arguments)
                .all(|(pattern, argument)| stands_for(pattern.as_bytes(), argument))
    }
}

/// Whether a word of an entry stands for this argument.
fn stands_for(pattern: &[u8], argument: &[u8]) -> bool {
    const ANY: u8 = self::ANY as u8;
    // A client must not turn what is meant as a name into an option.
    if pattern.first() == Some(&ANY) && argument.first() == Some(&b'-') {
        return false;
    }
    let (mut p, mut a) = (0, 0);
    // Where the last `*` is, and how far it reaches: it is made longer where what follows it does not fit. No
    // earlier one need be, so this takes the product of the lengths at most.
    let mut last: Option<(usize, usize)> = None;
    while a < argument.len() {
        match (pattern.get(p), last) {
            (Some(&ANY), _) => {
                last = Some((p, a));
                p += 1;
            }
            (Some(byte), _) if *byte == argument[a] => {
                p += 1;
                a += 1;
            }
            (_, Some((star, reached))) => {
                p = star + 1;
                a = reached + 1;
                last = Some((star, reached + 1));
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == ANY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn programs(entries: &[&str]) -> Programs {
        let entries: Vec<String> = entries.iter().map(|&text| text.into()).collect();
        Programs::parse(&entries).unwrap()
    }

    #[track_caller]
    fn runs(programs: &Programs, line: &str, words: &[&str]) {
        let expected: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        assert_eq!(programs.of_line(line.as_bytes()), Ok(expected), "{line}");
    }

    #[track_caller]
    fn refuses(programs: &Programs, line: &str) {
        assert!(programs.of_line(line.as_bytes()).is_err(), "{line}");
    }

    #[test]
    fn fault_f14_what_is_listed_runs_and_no_shell_does() {
        let listed = programs(&["ls", "git -C /srv/app pull", "echo **"]);
        runs(&listed, "ls", &["ls"]);
        runs(
            &listed,
            " 'git' -C \"/srv/app\" pul\\l ",
            &["git", "-C", "/srv/app", "pull"],
        );
        for line in [
            "ls; rm -rf /",
            "ls;rm -rf /",
            "ls && rm x",
            "ls | sh",
            "ls > /etc/passwd",
            "ls\nrm x",
            "ls &",
            "ls -l",
            "$(ls)",
            "`ls`",
            "/bin/ls",
            "./ls",
            "l's",
            "A=1 ls",
            "git -C /srv/other pull",
            "git -C /srv/app pull --exec=x",
            "git -C /srv/app",
            "",
            "''",
            "# ls",
        ] {
            refuses(&listed, line);
        }
        // Nothing is expanded, and what a shell would act on is text.
        let words = [
            "echo", "$HOME", "*", "~", "`id`", "$(id);", "|", "sh", ">", "x",
        ];
        runs(&listed, "echo $HOME * ~ '`id`' '$(id);' | sh > x", &words);
        assert_eq!(listed.of_line(b"ls \xff"), Err("the request is not UTF-8"));
    }

    #[test]
    fn a_star_is_one_argument_and_no_option() {
        let listed = programs(&[
            "cat *",
            "tar -* *",
            "git checkout v*",
            "git fetch --depth=*",
        ]);
        runs(&listed, "cat a", &["cat", "a"]);
        runs(&listed, "cat 'a b'", &["cat", "a b"]);
        runs(&listed, "cat ''", &["cat", ""]);
        for line in ["cat", "cat a b", "cat -n", "cat --", "cat -"] {
            refuses(&listed, line);
        }
        runs(&listed, "tar -tf x.tar", &["tar", "-tf", "x.tar"]);
        refuses(&listed, "tar x.tar -tf");
        runs(&listed, "git checkout v1.2", &["git", "checkout", "v1.2"]);
        refuses(&listed, "git checkout --force");
        runs(&listed, "git fetch --depth=", &["git", "fetch", "--depth="]);
        refuses(&listed, "git fetch --deepen=1");
    }

    #[test]
    fn two_stars_at_the_end_are_any_number_of_anything() {
        let listed = programs(&["make **", "env - **"]);
        runs(&listed, "make", &["make"]);
        runs(&listed, "make -j2 all", &["make", "-j2", "all"]);
        runs(&listed, "env -", &["env", "-"]);
        refuses(&listed, "env");
        refuses(&listed, "env x");
    }

    #[test]
    fn an_entry_that_would_let_too_much_through_is_refused() {
        for (entry, reason) in [
            ("", "names no program"),
            ("'' x", "names no program"),
            ("* x", "lets the client choose"),
            ("/usr/bin/* x", "lets the client choose"),
            ("bin/x", "whole path"),
            ("a ** b", "stands last"),
            ("a ** **", "stands last"),
            ("a 'b", "a quote is not closed"),
        ] {
            let wrong = Programs::parse(&[entry.to_owned()]).unwrap_err();
            assert!(wrong.contains(reason), "{entry}: {wrong}");
        }
        let long = vec!["a"; WORDS_MAX + 1].join(" ");
        assert!(Programs::parse(&[long]).unwrap_err().contains("words"));
    }

    /// What `*` means, said so simply that it takes exponential time.
    fn plainly(pattern: &[u8], argument: &[u8]) -> bool {
        match (pattern.split_first(), argument.split_first()) {
            (None, first) => first.is_none(),
            (Some((b'*', rest)), first) => {
                plainly(rest, argument) || first.is_some_and(|(_, more)| plainly(pattern, more))
            }
            (Some((byte, rest)), Some((first, more))) => byte == first && plainly(rest, more),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn a_word_stands_for_what_it_says(pattern in "[ab*]{0,6}", argument in "[ab]{0,8}") {
            let (pattern, argument) = (pattern.as_bytes(), argument.as_bytes());
            prop_assert_eq!(stands_for(pattern, argument), plainly(pattern, argument));
        }

        #[test]
        fn what_one_word_is_quoted_to_is_one_argument(word in ".*") {
            let listed = programs(&["x **"]);
            let line = format!("x {}", shell_words::quote(&word));
            prop_assert_eq!(listed.of_line(line.as_bytes()), Ok(vec![b"x".to_vec(), word.into_bytes()]));
        }
    }
}
