//! What concerns one connection only, and the mark of a hop between sites.

use discovery_client::Site;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, VIA},
};

/// In the `Via` of every request that a site's gateway sent to another.
const MARK: &str = "(tradewind)";

/// Asked of every header of every message: by text, which is one comparison of
/// lengths for most.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "expect"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Takes out what is meant for one connection (RFC 9110, section 7.6.1).
pub(crate) fn strip(headers: &mut HeaderMap) {
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .chain(named)
        .collect();
    for name in gone {
        headers.remove(name);
    }
}

/// The mark of site `here`.
#[must_use]
pub(crate) fn mark(here: &Site) -> HeaderValue {
    HeaderValue::try_from(format!("2.0 {here} {MARK}"))
        .unwrap_or_else(|_| HeaderValue::from_static(MARK))
}

/// Whether a site's gateway sent the request here; it must not leave again.
#[must_use]
pub(crate) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers
        .get_all(VIA)
        .iter()
        .any(|via| memchr::memmem::find(via.as_bytes(), MARK.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_in_connection_goes_too() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("content-length", "3"),
            ("x-other", "1"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-other"]);
    }

    #[test]
    fn the_mark_is_found_among_other_proxies() {
        let mut headers = HeaderMap::new();
        assert!(!is_forwarded(&headers));
        headers.append(VIA, HeaderValue::from_static("1.1 nginx"));
        assert!(!is_forwarded(&headers));
        headers.append(VIA, mark(&Site::new("east").unwrap()));
        assert!(is_forwarded(&headers));
    }
}
