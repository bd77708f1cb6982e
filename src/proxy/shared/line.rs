//! What is to be asked of Redis about one key's calls, in their order. What comes in one turn of the thread goes in one question, and
//! while a few questions are on their way the rest waits and goes together: a crowd costs Redis a few scripts, not one each.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Link;
use super::lease::{Call, Said};
use crate::access::{Amounts, Broke, Kind, Leased, Now, Refusal, Terms, Untold, Word};

/// A lease that isn't renewed ends after this.
const LEASE: Duration = Duration::from_secs(60);
/// So much goes in one question.
const MOST: usize = 256;
/// So many questions of one key are on their way at once.
const DEPTH: u32 = 4;
/// Numbers of an answer that are about all of it, then about each.
const HEAD: usize = 6;
const EACH: usize = 4;

/// What is asked for a call.
pub(super) enum Matter {
    /// May it be let in?
    Ask(oneshot::Sender<Said>),
    /// It was let in alone.
    Take,
    /// It is over.
    End {
        /// What it used.
        used: Amounts,
        /// When what holds its lease was made.
        made: u64,
    },
    /// It never was made.
    Back,
    /// It is still under way, or there is nothing to say about it.
    Hold,
}

struct Item {
    call: Rc<Call>,
    matter: Matter,
}

/// One key's, of one worker.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Item>,
    /// Who send it.
    senders: u32,
    /// One of them is about to take what waits.
    coming: bool,
}

impl Line {
    /// The next to go together: those whose keys have the same terms.
    fn take(&mut self) -> Vec<Item> {
        let terms = |item: &Item| Terms::from(&*item.call.key);
        let Some(first) = self.waiting.front().map(terms) else { return Vec::new() };
        let count = self.waiting.iter().take(MOST).take_while(|item| terms(item) == first).count();
        self.waiting.drain(..count).collect()
    }
}

impl Link {
    /// Has Redis asked, soon.
    pub(super) fn ask(self: &Rc<Self>, call: Rc<Call>, matter: Matter) {
        call.asked.set(call.asked.get() + 1);
        let id = Arc::clone(&call.key.id);
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(Arc::clone(&id)).or_default();
        line.waiting.push_back(Item { call, matter });
        if !line.coming && line.senders < DEPTH {
            line.coming = true;
            line.senders += 1;
            // A task of its own: what Redis answers after its time, or to a caller who has left, is to be put right as well.
            actix_rt::spawn(Rc::clone(self).send(id));
        }
    }

    async fn send(self: Rc<Self>, id: Arc<str>) {
        // Whoever asks in this turn comes along.
        tokio::task::yield_now().await;
        while let Some(items) = self.next(&id) {
            let now = Now { moment: self.clock.now(), wall: self.clock.wall() };
            let own = Arc::clone(&items[0].call.own);
            let (known, untold) = own.tell(now.wall);
            let answer = self.decide(&id, &items, (known, untold), now).await;
            match answer {
                Some(answer) => self.take(items, &answer),
                None => {
                    own.untold(untold, Leased::default());
                    items.into_iter().for_each(|item| self.unheard(item));
                }
            }
        }
    }

    /// What goes next; None: nothing is left for this sender.
    fn next(&self, id: &Arc<str>) -> Option<Vec<Item>> {
        let mut lines = self.lines.borrow_mut();
        let line = lines.get_mut(id)?;
        line.coming = false;
        let items = line.take();
        if items.is_empty() {
            line.senders -= 1;
            if line.senders == 0 {
                lines.remove(id);
            }
            return None;
        }
        Some(items)
    }

    async fn decide(&self, id: &str, items: &[Item], (known, untold): (u64, Untold), now: Now) -> Option<Vec<i64>> {
        let key = &items[0].call.key;
        let (budget, window) = key.budget.map_or((0, 0), |budget| (budget.nanos, budget.window.number(now.wall)));
        // Both keys of one are on the same node of a cluster.
        let mut ask = self.script.key(format!("stagedoor:{{{id}}}:limits"));
        ask.key(format!("stagedoor:{{{id}}}:leases")).arg(key.rpm).arg(key.tpm).arg(key.concurrency).arg(budget).arg(window);
        ask.arg(known).arg(untold.nanos).arg(untold.requests).arg(untold.tokens).arg(LEASE.as_micros() as u64);
        for Item { call, matter } in items {
            let Amounts { tokens, nanos } = call.taken;
            let (what, numbers) = match matter {
                Matter::Ask(_) => ("ask", [tokens, nanos, 0, 0]),
                Matter::Take => ("take", [tokens, nanos, 0, 0]),
                Matter::End { used, made } => ("end", [tokens, used.tokens, used.nanos, *made]),
                Matter::Back => ("back", [tokens, 0, 0, 0]),
                Matter::Hold => ("hold", [0; 4]),
            };
            ask.arg(what).arg(&*call.id);
            for number in numbers {
                ask.arg(number);
            }
        }
        let answer = ask.invoke_async::<Vec<i64>>(&mut self.limits.connection()).await;
        answer.ok().filter(|answer| answer.len() == HEAD + EACH * items.len())
    }

    /// Takes what Redis said, in the order in which it was asked.
    fn take(self: &Rc<Self>, items: Vec<Item>, answer: &[i64]) {
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let (head, each) = answer.split_at(HEAD);
        let made = count(head[5]);
        let word = Word {
            requests: count(head[0]),
            tokens: count(head[1]),
            spent: count(head[2]),
            reserved: count(head[3]),
            at_once: count(head[4]),
        };
        let mut leased = Leased::default();
        for (item, said) in items.iter().zip(each.chunks(EACH)) {
            let of = item.call.leased();
            let sign = match item.matter {
                Matter::Ask(_) | Matter::Take => i64::from(said[0] == 0 && item.call.holds(made)),
                Matter::End { .. } | Matter::Back => -1,
                Matter::Hold => 0,
            };
            leased.calls += sign;
            leased.nanos += sign * of.nanos;
        }
        if let Some(item) = items.first() {
            item.call.own.hear(word, leased, Now { moment: self.clock.now(), wall: self.clock.wall() });
        }
        for (item, said) in items.into_iter().zip(each.chunks(EACH)) {
            if let Matter::Ask(tell) = item.matter {
                // Whoever asked may be gone, or has decided alone.
                drop(tell.send(read(said, (count(said[2]), count(said[3])))));
            }
            item.call.answered(self);
        }
    }

    /// Nobody knows whether Redis has heard it: rather too much is told once more than not at all.
    fn unheard(self: &Rc<Self>, item: Item) {
        let Leased { calls, nanos } = item.call.leased();
        match item.matter {
            Matter::End { used, .. } => {
                item.call.own.untold(Untold { nanos: used.nanos, ..Untold::default() }, Leased { calls: -calls, nanos: -nanos });
            }
            Matter::Back => item.call.own.untold(Untold::default(), Leased { calls: -calls, nanos: -nanos }),
            Matter::Ask(_) | Matter::Take | Matter::Hold => {}
        }
        item.call.answered(self);
    }
}

fn read(said: &[i64], left: (u64, u64)) -> Said {
    let kind = match said[0] {
        0 => return Said::In { left },
        1 => Kind::Requests,
        2 => Kind::Tokens,
        3 => Kind::Concurrency,
        4 => Kind::Budget(Broke::Spent),
        _ => Kind::Budget(Broke::Reserved),
    };
    let wait = (said[0] != 4).then(|| Duration::from_micros(u64::try_from(said[1]).unwrap_or(0)));
    Said::Refused(Refusal { kind, wait })
}
