//! What a stream's `usage` says besides: what its tokens cost.

use std::ops::Range;

use bytes::Bytes;

use crate::base::{Dollars, Tariff};
use crate::dialect::scan::as_event;
use crate::dialect::{Tally, usage, with_cost};
use crate::ledger::{cost, plus};

/// An event whose usage says besides what it cost; None where it can't be believed.
pub(super) fn priced(data: &[u8], span: &Range<usize>, tariff: &Tariff) -> Option<Bytes> {
    let object = data.get(span.clone())?;
    let object = with_cost(object, Dollars(cost(tariff, &usage(object)?)));
    Some(as_event(&[data.get(..span.start)?, &object, data.get(span.end..)?].concat()))
}

/// The one usage of several legs, and what they cost together, where the caller is to be told and each leg's cost is known.
pub(super) fn sum(tally: &Tally, priced: Option<&Tariff>) -> String {
    let usage = tally.total().0.json();
    let last = priced.map(|tariff| cost(tariff, &tally.own().0));
    match plus(tally.spent(), last) {
        Some(cost) => String::from_utf8_lossy(&with_cost(usage.as_bytes(), Dollars(cost))).into_owned(),
        None => usage,
    }
}
