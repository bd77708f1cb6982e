//! A resolver that says what the test says.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use stagedoor::app::Parts;
use stagedoor::proxy::Names;

/// Says what a function says.
pub struct Scripted<F>(F);

impl<F: Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync> Names for Scripted<F> {
    fn resolve(&self, host: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        (self.0)(host)
    }
}

/// A gateway's parts with that resolver.
pub fn names(resolve: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Parts {
    Parts { names: Arc::new(Scripted(resolve)), ..Parts::default() }
}

/// Holds threads until it is opened or dropped.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn wait(&self) {
        let (open, changed) = &*self.0;
        drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
    }

    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Opens it when dropped, so that a test that fails ends, too.
    pub fn opener(&self) -> Opener {
        Opener(self.clone())
    }
}

/// Opens a gate when dropped.
pub struct Opener(Gate);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}
