//! An object's members one by one, for whatever reads JSON by a [`Walk`] and takes what it looks for on the way.

use super::walk::{Fault, Walk};

/// Reads by a walk of its own.
pub(crate) trait Members<'a>: Sized {
    /// The walk.
    fn walk(&mut self) -> &mut Walk<'a>;

    /// Hands over each member of the object that the walk stands on, by its name and by where that begins; `member` passes the
    /// value. Any other value is passed whole.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &[u8], usize) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.walk().peek() != Some(b'{') {
            return self.walk().skip().map(|_| ());
        }
        let mut more = self.walk().enter()?;
        while more {
            let key = self.walk().key()?;
            let name = self.walk().name(key);
            member(self, &name, key.span().start)?;
            more = self.walk().more()?;
        }
        Ok(())
    }
}
