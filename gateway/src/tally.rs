//! Counts what happens, a set of counters a core, added up when scraped.
//!
//! A counter has one writer, its core, so counting is a load and a store; no
//! lock and no shared cache line stands in a request's way. The scrape reads
//! all cores' counters and may be a request behind.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use discovery_client::Application;
use federation::plan::Reason;
use parking_lot::Mutex;

use crate::cause::Cause;

/// Upper bounds of the duration histograms, in seconds.
pub(crate) const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0,
    600.0,
];

/// Upper bounds of the overhead histogram, in seconds.
pub(crate) const OVERHEAD_SECONDS: [f64; 12] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_2, 0.000_4, 0.000_8, 0.001_6, 0.005, 0.01, 0.05, 0.25, 1.0,
];

/// Statuses that are counted apart; the last stands for all others.
pub(crate) const STATUSES: [u16; 24] = [
    200, 201, 202, 204, 206, 301, 302, 304, 400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 431,
    499, 500, 502, 503, 504,
];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// A replica's answer went out whole.
    Answered,
    /// The gateway answered itself: a refusal, or a list of models.
    Own,
    /// The answer broke after its head had gone out.
    Broken,
    /// The client went away first.
    ClientGone,
}

impl Outcome {
    /// Every outcome.
    pub(crate) const ALL: [Self; 4] = [Self::Answered, Self::Own, Self::Broken, Self::ClientGone];

    /// The label.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Own => "own",
            Self::Broken => "broken",
            Self::ClientGone => "client_gone",
        }
    }
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// Adds `n`. Only the owning core may.
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// The number so far.
    #[must_use]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations over fixed bounds; the last bucket has no bound.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    /// One a bound, and `over` beyond the last.
    buckets: [Count; N],
    over: Count,
    sum_us: Count,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| Count::default()),
            over: Count::default(),
            sum_us: Count::default(),
        }
    }

    /// Counts one. Only the owning core may.
    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let nth = self.bounds.partition_point(|bound| *bound < seconds);
        self.buckets.get(nth).unwrap_or(&self.over).add(1);
        self.sum_us
            .add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Count a bucket, the unbounded one last, and the sum in seconds.
    #[must_use]
    pub(crate) fn read(&self) -> (Vec<u64>, f64) {
        let buckets = self
            .buckets
            .iter()
            .chain([&self.over])
            .map(Count::get)
            .collect();
        (buckets, self.sum_us.get() as f64 / 1e6)
    }
}

/// One core's counters for one application.
#[derive(Debug)]
pub(crate) struct Series {
    /// Requests by [`Outcome::ALL`] and by [`STATUSES`] and one for the others.
    pub requests: [[Count; STATUSES.len() + 1]; Outcome::ALL.len()],
    /// Choices by [`Reason::ALL`].
    pub reasons: [Count; Reason::ALL.len()],
    /// Attempts by [`Cause::LABELS`].
    pub attempts: [Count; Cause::LABELS.len()],
    /// From arrival to the end of the answer.
    pub duration: Histogram<{ SECONDS.len() }>,
    /// From arrival to the first byte of the answer.
    pub first_byte: Histogram<{ SECONDS.len() }>,
    /// The gateway's own share.
    pub overhead: Histogram<{ OVERHEAD_SECONDS.len() }>,
    /// Body bytes from callers.
    pub bytes_in: Count,
    /// Body bytes to callers.
    pub bytes_out: Count,
    /// Pieces of streamed answers.
    pub chunks: Count,
    /// Events that no client could have read.
    pub skipped: Count,
    /// Retries that the budget did not allow.
    pub over_budget: Count,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            reasons: Default::default(),
            attempts: Default::default(),
            duration: Histogram::new(&SECONDS),
            first_byte: Histogram::new(&SECONDS),
            overhead: Histogram::new(&OVERHEAD_SECONDS),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            chunks: Count::default(),
            skipped: Count::default(),
            over_budget: Count::default(),
        }
    }
}

impl Series {
    /// Counts a request that ended with `status` (0: none).
    pub(crate) fn request(&self, outcome: Outcome, status: u16) {
        let nth = STATUSES.binary_search(&status).unwrap_or(STATUSES.len());
        self.requests[outcome as usize][nth].add(1);
    }

    /// Counts a choice.
    pub(crate) fn reason(&self, reason: Reason) {
        self.reasons[reason as usize].add(1);
    }

    /// Counts an attempt.
    pub(crate) fn attempt(&self, label: &str) {
        if let Some(nth) = Cause::LABELS.iter().position(|known| *known == label) {
            self.attempts[nth].add(1);
        }
    }
}

/// A series and the application it counts; none for requests that never had
/// one.
type Named = (Option<Application>, Arc<Series>);

/// All cores' series, for the scrape.
#[derive(Clone, Default)]
pub(crate) struct Tallies(Arc<Mutex<Vec<Named>>>);

impl fmt::Debug for Tallies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tallies")
            .field("series", &self.0.lock().len())
            .finish()
    }
}

impl Tallies {
    /// Every series with its application; none for requests that never had
    /// one.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<Named> {
        self.0.lock().clone()
    }
}

/// Most applications counted apart by one core; further ones share the series
/// of requests without one.
const MAX_SERIES: usize = 5000;

/// One core's counters.
#[derive(Debug)]
pub(crate) struct Tally {
    tallies: Tallies,
    none: Arc<Series>,
    by_application: RefCell<HashMap<Application, Arc<Series>, foldhash::fast::RandomState>>,
    /// Requests under way on this core.
    pub in_flight: Arc<AtomicU64>,
}

impl Tally {
    /// A core's counters, made known to `tallies`.
    #[must_use]
    pub(crate) fn new(tallies: &Tallies, in_flight: Arc<AtomicU64>) -> Rc<Self> {
        let none = Arc::new(Series::default());
        tallies.0.lock().push((None, Arc::clone(&none)));
        Rc::new(Self {
            tallies: tallies.clone(),
            none,
            by_application: RefCell::default(),
            in_flight,
        })
    }

    /// The series of an application that somebody serves.
    #[must_use]
    pub(crate) fn of(&self, application: Option<&Application>) -> Arc<Series> {
        let Some(application) = application else {
            return Arc::clone(&self.none);
        };
        let mut known = self.by_application.borrow_mut();
        if let Some(series) = known.get(application) {
            return Arc::clone(series);
        }
        if known.len() >= MAX_SERIES {
            return Arc::clone(&self.none);
        }
        let series = Arc::new(Series::default());
        self.tallies
            .0
            .lock()
            .push((Some(application.clone()), Arc::clone(&series)));
        known.insert(application.clone(), Arc::clone(&series));
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_bucket() {
        let histogram = Histogram::new(&SECONDS);
        for ms in [1, 2, 1_000_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let (buckets, sum) = histogram.read();
        assert_eq!((buckets[0], buckets[1], buckets[SECONDS.len()]), (1, 1, 1));
        assert!((sum - 1000.003).abs() < 1e-6);
    }

    #[test]
    fn the_lists_that_index_counters_are_in_order() {
        assert!(STATUSES.is_sorted());
        assert!(
            Outcome::ALL
                .iter()
                .enumerate()
                .all(|(nth, outcome)| *outcome as usize == nth)
        );
        assert!(
            Reason::ALL
                .iter()
                .enumerate()
                .all(|(nth, reason)| *reason as usize == nth)
        );
    }

    #[test]
    fn cores_are_added_up_and_names_are_bounded() {
        let tallies = Tallies::default();
        let core = Tally::new(&tallies, Arc::default());
        for nth in 0..MAX_SERIES + 10 {
            let application = Application::new(format!("a{nth}")).unwrap();
            core.of(Some(&application)).bytes_in.add(1);
        }
        assert_eq!(tallies.all().len(), MAX_SERIES + 1);
        assert_eq!(core.of(None).bytes_in.get(), 10);
    }
}
