//! A request and how it may be treated.
//!
//! Headers that matter go through: `x-request-id` (made if absent, the same in
//! every attempt), `x-tw-timeout-ms` (what is left of it, in each attempt),
//! `idempotency-key` and all others as they are.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use tokio::time::Instant;

use super::Error;
use crate::Address;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIMEOUT: HeaderName = HeaderName::from_static("x-tw-timeout-ms");

/// A request to be sent to whichever gateway answers. Of its URI only path and
/// query count.
#[derive(Debug, Clone)]
pub struct Call {
    request: Request<Bytes>,
    timeout: Option<Duration>,
    pub(super) once: bool,
    pub(super) open_end: bool,
}

impl Call {
    /// A call that may be repeated, as inference may.
    #[must_use]
    pub fn new(request: Request<Bytes>) -> Self {
        Self {
            request,
            timeout: None,
            once: false,
            open_end: false,
        }
    }

    /// Never sends it a second time once the first may have been received.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Ends after `timeout`, attempts and waiting together. Default: the
    /// request's `x-tw-timeout-ms`, then the client's setting.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// For a stream that does not end with `data: [DONE]`: any proper end of
    /// the body is one of the stream.
    #[must_use]
    pub fn open_end(mut self) -> Self {
        self.open_end = true;
        self
    }
}

impl From<Request<Bytes>> for Call {
    fn from(request: Request<Bytes>) -> Self {
        Self::new(request)
    }
}

/// A call on its way: what each attempt is made from.
#[derive(Debug)]
pub(super) struct Prepared {
    request: Request<Bytes>,
    path: PathAndQuery,
    pub(super) request_id: Arc<str>,
    pub(super) within: Duration,
    pub(super) deadline: Instant,
    pub(super) once: bool,
    pub(super) open_end: bool,
}

impl Prepared {
    pub(super) fn new(call: Call, default_timeout: Duration) -> Result<Self, Error> {
        let Call {
            mut request,
            timeout,
            once,
            open_end,
        } = call;
        let asked = request
            .headers()
            .get(TIMEOUT)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let within = timeout
            .or(asked.map(Duration::from_millis))
            .unwrap_or(default_timeout);
        let path = request
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        if !path.as_str().starts_with('/') {
            return Err(Error::Request {
                reason: format!("{path:?} is no path"),
            });
        }
        let given = request
            .headers()
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .map(Arc::from);
        let request_id = given.unwrap_or_else(|| Arc::from(format!("{:032x}", fastrand::u128(..))));
        let value = HeaderValue::from_str(&request_id).map_err(|error| Error::Request {
            reason: format!("x-request-id: {error}"),
        })?;
        request.headers_mut().insert(REQUEST_ID, value);
        // Belong to a connection; HTTP/2 has no such thing.
        for name in [
            header::HOST,
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::UPGRADE,
        ] {
            request.headers_mut().remove(name);
        }
        Ok(Self {
            request,
            path,
            request_id,
            within,
            deadline: Instant::now() + within,
            once,
            open_end,
        })
    }

    /// What to send to `proxy` now.
    pub(super) fn attempt(&self, proxy: &Address) -> Result<Request<Full<Bytes>>, Error> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(proxy.authority())
            .path_and_query(self.path.clone())
            .build()
            .map_err(|error| Error::Request {
                reason: error.to_string(),
            })?;
        let mut request = Request::new(Full::new(self.request.body().clone()));
        *request.method_mut() = self.request.method().clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.request.headers().clone();
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        request
            .headers_mut()
            .insert(TIMEOUT, HeaderValue::from(left_ms));
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(call: Call) -> Prepared {
        Prepared::new(call, Duration::from_secs(60)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_of_the_deadline_goes_with_each_attempt() {
        let request = Request::post("/v1/embeddings?x=1")
            .header(TIMEOUT, "5000")
            .body(Bytes::new())
            .unwrap();
        let call = prepared(Call::new(request));
        let proxy = Address::new("127.0.0.1:80").unwrap();
        tokio::time::advance(Duration::from_millis(1200)).await;
        let attempt = call.attempt(&proxy).unwrap();
        assert_eq!(attempt.headers()[TIMEOUT], "3800");
        assert_eq!(attempt.uri(), "http://127.0.0.1:80/v1/embeddings?x=1");
    }

    #[tokio::test(start_paused = true)]
    async fn the_request_id_is_the_callers_or_one_for_all_attempts() {
        let request = Request::post("/x")
            .header(REQUEST_ID, "mine")
            .body(Bytes::new())
            .unwrap();
        assert_eq!(&*prepared(Call::new(request)).request_id, "mine");
        let call = prepared(Call::new(Request::post("/x").body(Bytes::new()).unwrap()));
        let proxy = Address::new("127.0.0.1:80").unwrap();
        let ids = [(); 2].map(|()| call.attempt(&proxy).unwrap().headers()[REQUEST_ID].clone());
        assert_eq!(ids[0], ids[1]);
        assert_eq!(ids[0].len(), 32);
    }
}
