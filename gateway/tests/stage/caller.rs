//! Clients that speak well-formed HTTP.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle};

use super::soon;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Http1,
    Http2,
}

pub(crate) const BOTH: [Wire; 2] = [Wire::Http1, Wire::Http2];

/// A request to be sent.
pub(crate) struct Ask {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Body,
}

impl Ask {
    pub(crate) fn new(method: Method, path: &str, body: impl Into<Bytes>) -> Self {
        Self {
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Full::new(body.into()).boxed_unsync(),
        }
    }

    /// `POST /v1/chat/completions`.
    pub(crate) fn post(body: impl Into<Bytes>) -> Self {
        Self::new(Method::POST, "/v1/chat/completions", body)
    }

    /// A chat with the model `chat`, answered whole.
    pub(crate) fn chat() -> Self {
        Self::post(
            json!({"model": "chat", "messages": [{"role": "user", "content": "Who are you?"}]})
                .to_string(),
        )
    }

    /// The same, answered as a stream.
    pub(crate) fn stream() -> Self {
        Self::post(json!({"model": "chat", "stream": true, "messages": []}).to_string())
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).unwrap();
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// With a body that is fed piece by piece, of `declared` bytes or chunked.
    pub(crate) fn fed(mut self, declared: Option<usize>) -> (Self, mpsc::Sender<Bytes>) {
        let (feed, pieces) = mpsc::channel(1);
        let next = async |mut pieces: mpsc::Receiver<Bytes>| {
            let piece = pieces.recv().await?;
            Some((Ok(Frame::data(piece)), pieces))
        };
        let stream = futures_util::stream::unfold(pieces, move |pieces| Box::pin(next(pieces)));
        self.body = StreamBody::new(stream).boxed_unsync();
        if let Some(bytes) = declared {
            self.headers.insert(CONTENT_LENGTH, bytes.into());
        }
        (self, feed)
    }
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A client and its connection. Dropped, it hangs up.
pub(crate) struct Caller {
    address: SocketAddr,
    sender: Sender,
    /// None if it is another caller's.
    connection: Option<JoinHandle<()>>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.abort();
        }
    }
}

impl Caller {
    pub(crate) async fn new(wire: Wire, address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(wire, stream).await
    }

    /// Over a connection that is there already.
    pub(crate) async fn over(wire: Wire, stream: TcpStream) -> Self {
        let address = stream.peer_addr().unwrap();
        let io = TokioIo::new(stream);
        // A connection that ends badly is seen by the request it carried.
        let (sender, connection) = match wire {
            Wire::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                let task = tokio::spawn(async move { drop(connection.await) });
                (Sender::Http1(sender), task)
            }
            Wire::Http2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.unwrap();
                let task = tokio::spawn(async move { drop(connection.await) });
                (Sender::Http2(sender), task)
            }
        };
        Self {
            address,
            sender,
            connection: Some(connection),
        }
    }

    /// Another one on the same HTTP/2 connection.
    pub(crate) fn beside(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else {
            panic!("an HTTP/1.1 connection carries one call at a time");
        };
        Self {
            address: self.address,
            sender: Sender::Http2(sender.clone()),
            connection: None,
        }
    }

    /// Sends `ask` and waits for the answer's head.
    pub(crate) async fn send(&mut self, ask: Ask) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::new(ask.body);
        *request.method_mut() = ask.method;
        *request.headers_mut() = ask.headers;
        let (path, address) = (ask.path, self.address);
        match &mut self.sender {
            Sender::Http1(sender) => {
                *request.uri_mut() = path.parse().unwrap();
                let host = address.to_string().parse().unwrap();
                request.headers_mut().insert("host", host);
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends `ask` and takes the whole answer.
    pub(crate) async fn ask(&mut self, ask: Ask) -> Answer {
        let response = soon("an answer's head", self.send(ask)).await.unwrap();
        Answer::of(response).await
    }

    /// The connection's end, by whoever.
    pub(crate) async fn ended(&mut self) {
        let connection = self.connection.as_mut().unwrap();
        soon("the connection's end", connection).await.unwrap();
    }
}

/// Asks over a connection of its own.
pub(crate) async fn ask(address: SocketAddr, ask: Ask) -> Answer {
    Caller::new(Wire::Http1, address).await.ask(ask).await
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// It broke on its way.
    pub(crate) cut: bool,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Self {
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut cut) = (Vec::new(), false);
        while let Some(frame) = soon("an answer's body", body.frame()).await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(_) => {
                    cut = true;
                    break;
                }
            }
        }
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: bytes.into(),
            cut,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and the code of a typed error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let error = &body["error"];
        assert!(
            error["message"].is_string() && error["type"].is_string(),
            "{body}"
        );
        (self.status, error["code"].as_str().unwrap().to_owned())
    }

    /// `x-tw-attempts` without the times: `site/id;cause` each.
    pub(crate) fn attempts(&self) -> Vec<String> {
        let list = self.header("x-tw-attempts").unwrap_or_default();
        let items = list.split(", ").filter(|item| !item.is_empty());
        items
            .map(|item| item.rsplit_once(';').unwrap().0.to_owned())
            .collect()
    }

    /// The data of each event.
    pub(crate) fn events(&self) -> Vec<String> {
        let whole = self.text().split_terminator("\n\n");
        whole
            .map(|event| event.strip_prefix("data: ").unwrap().to_owned())
            .collect()
    }
}

/// A stream, event by event as they arrive.
pub(crate) struct Events {
    body: Incoming,
    held: String,
}

impl Events {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        assert_eq!(response.status(), 200);
        Self {
            body: response.into_body(),
            held: String::new(),
        }
    }

    /// The data of the next event; none at the clean end.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.held.split_once("\n\n") {
                let data = event.strip_prefix("data: ").unwrap().to_owned();
                self.held = rest.to_owned();
                return Some(data);
            }
            let Some(frame) = soon("the next event", self.body.frame()).await else {
                assert_eq!(self.held, "", "the stream ends within an event");
                return None;
            };
            let data = frame.unwrap().into_data().unwrap();
            self.held.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The rest, to the clean end.
    pub(crate) async fn rest(mut self) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// The code of an in-band error.
pub(crate) fn in_band(event: &str) -> String {
    let event: Value = serde_json::from_str(event).unwrap();
    event["error"]["code"].as_str().unwrap().to_owned()
}
