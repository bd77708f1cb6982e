//! How many gateways there are: those that were heard lately, or as many as Redis says are listening, whichever is more. Rather one
//! too many than too few: each one's share of what all may use is the smaller for it. Pure: `now` is an argument.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::Moment;

/// Who hasn't been heard for so long is gone: each says something every few seconds.
const GONE: Duration = Duration::from_secs(16);
/// Nobody has more; a name is kept for each.
const MOST: usize = 1_024;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Peers {
    heard: HashMap<String, Moment>,
    listeners: u64,
}

impl Peers {
    /// Another one was heard. How many there are, this one among them.
    pub(super) fn hear(&mut self, name: &str, now: Moment) -> i64 {
        if let Some(at) = self.heard.get_mut(name) {
            *at = now;
        } else if self.heard.len() < MOST {
            self.heard.insert(name.to_owned(), now);
        }
        self.count(now)
    }

    /// So many listen, this one among them, on this node of Redis.
    pub(super) fn listen(&mut self, listeners: u64, now: Moment) -> i64 {
        self.listeners = listeners;
        self.count(now)
    }

    fn count(&mut self, now: Moment) -> i64 {
        self.heard.retain(|_, at| now.since(*at) <= GONE);
        let heard = self.heard.len() as u64 + 1;
        i64::try_from(heard.max(self.listeners)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_heard_lately_or_listens_counts() {
        let at = |second: u64| Moment::from_micros(second * 1_000_000);
        let mut peers = Peers::default();
        assert_eq!((peers.listen(1, at(0)), peers.hear("b", at(1)), peers.hear("c", at(2)), peers.hear("b", at(12))), (1, 2, 3, 3));
        assert_eq!((peers.listen(4, at(13)), peers.listen(1, at(19)), peers.listen(1, at(29))), (4, 2, 1));
        let many = (0..5_000).map(|number| peers.hear(&number.to_string(), at(30))).last();
        assert_eq!(many, Some(1_025));
    }
}
