//! Real Ray Serve behind two sites, and the loss of one of them.
//!
//! ```text
//!   client (SDK) --> gateway east --> Serve's proxy --> FastAPI replica
//!        \              | peers           Ray cluster east
//!         \-------> gateway west --> Serve's proxy --> FastAPI replica
//!                                         Ray cluster west
//! ```
//!
//! One test: two clusters are dear to start, and times are measured.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chaos::{
    ledger::{self, Line, Promise},
    load::Load,
    ray::Cluster,
    site::Site,
    venv::Venv,
};
use discovery_client::{
    Site as SiteName,
    sdk::{Call, Client, Config, Outcome},
};
use harness::wait;
use http::{Request, StatusCode};
use serde_json::{Value, json};

/// What two cores with two Ray clusters, two gateways and the load itself on
/// them can surely carry.
const RATE: u32 = 50;
const STREAMS: usize = 10;
const DEADLINE: Duration = Duration::from_secs(20);

fn client(sites: &[&Site], attempts: u32) -> Result<Client> {
    let proxy = |site: &&Site| Ok((site.gateway()?, Some(SiteName::new(site.name())?)));
    let proxies = sites.iter().map(proxy).collect::<Result<Vec<_>>>()?;
    let near = proxies.first().and_then(|(_, site)| site.clone());
    let config = Config {
        site: near,
        attempts,
        timeout: DEADLINE,
        ..Config::default()
    };
    Ok(Client::new(config, proxies)?)
}

fn get(path: &str) -> Call {
    Call::new(
        Request::get(path)
            .body(Default::default())
            .expect("a path of the test"),
    )
}

fn echo(nth: u64) -> Call {
    let body = format!("call {nth}");
    Call::new(
        Request::post("/demo/echo")
            .body(body.into())
            .expect("a path of the test"),
    )
}

/// GETs and POSTs in turn; the route is set repeatable, as inference is.
fn unary(nth: u64) -> Call {
    if nth.is_multiple_of(2) {
        get("/demo/where")
    } else {
        echo(nth)
    }
}

fn stream(_: u64) -> Call {
    get("/demo/count?to=100&every_ms=20")
}

/// The site that answered, by the application's word; the gateway's headers
/// must agree.
async fn answered_in(client: &Client) -> Result<String> {
    let answer = client.call(get("/demo/where")).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.status == StatusCode::OK, "{} {text}", answer.status);
    let body: Value = serde_json::from_str(&text)?;
    let site = body["site"]
        .as_str()
        .context("no site in the answer")?
        .to_owned();
    let Outcome {
        site: by_header,
        replica,
        ..
    } = answer.outcome;
    ensure!(
        by_header.as_deref() == Some(&site),
        "x-tw-site {by_header:?}, but {text}"
    );
    ensure!(
        replica == Some(format!("{site}/serve")),
        "x-tw-replica {replica:?}, but {text}"
    );
    Ok(site)
}

fn assert_promises_kept(what: &str, history: &[Line]) {
    let verdict = ledger::check(history, Promise::default());
    println!("{what}: {:?}", verdict.sums);
    assert_eq!(verdict.broken, Vec::<String>::new(), "{what}");
    assert!(
        verdict.sums.sent > 200,
        "{what}: hardly any load: {:?}",
        verdict.sums
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ray_clusters_serve_as_one_and_either_may_die() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let venv = Venv::find()?;
    let mut ray_east = cluster(&venv, "east", folder).await?;
    let ray_west = cluster(&venv, "west", folder).await?;

    let route = || json!({ "name": "demo", "route": "/demo", "repeatable": true });
    let mut east =
        Site::new("east")?
            .application(route())
            .replica("serve", &ray_east.address()?, &["demo"]);
    let mut west =
        Site::new("west")?
            .application(route())
            .replica("serve", &ray_west.address()?, &["demo"]);
    east = east.peer(&west);
    west = west.peer(&east);
    east.start(folder).await?;
    west.start(folder).await?;
    for site in [&east, &west] {
        passes_through(site)
            .await
            .with_context(|| format!("through gateway {}", site.name()))?;
    }

    // One attempt by the client: what the gateway does not absorb shows.
    let only_east = client(&[&east], 1)?;
    let load = Load {
        rate: RATE,
        unary,
        streams: 0,
        stream,
    }
    .start(only_east.clone());
    load.run_until(Duration::from_secs(4)).await;
    load.fault(|| ray_east.kill_proxy()).await?;
    answered_by(&only_east, "west", Duration::from_secs(5)).await?;
    ray_east.answers(Duration::from_secs(60)).await?;
    answered_by(&only_east, "east", Duration::from_secs(60)).await?;
    assert_promises_kept("Serve's proxy killed", &load.finish(DEADLINE).await?);

    let both = client(&[&east, &west], 4)?;
    let load = Load {
        rate: RATE,
        unary,
        streams: STREAMS,
        stream,
    }
    .start(both.clone());
    load.run_until(Duration::from_secs(5)).await;
    let killed = load
        .fault(|| {
            east.kill();
            Ok(ray_east.kill())
        })
        .await?;
    assert!(killed > 5, "a Ray cluster is more than {killed} processes");
    load.run_until(Duration::from_secs(15)).await;
    assert_promises_kept("cluster and gateway killed", &load.finish(DEADLINE).await?);
    assert_eq!(answered_in(&both).await?, "west");
    Ok(())
}

async fn cluster(venv: &Venv, site: &str, folder: &Path) -> Result<Cluster> {
    let began = Instant::now();
    let mut cluster = Cluster::start(venv, site, folder).await?;
    cluster.deploy(venv, folder).await?;
    println!("Ray cluster {site} serves after {:.1?}", began.elapsed());
    Ok(cluster)
}

async fn answered_by(client: &Client, site: &str, within: Duration) -> Result<()> {
    wait::until(&format!("an answer from site {site}"), within, async || {
        let found = answered_in(client).await?;
        ensure!(found == site, "answered in {found}");
        Ok(())
    })
    .await
}

async fn passes_through(site: &Site) -> Result<()> {
    let name = site.name();
    let client = client(&[site], 1)?;
    answered_by(&client, name, Duration::from_secs(5)).await?;

    let answer = client.call(echo(7)).await?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    assert_eq!(body, json!({ "site": name, "said": "call 7" }));

    let answer = client.call(get("/demo/no-such-page")).await?;
    assert_eq!(
        answer.status,
        StatusCode::NOT_FOUND,
        "FastAPI's own 404 comes through"
    );

    let mut events = client.stream(get("/demo/count?to=20&every_ms=50")).await?;
    let (mut numbers, mut arrivals) = (Vec::new(), Vec::new());
    while let Some(event) = events.next().await {
        let event = event?;
        if !event.is_done() {
            let data: Value =
                serde_json::from_slice(&event.data().context("an event without data")?)?;
            numbers.push(data["n"].as_u64().context("no number")?);
            arrivals.push(Instant::now());
        }
    }
    assert_eq!(numbers, (0..20).collect::<Vec<u64>>());
    let spread = arrivals[19] - arrivals[0];
    assert!(
        spread > Duration::from_millis(500),
        "the events came in one lump, within {spread:?}"
    );
    Ok(())
}
