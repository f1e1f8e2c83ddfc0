//! Medians, their spread, and how they are written.

/// The middle of several measurements, and the least and the greatest of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Median {
    /// Half are at most this.
    pub(crate) middle: f64,
    /// The least.
    pub(crate) low: f64,
    /// The greatest.
    pub(crate) high: f64,
}

impl Median {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Median {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        assert!(n > 0, "nothing was measured");
        Median {
            middle: (values[(n - 1) / 2] + values[n / 2]) / 2.0,
            low: values[0],
            high: values[n - 1],
        }
    }

    /// As a ratio: `1.02 (0.98 to 1.05)`.
    pub(crate) fn ratio(self) -> String {
        format!("{:.2} ({:.2} to {:.2})", self.middle, self.low, self.high)
    }
}

/// `1234567.0` as `1.23 M`.
pub(crate) fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.2} G", n / 1e9),
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.1}"),
    }
}
