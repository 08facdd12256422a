//! Takes connections, as many as there may be.
//!
//! Past the bound a client is told so in Redis' words and sent away. A peer that
//! vanished without a word is found by TCP keepalive; one that is merely
//! stopped answers that and stays.

use std::{io, net::SocketAddr, rc::Rc, time::Duration};

use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    time::{sleep, timeout},
};

use super::{
    shared::{Phase, Shared},
    socket::Socket,
    tls::Certificates,
};

/// How long a client may take for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a handshake may go on when connections are to stand still.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);
/// How long nothing is accepted after it failed, as for want of descriptors.
const AFTER_A_FAILURE: Duration = Duration::from_millis(100);

/// After so long without a word a peer is asked whether it lives, and is gone
/// when it has not answered three times.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_EACH: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMES: u32 = 3;

/// Accepts for ever.
pub(super) async fn accept(
    listener: &TcpListener,
    certificates: Option<&Rc<Certificates>>,
    shared: &Rc<Shared>,
) -> std::convert::Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(stream, peer, certificates, shared),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(AFTER_A_FAILURE).await;
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    certificates: Option<&Rc<Certificates>>,
    shared: &Rc<Shared>,
) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(client.address = %peer, %error, "a connection is gone already");
        return;
    }
    let Some(place) = shared.place() else {
        shared.metrics.connection_refused();
        if certificates.is_none() {
            // The buffer of a new socket is empty: this fits or the peer is gone.
            let _told = stream.try_write(b"-ERR max number of clients reached\r\n");
        }
        return;
    };
    let Some(certificates) = certificates else {
        shared.serve_new(Socket::Plain(stream), peer, place);
        return;
    };
    let acceptor = certificates.acceptor();
    let shared = shared.clone();
    let tasks = shared.tasks.clone();
    tasks.spawn_local(async move {
        let handshake = timeout(HANDSHAKE, acceptor.accept(stream));
        let overdue = async {
            shared.phase_is_not(Phase::Serving).await;
            sleep(LAST_HANDSHAKE).await;
        };
        let accepted = select! {
            accepted = handshake => accepted,
            () = overdue => return,
        };
        let error = match accepted {
            Ok(Ok(stream)) => {
                shared.serve_new(Socket::Tls(Box::new(stream)), peer, place);
                return;
            }
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        shared.metrics.handshake_failed();
        if let Some(kept_back) = shared
            .handshakes
            .borrow_mut()
            .allows(std::time::Instant::now())
        {
            tracing::warn!(
                client.address = %peer,
                %error,
                kept_back,
                "a TLS handshake failed"
            );
        }
    });
}

/// Sets what a connection needs of TCP.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EACH)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TIMES)?;
    Ok(())
}
