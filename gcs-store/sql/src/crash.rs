//! Places where a test may let the process die.
//!
//! `TRADEWIND_CRASH_AT=name:n` aborts a debug build when it passes the point
//! `name` for the `n`-th time (`name` alone: the first). Nothing is flushed and
//! nobody is told, as when power fails. Release builds hold none of this.

#[cfg(debug_assertions)]
use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

/// Passes the point `name`.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    {
        static WANTED: LazyLock<Option<(String, AtomicU64)>> =
            LazyLock::new(|| Some(parse(&std::env::var("TRADEWIND_CRASH_AT").ok()?)));
        if let Some((wanted, left)) = &*WANTED
            && wanted == name
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            eprintln!("crash point {name}: aborting as told by TRADEWIND_CRASH_AT");
            std::process::abort();
        }
    }
    #[cfg(not(debug_assertions))]
    let _unused = name;
}

#[cfg(debug_assertions)]
fn parse(wanted: &str) -> (String, AtomicU64) {
    let (name, nth) = match wanted.rsplit_once(':') {
        Some((name, nth)) => (name, nth.parse().unwrap_or(1)),
        None => (wanted, 1),
    };
    (name.to_owned(), AtomicU64::new(nth))
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_its_first_passing() {
        let nth = |wanted| {
            let (name, nth) = parse(wanted);
            (name, nth.into_inner())
        };
        assert_eq!(nth("fold"), ("fold".to_owned(), 1));
        assert_eq!(nth("fold:3"), ("fold".to_owned(), 3));
    }
}
