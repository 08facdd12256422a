//! Heads: the request's written, the answer's read. Pure.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};

use super::{Fault, framing::Framing};

/// Longest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// Most header lines of an answer.
const MAX_HEADERS: usize = 128;

/// What a request's first lines are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    /// What to do.
    pub(crate) method: &'a Method,
    /// To what: path and query.
    pub(crate) path: &'a str,
    /// `host:port`.
    pub(crate) host: &'a HeaderValue,
    /// The caller's headers, hop-by-hop fields taken out.
    pub(crate) headers: &'a HeaderMap,
    /// Put in the place of the caller's headers of these names.
    pub(crate) added: &'a [(HeaderName, HeaderValue)],
    /// One more of them.
    pub(crate) context: Option<&'a (HeaderName, HeaderValue)>,
}

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Writes the head of a request.
pub(super) fn write(out: &mut BytesMut, target: Target<'_>, sending: Sending) {
    let lines = target
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    out.reserve(lines.sum::<usize>() + target.path.len() + 256);
    out.extend_from_slice(target.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(target.path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    line(out, &HOST, target.host);
    for (name, value) in target.headers {
        let ours = matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding"
        );
        let mut added = target.added.iter().chain(target.context);
        if !ours && !added.any(|(added, _)| added == name) {
            line(out, name, value);
        }
    }
    for (name, value) in target.added.iter().chain(target.context) {
        line(out, name, value);
    }
    match sending {
        // A request without a body says nothing of its length, unless its
        // method would lead one to expect a body.
        Sending::Length(0)
            if ![Method::POST, Method::PUT, Method::PATCH].contains(target.method) => {}
        Sending::Length(bytes) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(bytes).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Sending::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// The connection can be used again once the body was read.
    pub(super) keep_alive: bool,
}

/// Takes the final head out of `read`, if it is all there. Interim answers
/// (1xx) are passed over. `method` is that of the request.
///
/// # Errors
/// [`Fault::Garbage`].
pub(super) fn read(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, Fault> {
    loop {
        let Some(head) = read_one(read, method)? else {
            return Ok(None);
        };
        match head.status.as_u16() {
            // A switch of protocols was not asked for.
            101 => return Err(Fault::Garbage),
            100..=199 => {}
            _ => return Ok(Some(head)),
        }
    }
}

fn read_one(read: &mut BytesMut, method: &Method) -> Result<Option<Head>, Fault> {
    let mut lines = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, read, &mut lines);
    let length = match parsed.map_err(|_| Fault::Garbage)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial if read.len() >= MAX_HEAD => return Err(Fault::Garbage),
        httparse::Status::Partial => return Ok(None),
    };
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Fault::Garbage)?;
    let http11 = response.version == Some(1);
    // Where each value stands, so that it can be cut out of the head uncopied.
    let start = read.as_ptr() as usize;
    let spans: Vec<(HeaderName, std::ops::Range<usize>)> = response
        .headers
        .iter()
        .map(|line| {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Fault::Garbage)?;
            let at = line.value.as_ptr() as usize - start;
            Ok((name, at..at + line.value.len()))
        })
        .collect::<Result<_, Fault>>()?;
    let bytes = read.split_to(length).freeze();
    // A few more: the gateway adds headers of its own.
    let mut headers = HeaderMap::with_capacity(spans.len() + 8);
    for (name, span) in spans {
        let value = value(bytes.slice(span))?;
        headers.append(name, value);
    }
    let (framing, sure) = framing(status, &headers, method)?;
    if matches!(framing, Framing::Chunked(_) | Framing::UntilClose) {
        // Claimed beside what counts, it would cut the answer for the client
        // (RFC 9112, section 6.3).
        headers.remove(CONTENT_LENGTH);
    }
    let keep_alive = sure && keeps_alive(http11, &headers);
    Ok(Some(Head {
        status,
        headers,
        framing,
        keep_alive,
    }))
}

fn value(bytes: Bytes) -> Result<HeaderValue, Fault> {
    HeaderValue::from_maybe_shared(bytes).map_err(|_| Fault::Garbage)
}

/// How the body ends (RFC 9112, section 6.3), and whether there is no doubt.
fn framing(
    status: StatusCode,
    headers: &HeaderMap,
    method: &Method,
) -> Result<(Framing, bool), Fault> {
    let bodiless = *method == Method::HEAD || status.is_informational();
    if bodiless || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
        return Ok((Framing::Over, true));
    }
    let length = length(headers)?;
    if let Some(coding) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        let last = coding
            .as_bytes()
            .rsplit(|byte| *byte == b',')
            .next()
            .unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        let framing = if chunked {
            Framing::chunked()
        } else {
            Framing::UntilClose
        };
        return Ok((framing, chunked && length.is_none()));
    }
    match length {
        Some(bytes) => Ok((Framing::length(bytes), true)),
        None => Ok((Framing::UntilClose, false)),
    }
}

/// `Content-Length`, if there is one; several must agree.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let digits = value.as_bytes();
        let text = std::str::from_utf8(digits).map_err(|_| Fault::Garbage)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Fault::Garbage);
        }
        let bytes: u64 = text.parse().map_err(|_| Fault::Garbage)?;
        if length.replace(bytes).is_some_and(|other| other != bytes) {
            return Err(Fault::Garbage);
        }
    }
    Ok(length)
}

fn keeps_alive(http11: bool, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| {
        let values = headers.get_all(CONNECTION).iter();
        values
            .flat_map(|value| value.as_bytes().split(|b| *b == b','))
            .any(|w| w.trim_ascii().eq_ignore_ascii_case(word))
    };
    if http11 {
        !says(b"close")
    } else {
        says(b"keep-alive")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Head>, Fault> {
        read(&mut BytesMut::from(text), &Method::POST)
    }

    fn framed(text: &str) -> (Framing, bool) {
        let head = parse(text).unwrap().unwrap();
        (head.framing, head.keep_alive)
    }

    #[test]
    fn a_request_is_written_once_and_framed_once() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "old"),
            ("content-length", "99"),
            ("traceparent", "old"),
            ("x-a", "1"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let traceparent = HeaderName::from_static("traceparent");
        let target = Target {
            method: &Method::POST,
            path: "/v1/x?y=1",
            host: &HeaderValue::from_static("h:1"),
            headers: &headers,
            added: &[(
                HeaderName::from_static("x-id"),
                HeaderValue::from_static("7"),
            )],
            context: Some(&(traceparent, HeaderValue::from_static("new"))),
        };
        let mut out = BytesMut::new();
        write(&mut out, target, Sending::Length(3));
        let text = "POST /v1/x?y=1 HTTP/1.1\r\nhost: h:1\r\nx-a: 1\r\nx-id: 7\r\ntraceparent: new\r\ncontent-length: 3\r\n\r\n";
        assert_eq!(out, text);
        out.clear();
        write(
            &mut out,
            Target {
                method: &Method::GET,
                headers: &HeaderMap::new(),
                added: &[],
                context: None,
                ..target
            },
            Sending::Length(0),
        );
        assert_eq!(out, "GET /v1/x?y=1 HTTP/1.1\r\nhost: h:1\r\n\r\n");
    }

    #[test]
    fn the_end_of_the_body_is_known_from_the_head() {
        let ok = |lines: &str| framed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        assert_eq!(ok("content-length: 5\r\n"), (Framing::Length(5), true));
        assert_eq!(
            ok("content-length: 5\r\ncontent-length: 5\r\n"),
            (Framing::Length(5), true)
        );
        assert_eq!(
            ok("Content-Length: 5\r\nConnection: Close\r\n"),
            (Framing::Length(5), false)
        );
        assert_eq!(
            ok("transfer-encoding: chunked\r\n"),
            (Framing::chunked(), true)
        );
        assert_eq!(
            ok("transfer-encoding: chunked\r\ncontent-length: 5\r\n"),
            (Framing::chunked(), false)
        );
        assert_eq!(
            ok("transfer-encoding: gzip\r\n"),
            (Framing::UntilClose, false)
        );
        assert_eq!(ok(""), (Framing::UntilClose, false));
        assert_eq!(
            framed("HTTP/1.1 204 No Content\r\n\r\n"),
            (Framing::Over, true)
        );
        assert_eq!(
            framed("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n"),
            (Framing::Length(1), false)
        );
        let head = read(
            &mut BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
            &Method::HEAD,
        );
        assert_eq!(head.unwrap().unwrap().framing, Framing::Over);
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let head = parse(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length: 0\r\nx: y\r\n\r\n",
        );
        let head = head.unwrap().unwrap();
        assert_eq!(
            (
                head.status.as_u16(),
                head.headers.get("x").unwrap().as_bytes()
            ),
            (201, &b"y"[..])
        );
        assert!(
            parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20")
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_is_not_http_is_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            &endless,
            &many,
        ] {
            assert_eq!(
                parse(text).unwrap_err(),
                Fault::Garbage,
                "{}",
                &text[..40.min(text.len())]
            );
        }
    }
}
