//! A site is lost while a client that knows both gateways goes on asking.
//!
//! 200 unary requests a second and 20 streams, through the SDK; every process
//! of one site is killed, or stopped, at once, and comes back some seconds
//! later. The load, the history and the checker are this crate's own.

use std::time::Duration;

use anyhow::{Result, ensure};
use chaos::{
    dev::Dev,
    ledger::{self, Line, Promise, Sums},
    load::{Load, demo_chat},
};
use discovery_client::{
    Site,
    sdk::{Client, Config},
};

const RATE: u32 = 200;
const STREAMS: usize = 20;
/// A stream of a hundred tokens lasts two seconds.
const TOKENS: u32 = 100;
const BASELINE: Duration = Duration::from_secs(6);
const AWAY: Duration = Duration::from_secs(10);
const END: Duration = Duration::from_secs(26);
const DEADLINE: Duration = Duration::from_secs(20);

async fn lose_east(mode: &str) -> Result<Vec<Line>> {
    let folder = tempfile::tempdir()?;
    let dev = Dev::start(folder.path()).await?;
    let state = dev.state()?;
    let mut gateways = Vec::new();
    for site in ["east", "west"] {
        gateways.push((state.site(site)?.gateway.clone(), Some(Site::new(site)?)));
    }
    let client = Client::new(
        Config {
            timeout: DEADLINE,
            ..Config::default()
        },
        gateways,
    )?;
    let load = Load {
        rate: RATE,
        unary: |nth| demo_chat(nth, false, 16),
        streams: STREAMS,
        stream: |nth| demo_chat(nth, true, TOKENS),
    };
    let load = load.start(client);
    load.run_until(BASELINE).await;
    load.fault(|| Ok(())).await?;
    dev.take_away("east", mode, AWAY).await?;
    load.run_until(BASELINE + AWAY / 2).await;
    let away = dev.state()?;
    let back = ["running"; 3];
    let statuses = away
        .site("east")?
        .processes
        .iter()
        .map(|one| one.status.as_str());
    ensure!(!statuses.eq(back), "site east was not away: {away:?}");
    load.run_until(END).await;
    load.finish(DEADLINE).await
}

fn assert_promises_kept(mode: &str, history: &[Line]) {
    let verdict = ledger::check(history, Promise::default());
    println!("{mode}: {:?}", verdict.sums);
    assert_eq!(verdict.broken, Vec::<String>::new(), "{mode}");
    let Sums {
        sent,
        ok,
        retried,
        typed,
        silent,
        unaccounted,
    } = verdict.sums;
    assert_eq!(sent, ok + retried + typed + silent + unaccounted);
    assert!(
        sent > 5_000,
        "the load was not what it should be: {sent} requests"
    );
    assert!(
        retried + typed > 0,
        "the loss of a site went by unnoticed: was it one?"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_unary_request_fails_when_a_site_is_killed_or_stopped() -> Result<()> {
    for mode in ["kill", "stop"] {
        assert_promises_kept(mode, &lose_east(mode).await?);
    }
    Ok(())
}

#[test]
fn a_request_that_is_lost_on_the_way_turns_the_suite_red() {
    let at = |id, at_ms| Line::Intent {
        id,
        at_ms,
        shape: ledger::Shape::Unary,
    };
    let ok = |id, at_ms| Line::Outcome {
        id,
        at_ms,
        end: ledger::End::Ok { attempts: 1 },
    };
    let history = [at(0, 0), at(1, 5), ok(0, 7)];

    let verdict = ledger::check(&history, Promise::default());

    assert_eq!(verdict.sums.unaccounted, 1);
    assert_eq!(verdict.broken, ["request 1 has no outcome"]);
}
