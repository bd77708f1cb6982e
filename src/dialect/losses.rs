//! What of a request is lost on its way into another dialect: what is harmless is dropped by name, and what would change the answer
//! makes its target unfit.

use bytes::Bytes;

use super::chat::Other;
use super::seam::{Unfit, Written};

/// See the module's text.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Losses {
    dropped: Vec<String>,
    unfit: Option<Unfit>,
}

impl Losses {
    /// Those of what a request says that the neutral shape doesn't have.
    pub(in crate::dialect) fn of(others: &[Other<'_>]) -> Self {
        let mut losses = Self::default();
        for other in others {
            if other.harmless { losses.drop(&other.name) } else { losses.unfit(format!("`{}`", other.name)) }
        }
        losses
    }

    /// Something harmless; told once.
    pub(in crate::dialect) fn drop(&mut self, name: &str) {
        if self.dropped.iter().all(|known| known != name) {
            self.dropped.push(name.to_owned());
        }
    }

    /// Something that changes the answer; the first is told.
    pub(in crate::dialect) fn unfit(&mut self, what: impl Into<String>) {
        self.unfit.get_or_insert(Unfit::new(what));
    }

    /// The request that was written.
    ///
    /// # Errors
    /// Where something was lost that changes the answer.
    pub(in crate::dialect) fn written(self, body: Bytes) -> Result<Written, Unfit> {
        match self.unfit {
            Some(unfit) => Err(unfit),
            None => Ok(Written { body, dropped: self.dropped }),
        }
    }
}
