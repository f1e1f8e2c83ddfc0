use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes that nobody can guess, from the operating system (getrandom(2)). It waits for them only in the
/// first seconds of a machine, before there are any.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut have = 0;
    while have < N {
        match getrandom(&mut bytes[have..], GetRandomFlags::empty()) {
            Ok(n) => have += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_d5_no_bytes_are_those_of_before() {
        let all: std::collections::HashSet<[u8; 32]> =
            (0..1000).map(|_| random_bytes().unwrap()).collect();
        assert_eq!(all.len(), 1000);
        assert!(!all.contains(&[0; 32]));
    }
}
