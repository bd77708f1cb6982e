//! Money in integers: nano-dollars (a thousand-millionth of a US dollar), and prices in nano-dollars per million tokens, since
//! $0.0375 a million is no whole nano-dollar a token. Floating point is met once, where a price is read.

use std::fmt;

/// Nano-dollars in a dollar.
const NANOS: u64 = 1_000_000_000;

/// The dearest price that is believed, in nano-dollars: a thousand million dollars.
const MOST: f64 = 1e18;

/// A sum of dollars in nano-dollars, to the nearest; None for what can't be a sum of money that somebody pays.
pub fn nanos(usd: f64) -> Option<u64> {
    let nanos = (usd * NANOS as f64).round();
    (0.0..=MOST).contains(&nanos).then_some(nanos as u64)
}

/// A sum of nano-dollars as it is shown: in dollars, exact, without an exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dollars(pub i64);

impl Dollars {
    /// For where a number is wanted that needn't be exact.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }
}

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0.unsigned_abs() / NANOS, self.0.unsigned_abs() % NANOS);
        let sign = if self.0 < 0 { "-" } else { "" };
        if rest == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{rest:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_shown_exactly() {
        for (nanos, shown) in [(0, "0"), (1, "0.000000001"), (1_250_000, "0.00125"), (3_000_000_000, "3"), (-1_500_000_000, "-1.5")] {
            assert_eq!(Dollars(nanos).to_string(), shown);
        }
        assert_eq!(Dollars(i64::MIN).to_string(), "-9223372036.854775808");
        assert_eq!((nanos(2.5), nanos(0.0375), nanos(0.0)), (Some(2_500_000_000), Some(37_500_000), Some(0)));
        for nonsense in [-1.0, f64::NAN, f64::INFINITY, 1e10] {
            assert_eq!(nanos(nonsense), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(sum in 0..1_000_000_000_000_000i64) {
            prop_assert_eq!(nanos(Dollars(sum).to_string().parse().unwrap()), Some(sum as u64));
        }
    }
}
