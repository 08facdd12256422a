//! Small HTTP calls to the supervisor and to admin listeners, each bounded in
//! time and size.

use std::time::Duration;

use bytes::Bytes;
use discovery_client::Address;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Longest call.
const DEADLINE: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const LIMIT: usize = 4 << 20;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
#[error("{address} does not answer: {reason}")]
pub struct Unreachable {
    address: Address,
    reason: String,
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// [`Unreachable`], whatever the cause; the status is the caller's to judge.
pub async fn ask(
    address: &Address,
    method: Method,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<(StatusCode, Bytes), Unreachable> {
    let failed = |reason: String| Unreachable {
        address: address.clone(),
        reason,
    };
    let call = async {
        let stream = TcpStream::connect(address.authority())
            .await
            .map_err(|error| error.to_string())?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let body: Full<Bytes> = body
            .map(|body| Full::from(body.to_string()))
            .unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, address.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LIMIT).collect().await;
            Ok((status, body.map_err(|error| error.to_string())?.to_bytes()))
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            ended = &mut connection => match ended {
                // The answer may have come with the end of the connection.
                Ok(()) => exchange.await,
                Err(error) => Err(error.to_string()),
            },
        }
    };
    match timeout(DEADLINE, call).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(failed(format!("nothing within {DEADLINE:?}"))),
    }
}
