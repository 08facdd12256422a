//! The suite through the wire, and what only the wire can do wrong.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use discovery::{Config, MemoryRegistry};
use discovery_client::{
    Cursor, Endpoint, Error, Event, Index, LeaseId, Registry, RemoteRegistry, Watch,
    wire::generated::{self as v1, discovery_client::DiscoveryClient, register_request::Step},
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use crate::{
    stage::{Frozen, LEASE, SECOND, Served, Way, advance, key, next, next_change, replica, soon},
    suite::suite,
};

suite!(Way::Wire);

fn memory() -> Arc<MemoryRegistry> {
    Arc::new(MemoryRegistry::new(&Config::default()))
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_leaves_the_record_to_its_lease() {
    let (_frozen, memory) = (Frozen::new(), memory());
    let served = Served::new(&Config::default(), memory.clone()).await;
    let owner = served.remote();
    soon(owner.register(replica("a", 0), LEASE)).await.unwrap();
    let mut watch = memory.watch(None);
    assert!(
        matches!(next(&mut watch).await, Event::Reset { endpoints, .. } if endpoints.len() == 1)
    );

    drop(owner);
    for _ in 0..2 {
        advance(SECOND).await;
        assert!(
            matches!(next(&mut watch).await, Event::Progress { .. }),
            "the record stays"
        );
    }
    advance(SECOND).await;
    assert!(
        matches!(next_change(&mut watch).await, Event::Delete { key: gone, .. } if gone == key("a"))
    );
}

#[tokio::test(start_paused = true)]
async fn subscribers_are_bounded() {
    let _frozen = Frozen::new();
    let config = Config {
        subscribers_max: NonZeroUsize::new(2).unwrap(),
        ..Config::default()
    };
    let served = Served::new(&config, memory()).await;
    let remote = served.remote();
    let (mut first, mut second) = (remote.watch(None), remote.watch(None));
    next(&mut first).await;
    next(&mut second).await;
    assert!(
        soon(remote.watch(None).next()).await.is_none(),
        "the third is turned away"
    );

    drop(first);
    // The place is free once the registry has seen the stream end.
    let mut third = None;
    while third.is_none() {
        third = soon(remote.watch(None).next()).await;
    }
    drop(second);
}

/// Takes every watch and says nothing.
struct Mute;

impl Registry for Mute {
    fn register(&self, _: Endpoint, _: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        std::future::pending().boxed()
    }
    fn renew(&self, _: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        std::future::pending().boxed()
    }
    fn update(&self, _: LeaseId, _: Endpoint) -> BoxFuture<'_, Result<(), Error>> {
        std::future::pending().boxed()
    }
    fn revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        std::future::pending().boxed()
    }
    fn watch(&self, _: Option<Cursor>) -> Watch {
        stream::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_mute_registry_is_a_cut_link() {
    let _frozen = Frozen::new();
    let served = Served::new(&Config::default(), Arc::new(Mute)).await;
    let remote = served.remote();
    let watching = tokio::spawn(async move { remote.watch(None).next().await });
    let remote = served.remote();
    let registering = tokio::spawn(async move { remote.register(replica("a", 0), LEASE).await });
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(!watching.is_finished() && !registering.is_finished());
    advance(RemoteRegistry::SILENCE + SECOND).await;
    assert_eq!(soon(watching).await.unwrap(), None);
    let registered = soon(registering).await.unwrap();
    assert!(
        matches!(registered, Err(Error::Unavailable { .. })),
        "{registered:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_site_of_any_size_arrives_whole() {
    let (_frozen, memory) = (Frozen::new(), memory());
    for n in 0..10_000 {
        memory
            .register(replica(&format!("replica-{n:0>100}"), 0), LEASE)
            .await
            .unwrap();
    }
    let served = Served::new(&Config::default(), memory.clone()).await;
    let [here, there] =
        [memory.watch(None), served.remote().watch(None)].map(|mut watch| async move {
            let mut index = Index::new();
            index.apply(next(&mut watch).await);
            index.snapshot()
        });
    let (here, there) = (here.await, there.await);
    assert_eq!((there.len(), there.at()), (10_000, here.at()));
    assert_eq!(there.content_hash(), here.content_hash());
}

#[tokio::test(start_paused = true)]
async fn an_absent_registry_is_unavailable() {
    let _frozen = Frozen::new();
    let served = Served::new(&Config::default(), memory()).await;
    let remote = served.remote();
    served.stop().await;
    let registered = soon(remote.register(replica("a", 0), LEASE)).await;
    assert!(
        matches!(registered, Err(Error::Unavailable { .. })),
        "{registered:?}"
    );
    assert!(soon(remote.watch(None).next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn stop_ends_every_stream() {
    let _frozen = Frozen::new();
    let served = Served::new(&Config::default(), memory()).await;
    let remote = served.remote();
    let mut watch = remote.watch(None);
    next(&mut watch).await;
    let lease = soon(remote.register(replica("a", 0), LEASE)).await.unwrap();

    served.stop().await;
    let last: Vec<_> = soon(watch.collect()).await;
    assert!(
        last.len() <= 1,
        "the record at most, then the end: {last:?}"
    );
    assert!(matches!(
        soon(remote.renew(lease)).await,
        Err(Error::Unavailable { .. })
    ));
    assert!(
        matches!(soon(remote.renew(lease)).await, Err(Error::LeaseLapsed)),
        "a lost lease stays lost"
    );
}

/// What a `Register` stream answers to `steps`, each sent after the last reply.
async fn replies(served: &Served, steps: Vec<Step>) -> Vec<Result<u64, String>> {
    let mut client = DiscoveryClient::connect(served.address.as_str().to_owned())
        .await
        .unwrap();
    let requests = stream::iter(steps).map(|step| v1::RegisterRequest { step: Some(step) });
    let replies = client.register(requests).await.unwrap().into_inner();
    let text = |refusal| Error::try_from(refusal).unwrap().to_string();
    replies
        .map(|reply| reply.unwrap())
        .map(|reply| reply.refusal.map_or(Ok(reply.ttl_ms), |r| Err(text(r))))
        .collect()
        .await
}

#[tokio::test(start_paused = true)]
async fn a_register_stream_answers_each_step_in_order() {
    let _frozen = Frozen::new();
    let served = Served::new(&Config::default(), memory()).await;
    let endpoint = v1::Endpoint::from(&replica("a", 0));
    let open = |endpoint: &v1::Endpoint| {
        Step::Open(v1::Open {
            endpoint: Some(endpoint.clone()),
            ttl_ms: 3000,
        })
    };
    let renew = || Step::Renew(v1::Renew {});

    let steps = vec![
        open(&endpoint),
        renew(),
        open(&endpoint),
        renew(),
        Step::Leave(v1::Leave {}),
        renew(),
    ];
    let refused = "the record was refused: the stream is open already".to_owned();
    let expected = vec![Ok(3000), Ok(3000), Err(refused), Ok(3000), Ok(0)];
    assert_eq!(
        soon(replies(&served, steps)).await,
        expected,
        "after `leave` the stream ends"
    );

    let nowhere = v1::Endpoint {
        address: "nowhere".to_owned(),
        ..endpoint
    };
    for (step, reason) in [
        (renew(), "the first message must be `open`"),
        (
            open(&nowhere),
            "`address` is not an address: \"nowhere\" is not an address: write http://host:port",
        ),
        (Step::Open(v1::Open::default()), "`endpoint` is missing"),
    ] {
        let refused = vec![Err(format!("the record was refused: {reason}"))];
        assert_eq!(
            soon(replies(&served, vec![step, renew()])).await,
            refused,
            "and ends when refused at once"
        );
    }
}
