//! Which traces are recorded, by OpenTelemetry's own variables: `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). Pure. By the trace's id, so that all who
//! see a trace and keep the same share of them keep the same ones.

use super::context::Parent;

/// The bits of a trace's id that are chance.
const RANDOM: u64 = 1 << 56;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Whether a caller who has decided is followed.
    follows: bool,
    /// An id whose chance is below this isn't recorded.
    least: u64,
}

impl Default for Sampler {
    /// All, but for those whose callers leave them out.
    fn default() -> Self {
        Self { follows: true, least: 0 }
    }
}

impl Sampler {
    /// The names that the variable may have.
    pub const NAMES: [&str; 6] =
        ["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"];

    /// By the two variables.
    ///
    /// # Errors
    /// What is wrong with them, without their values.
    pub fn named(name: &str, share: Option<&str>) -> Result<Self, String> {
        let (follows, own) = name.strip_prefix("parentbased_").map_or((false, name), |own| (true, own));
        let share = match own {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => {
                let share = share.map_or(Ok(1.0), |share| share.trim().parse::<f64>());
                let share = share.ok().filter(|share| (0.0..=1.0).contains(share));
                share.ok_or("OTEL_TRACES_SAMPLER_ARG must be a share from 0 to 1, such as 0.1")?
            }
            _ => return Err(format!("OTEL_TRACES_SAMPLER must be one of {}", Self::NAMES.join(", "))),
        };
        Ok(Self { follows, least: ((1.0 - share) * RANDOM as f64) as u64 })
    }

    /// Whether a trace is recorded.
    pub fn takes(&self, trace: &[u8; 16], parent: Option<&Parent>) -> bool {
        match parent {
            Some(parent) if self.follows => parent.sampled,
            _ => {
                let [.., a, b, c, d, e, f, g] = *trace;
                u64::from_be_bytes([0, a, b, c, d, e, f, g]) >= self.least
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(random: u64) -> [u8; 16] {
        let mut trace = [7; 16];
        trace[9..].copy_from_slice(&random.to_be_bytes()[1..]);
        trace
    }

    fn parent(sampled: bool) -> Parent {
        Parent { trace: trace(1), span: [1; 8], sampled }
    }

    #[test]
    fn each_name_means_what_the_standard_says() {
        let (low, high) = (trace(0), trace(RANDOM - 1));
        for (name, share, without, under_unsampled, under_sampled) in [
            ("always_on", None, [true, true], true, true),
            ("always_off", None, [false, false], false, false),
            ("traceidratio", Some("0.5"), [false, true], true, true),
            ("parentbased_always_on", None, [true, true], false, true),
            ("parentbased_always_off", None, [false, false], false, true),
            ("parentbased_traceidratio", Some("0.25"), [false, true], false, true),
            ("parentbased_traceidratio", None, [true, true], false, true),
        ] {
            let sampler = Sampler::named(name, share).unwrap();
            assert_eq!([&low, &high].map(|trace| sampler.takes(trace, None)), without, "{name}");
            assert_eq!(sampler.takes(&high, Some(&parent(false))), under_unsampled, "{name}");
            assert_eq!(sampler.takes(&high, Some(&parent(true))), under_sampled, "{name}");
        }
        assert_eq!(Sampler::default(), Sampler::named("parentbased_always_on", None).unwrap());
        for (name, share) in [("sometimes", None), ("traceidratio", Some("2")), ("traceidratio", Some("NaN")), ("parentbased_jaeger", None)]
        {
            assert!(Sampler::named(name, share).is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_share_keeps_what_a_smaller_one_keeps(random in 0..RANDOM, a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
            let keeps = |share: f64| Sampler::named("traceidratio", Some(&share.to_string())).unwrap().takes(&trace(random), None);
            prop_assert!(!keeps(a.min(b)) || keeps(a.max(b)));
        }
    }
}
