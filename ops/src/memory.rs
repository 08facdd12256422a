//! Memory: who hands it out, and how it goes back to the system.
//!
//! mimalloc returns what was freed a second after, but only when somebody
//! allocates a page; a gateway that falls silent after a burst would keep the
//! burst's memory for good. So one task takes a block that is a page of its own
//! and frees it, once a second. The row "memory after the burst" of
//! `tradewind bench gateway` shows what comes of it.

use std::{hint::black_box, time::Duration};

use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVERY: Duration = Duration::from_secs(1);

/// Larger than any block that mimalloc keeps for the next taker, in bytes.
const BLOCK: usize = 4 << 20;

/// Lets freed memory go back until `stop` fires.
pub async fn give_back(stop: CancellationToken) {
    let giving = async {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            // Never written to: it costs an address range, not memory.
            drop(black_box(Vec::<u8>::with_capacity(BLOCK)));
        }
    };
    stop.run_until_cancelled(giving).await;
}
