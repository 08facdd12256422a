//! How far a long copy has come.

use std::fmt;

/// Told now and then; cheap to call for every row.
pub struct Progress(Box<dyn Fn(u64, Option<u64>) + Send + Sync>);

impl Progress {
    /// Calls `tell` with rows done, and all rows if they are known.
    pub fn new(tell: impl Fn(u64, Option<u64>) + Send + Sync + 'static) -> Self {
        Self(Box::new(tell))
    }

    /// Tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_, _| {})
    }

    pub(crate) fn at(&self, done: u64, all: Option<u64>) {
        self.0(done, all);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress(..)")
    }
}
