//! One plain HTTP request, for looking at admin pages and replicas.
//!
//! Load goes through `discovery_client::sdk`; this is for looks that must not
//! be retried, balanced or kept alive.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// How long a look may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends `request`, whose URI is absolute, on a connection of its own.
///
/// # Errors
/// If it cannot connect, is cut off, or takes more than ten seconds.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let uri = request.uri().clone();
    timeout(LIMIT, exchange(request))
        .await
        .with_context(|| format!("{uri}: no answer within {LIMIT:?}"))?
}

async fn exchange(request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let uri = request.uri();
    let authority = uri
        .authority()
        .context("the address names no host")?
        .to_string();
    let stream = TcpStream::connect(&authority)
        .await
        .with_context(|| format!("cannot connect to {authority}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(http::header::HOST, authority.parse()?);
    parts.uri = parts
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .parse()?;
    let answer = async {
        let (head, body) = sender
            .send_request(Request::from_parts(parts, body))
            .await?
            .into_parts();
        anyhow::Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}

/// The body of a GET that must be answered 200.
///
/// # Errors
/// As [`send`], or another status.
pub async fn get(url: &str) -> Result<Bytes> {
    let answer = send(Request::get(url).body(Full::default())?).await?;
    let body = answer.body();
    ensure!(
        answer.status() == StatusCode::OK,
        "{url}: {} {}",
        answer.status(),
        String::from_utf8_lossy(body)
    );
    Ok(answer.into_body())
}
