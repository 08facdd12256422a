//! Large bodies on many connections at once, for the memory they take.

use std::{io, sync::Arc, time::Instant};

use tokio::task::JoinSet;

use super::{
    super::payload::{self, Knobs},
    Conductor, Load, Outcome,
    connection::Connection,
};

/// Connects all, then every connection sends one large body. The backend holds
/// the answers until it has all bodies, so the proxy has all of them in flight
/// at the same time. Ends when all are answered.
pub(super) async fn run(load: &Load, conductor: &mut impl Conductor) -> io::Result<Outcome> {
    let knobs = Knobs {
        bytes: load.bytes,
        hold: load.connections,
        ..Knobs::default()
    };
    let request: Arc<[u8]> = payload::request(&payload::request_body(false, knobs)).into();
    let answer: Arc<[u8]> = payload::answer_body().into();
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        connections.push(Connection::open(load.target).await?);
    }

    conductor.ready()?;
    let began = Instant::now();
    let mut asking = JoinSet::new();
    for mut connection in connections {
        let (request, answer) = (Arc::clone(&request), Arc::clone(&answer));
        asking.spawn(async move {
            let asked = connection.ask(&request, &answer).await;
            (asked, connection)
        });
    }
    let mut total = Outcome::default();
    // Connections stay open until all are answered: their memory counts.
    let mut open = Vec::with_capacity(load.connections);
    while let Some(joined) = asking.join_next().await {
        let (asked, connection) = joined.map_err(io::Error::other)?;
        match asked {
            Ok(()) => total.done += 1,
            Err(failure) => total.fail(&failure),
        }
        open.push(connection);
    }
    total.seconds = began.elapsed().as_secs_f64();
    conductor.mark()?;
    Ok(total)
}
