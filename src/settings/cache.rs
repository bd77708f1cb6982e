//! `[cache]` and `[models.X.cache]`: which answers are kept to be given again.

use super::raw::Section;
use super::types::Caching;

/// `base` with what the section overrides.
pub(super) fn read(mut s: Section<'_>, base: &Caching) -> Caching {
    Caching {
        exact: s.choice("mode", &[("off", false), ("exact", true)], base.exact),
        only_deterministic: s.flag("only_deterministic", base.only_deterministic),
        ttl: s.period("ttl", base.ttl),
        max: s.size("max", base.max),
        coalesce: s.flag("coalesce", base.coalesce),
    }
}

/// Said where [`is_idle`].
pub(super) const IDLE: &str = "has no effect: no answer is kept, since its `mode` is \"off\"";

/// Whether something is set of it, over `base`, though no answer is kept.
pub(super) fn is_idle(caching: &Caching, base: &Caching) -> bool {
    !caching.exact && *caching != Caching { exact: false, ..base.clone() }
}
