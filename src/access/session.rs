//! Operators' sessions: what a browser's cookie stands for, so that the admin key itself is never kept by a browser. Known by
//! digest, bounded, each over after a fixed time, and all over as soon as the admin key is another.

use std::time::Duration;

use super::key::Digest;
use crate::base::{Moment, Secret};

/// Sessions at once; one more ends the oldest.
const MOST: usize = 128;

/// See the module's text. The oldest first.
#[derive(Debug, Default)]
pub struct Sessions(Vec<Session>);

#[derive(Debug)]
struct Session {
    id: Digest,
    /// Of the admin key that opened it.
    admin: Digest,
    until: Moment,
}

impl Sessions {
    /// How long a session lasts.
    pub const LASTS: Duration = Duration::from_secs(12 * 3_600);

    /// Begins the session of an id that nobody can guess.
    pub fn begin(&mut self, id: &Secret, admin_key: &Secret, now: Moment) {
        self.0.retain(|session| now < session.until);
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        let (id, admin) = (digest(id), digest(admin_key));
        self.0.push(Session { id, admin, until: now.plus(Self::LASTS) });
    }

    /// Until when the session of an id lasts; None: there is none.
    pub fn lasts(&self, id: &Secret, admin_key: &Secret, now: Moment) -> Option<Moment> {
        let (id, admin) = (digest(id), digest(admin_key));
        let session = self.0.iter().find(|session| session.id == id)?;
        (session.admin == admin && now < session.until).then_some(session.until)
    }

    /// Ends a session.
    pub fn end(&mut self, id: &Secret) {
        let id = digest(id);
        self.0.retain(|session| session.id != id);
    }
}

/// What a page sends along with everything that changes something: another page can't read it, and nobody can make it
/// without the session's id, of which it tells nothing.
pub fn session_token(id: &Secret) -> String {
    Digest::of(format!("stagedoor session token of {}", id.expose()).as_bytes()).to_hex()
}

fn digest(secret: &Secret) -> Digest {
    Digest::of(secret.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_session_lasts_its_time_and_only_under_its_admin_key() {
        let mut sessions = Sessions::default();
        let (id, other, key) = (Secret::new("a"), Secret::new("b"), Secret::new("key"));
        sessions.begin(&id, &key, at(0));
        let lasts = Sessions::LASTS.as_secs();
        assert_eq!(sessions.lasts(&id, &key, at(lasts - 1)), Some(at(lasts)));
        assert_eq!(sessions.lasts(&id, &key, at(lasts)), None);
        assert_eq!(sessions.lasts(&id, &other, at(1)), None);
        assert_eq!(sessions.lasts(&other, &key, at(1)), None);
        sessions.end(&id);
        assert_eq!(sessions.lasts(&id, &key, at(1)), None);
        assert_ne!(session_token(&id), session_token(&other));
        assert!(!session_token(&id).contains(&digest(&id).to_hex()));
    }

    #[test]
    fn they_are_bounded() {
        let mut sessions = Sessions::default();
        let key = Secret::new("key");
        let id = |number: usize| Secret::new(format!("id-{number}"));
        (0..MOST * 3).for_each(|number| sessions.begin(&id(number), &key, at(number as u64)));
        assert_eq!(sessions.0.len(), MOST);
        assert_eq!(sessions.lasts(&id(MOST), &key, at(1)), None, "the oldest end first");
        assert!(sessions.lasts(&id(MOST * 3 - 1), &key, at(1)).is_some());
        sessions.begin(&id(0), &key, at(10_000_000));
        assert_eq!(sessions.0.len(), 1, "what is over is forgotten");
    }
}
