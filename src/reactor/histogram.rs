/// Buckets that are told: 0, up to 1, up to 3, up to 7 … of the unit. What is greater is in none of them.
const TOLD: usize = 21;

/// One for each position of the highest bit, and one for none: then no value has to be looked at twice.
const BUCKETS: usize = u64::BITS as usize + 1;

/// How often values of each size came, in buckets that are fixed: each holds twice as much as the one
/// before it. Counting one is a shift, the position of the highest bit, and two additions, so that the
/// loop can afford it once a turn.
///
/// Values are counted in units of 2ᵘ, so that the smallest bucket is as fine as anybody wants to know.
#[derive(Debug, Clone)]
pub(super) struct Histogram<const U: u32> {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl<const U: u32> Default for Histogram<U> {
    fn default() -> Self {
        let buckets = [0; BUCKETS];
        Histogram { buckets, sum: 0 }
    }
}

impl<const U: u32> Histogram<U> {
    /// Counts a value.
    #[inline]
    pub(super) fn record(&mut self, value: u64) {
        let bucket = u64::BITS - (value >> U).leading_zeros();
        self.buckets[bucket as usize] += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// How many values there were.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }

    /// The greatest value that each bucket takes, and how many values were at most that.
    pub(super) fn up_to(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut so_far = 0;
        let buckets = self.buckets[..TOLD].iter().enumerate();
        buckets.map(move |(n, count)| {
            so_far += count;
            ((1_u64 << (n as u32 + U)) - 1, so_far)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_is_not_below_it() {
        for value in (0..70_000).chain([1 << 20, (1 << 21) - 1, 1 << 21, u64::MAX]) {
            let mut histogram = Histogram::<0>::default();
            histogram.record(value);
            assert_eq!((histogram.count(), histogram.sum()), (1, value));
            for (most, count) in histogram.up_to() {
                assert_eq!(count, u64::from(value <= most), "{value} in {most}");
            }
        }
    }

    #[test]
    fn units_are_powers_of_two_and_bounds_are_exact() {
        let mut histogram = Histogram::<10>::default();
        for value in [0, 1023, 1024, 2047, 2048, u64::MAX] {
            histogram.record(value);
        }
        let first: Vec<(u64, u64)> = histogram.up_to().take(3).collect();
        assert_eq!(first, [(1023, 2), (2047, 4), (4095, 5)]);
        assert_eq!(histogram.up_to().last(), Some(((1 << 30) - 1, 5)));
        assert_eq!(histogram.count(), 6);
    }
}
