use std::io;

use crate::config::random_bytes;

/// How many names are tried for what has a name that is taken.
pub(super) const NAMES_MAX: u32 = 100;

/// The names that are tried: `a.txt`, `a-2.txt`, and so on.
pub(super) fn names(name: &str) -> impl Iterator<Item = String> {
    (1..=NAMES_MAX).map(move |n| match (n, name.rsplit_once('.')) {
        (1, _) => name.to_owned(),
        (n, Some((stem, ending))) if !stem.is_empty() => format!("{stem}-{n}.{ending}"),
        (n, _) => format!("{name}-{n}"),
    })
}

/// What is fetched now and nothing else has in its name, until it is whole.
pub(super) fn own_name() -> io::Result<String> {
    Ok(format!("ipmsg-{:08x}", u32::from_le_bytes(random_bytes()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_taken_gets_a_number_before_its_ending() {
        let third = |name| names(name).nth(2).unwrap();
        assert_eq!(names("a.txt").next().unwrap(), "a.txt");
        assert_eq!(third("a.txt"), "a-3.txt");
        assert_eq!(third("README"), "README-3");
        assert_eq!(third("a.tar.gz"), "a.tar-3.gz");
        assert_eq!(names("a").count(), 100);
    }
}
