//! Counts what an upstream didn't tell: the words of a stream that its caller left, that broke off, or whose upstream says nothing
//! of usage. By its model's own table, on a thread that may take its time; the request's record ends when it is counted. Who waits
//! for an answer never waits for a table to be built: there the estimate stands.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_rt::task::spawn_blocking;
use bytes::Bytes;

use super::live::Live;
use super::prepared::{Asked, Prepared};
use super::record::{LEFT, Record, Wrong};
use super::recovery::Broke;
use crate::base::Tariff;
use crate::dialect::endpoint::Weight;
use crate::dialect::{Counter, Source, Tally, Usage, Vocabulary};
use crate::ledger::{cost, plus};
use crate::routing::{Taken, Target};

/// A longer prompt isn't kept for this: it is estimated by its length.
const LONGEST_PROMPT: usize = 4_096;

/// The end of a record, once what it used is counted.
pub(super) type Counting = Pin<Box<dyn Future<Output = ()>>>;

/// What a stream used, and what its tokens cost.
pub(super) struct Reckoning {
    tally: Tally,
    taken: Taken,
    /// What its tokens cost, where its target's own tag doesn't say it.
    wild: Option<Arc<Tariff>>,
}

impl Reckoning {
    pub(super) fn new(tally: Tally, taken: Taken, wild: Option<Arc<Tariff>>) -> Self {
        Self { tally, taken, wild }
    }

    /// What was used, and what that cost in nano-dollars where the price of all of it is known.
    pub(super) fn sum(&self) -> ((Usage, Source), Option<i64>) {
        (self.tally.total(), plus(self.tally.spent(), own_cost(&self.tally, &self.taken, self.wild.as_deref())))
    }

    /// The same, counted.
    async fn counted(&mut self, vocabulary: Vocabulary, prompt: Option<Box<[u8]>>) {
        let Some(heard) = self.tally.take_heard() else { return };
        let told = self.tally.own().1 != Source::Estimated;
        let counted = spawn_blocking(move || {
            let prompt = prompt.filter(|_| !told).and_then(|prompt| vocabulary.count_messages(&prompt));
            (heard.count(vocabulary), prompt)
        });
        // A text that the tables' own code can't take stays estimated.
        if let Ok((heard, prompt)) = counted.await {
            self.tally.count(heard, prompt);
        }
    }
}

/// Counts what an upstream that broke didn't tell, and what that cost, where its model's table is built: whoever reads its stream waits
/// for another to go on.
pub(super) async fn reckoned(broke: &mut Broke, vocabulary: Vocabulary, prompt: Option<Box<[u8]>>) {
    if broke.tally.settled().is_some() {
        return;
    }
    if !vocabulary.is_ready() {
        prepare(vocabulary);
        return;
    }
    let mut reckoning = Reckoning::new(broke.tally.clone(), broke.taken.clone(), broke.wild.clone());
    reckoning.counted(vocabulary, prompt).await;
    broke.cost = own_cost(&reckoning.tally, &broke.taken, broke.wild.as_deref());
    broke.tally = reckoning.tally;
}

/// What the present upstream's part of a tally cost.
pub(super) fn own_cost(tally: &Tally, taken: &Taken, wild: Option<&Tariff>) -> Option<i64> {
    let own = |tariff: &Tariff| cost(tariff, &tally.own().0);
    match wild {
        Some(tariff) => Some(own(tariff)),
        None => taken.target.price.look(own),
    }
}

/// What is to be counted of a stream before its record ends; None: nothing, or not now. `waited_for`: somebody waits for it.
pub(super) fn reckoning(live: &Live, record: &Record, waited_for: bool) -> Option<(Reckoning, Vocabulary)> {
    if live.is_settled() {
        return None;
    }
    let target = &live.taken().target;
    let model = record.wildcard.as_ref().filter(|_| &*target.model == "*").unwrap_or(&target.model);
    let vocabulary = Vocabulary::of(model);
    if waited_for && !vocabulary.is_ready() {
        prepare(vocabulary);
        return None;
    }
    Some((live.reckoning(), vocabulary))
}

/// Counts, and ends the record with that.
pub(super) fn counting(
    (mut reckoning, vocabulary): (Reckoning, Vocabulary),
    mut record: Box<Record>,
    prompt: Option<Box<[u8]>>,
    status: u16,
    Wrong { kind, text }: Wrong<'_>,
) -> Counting {
    if status == LEFT {
        record.left();
    }
    let text = text.to_owned();
    Box::pin(async move {
        reckoning.counted(vocabulary, prompt).await;
        let (used, cost) = reckoning.sum();
        record.spent(used, cost);
        record.end(status, Wrong { kind, text: &text });
    })
}

/// What a whole answer used that doesn't say it: by its model's table, where that is built.
pub(super) async fn whole(request: &Prepared, target: &Target, answer: &Bytes) -> Usage {
    let (asked, wire) = (request.asked, request.wire);
    let tokens = move |body: &[u8], count: &dyn Fn(&str) -> u64| match asked {
        Asked::Passed(endpoint) if endpoint.row().weight != Weight::Answer => 0,
        Asked::Chat | Asked::Tokens | Asked::Passed(_) => wire.tokens(body, count),
    };
    let (messages, prompt) = (request.scan.messages.clone(), request.scan.prompt_tokens());
    let by_length = || (prompt, tokens(answer, &Counter::of));
    let vocabulary = Vocabulary::of(request.upstream_model(target));
    let (input, output) = if vocabulary.is_ready() {
        let (asked, answer) = (request.body.clone(), answer.clone());
        let counted = spawn_blocking(move || {
            let asked = messages.and_then(|span| vocabulary.count_messages(asked.get(span)?));
            (asked.unwrap_or(prompt), tokens(&answer, &|text| vocabulary.count(text)))
        });
        counted.await.unwrap_or_else(|_| by_length())
    } else {
        prepare(vocabulary);
        by_length()
    };
    Usage { input, output, ..Usage::default() }
}

/// Has a table built, for those who come later.
fn prepare(vocabulary: Vocabulary) {
    drop(spawn_blocking(move || vocabulary.prepare()));
}

/// A prompt as it is kept to be counted.
pub(super) fn kept_prompt(messages: Option<&[u8]>) -> Option<Box<[u8]>> {
    messages.filter(|messages| messages.len() <= LONGEST_PROMPT).map(Into::into)
}
