//! Bodies on their way up: read as far as routing needs, passed on as they
//! come, at the replica's pace.

use bytes::Bytes;

use crate::stage::{
    Plan,
    caller::{Answer, Ask, BOTH, Caller},
    ms,
    replica::Replica,
    soon, until,
};

#[tokio::test(flavor = "local")]
async fn a_model_in_front_lets_the_body_flow_before_it_is_whole() {
    for wire in BOTH {
        let replica = Replica::eager("r1", async |mut turn| {
            turn.read_body().await.unwrap();
            turn.well().await;
        })
        .await;
        let stage = Plan::at("east").replica(&replica).start();
        let front = Bytes::from(format!(r#"{{"model":"chat","input":"{}"#, "x".repeat(5000)));
        let back = Bytes::from_static(br#"y"}"#);
        let (what, feed) = Ask::post("").fed(None);
        let mut caller = Caller::new(wire, stage.address).await;
        let feeding = async {
            feed.send(front.clone()).await.unwrap();
            // The replica has all of it before the client goes on.
            let seen = || {
                replica
                    .asked()
                    .first()
                    .is_some_and(|asked| asked.body == front)
            };
            until("the replica sees the front", seen).await;
            feed.send(back.clone()).await.unwrap();
            drop(feed);
        };
        let (response, ()) = tokio::join!(caller.send(what), feeding);
        assert_eq!(Answer::of(response.unwrap()).await.status, 200);
        assert!(replica.asked()[0].body == [front, back].concat());
        drop(caller);
        stage.end().await;
    }
}

#[tokio::test(flavor = "local")]
async fn a_long_upload_goes_at_the_replicas_pace() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 256;
    for declared in [true, false] {
        let replica = Replica::eager("r1", async |mut turn| {
            // Three times longer than a client may be silent: it is not the
            // client who is slow.
            tokio::time::sleep(ms(600)).await;
            turn.read_body().await.unwrap();
            turn.well().await;
        })
        .await;
        let plan = Plan::at("east").with(|config| {
            config.client_idle = ms(200);
            config.replay_memory = bytesize::ByteSize::mib(1);
        });
        let stage = plan.replica(&replica).start();
        let front = Bytes::from_static(br#"{"model":"chat","input":""#);
        let back = Bytes::from_static(br#""}"#);
        let bytes = front.len() + PIECE * PIECES + back.len();
        let (what, feed) = Ask::post("").fed(declared.then_some(bytes));
        let mut caller = Caller::new(BOTH[usize::from(declared)], stage.address).await;
        let feeding = async {
            feed.send(front).await.unwrap();
            for nth in 0..PIECES {
                let letter = b'a' + u8::try_from(nth % 26).unwrap();
                feed.send(Bytes::from(vec![letter; PIECE])).await.unwrap();
            }
            feed.send(back).await.unwrap();
            drop(feed);
        };
        let sent = async { tokio::join!(caller.send(what), feeding).0 };
        let response = soon("the upload", sent).await.unwrap();
        let answer = Answer::of(response).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let got = &replica.asked()[0].body;
        assert_eq!(got.len(), bytes);
        let right = |(nth, letter): (usize, &u8)| *letter == b'a' + (nth / PIECE % 26) as u8;
        assert!(got[25..bytes - 2].iter().enumerate().all(right));
        drop(caller);
        stage.end().await;
    }
}
