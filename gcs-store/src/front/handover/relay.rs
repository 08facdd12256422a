//! Carries the bytes of a TLS connection to the process that serves it now.

use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::UnixStream,
};

use crate::front::socket::Socket;

/// Copies both ways until both ends have ended.
pub(super) async fn relay(mut client: Socket, mut successor: UnixStream) {
    // What TLS holds of earlier answers goes first.
    let copied = async {
        client.flush().await?;
        copy_bidirectional(&mut client, &mut successor).await
    };
    if let Err(error) = copied.await {
        tracing::debug!(%error, "a relayed connection broke");
    }
}
