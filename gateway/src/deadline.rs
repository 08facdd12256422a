//! Bounds everything below it in time.
//!
//! Stands above `Route`, so that attempts and waits between them count against
//! one whole. The limits are the application's, or the gateway's; a caller may
//! ask for others in headers, up to the cap.

use std::{
    collections::HashMap,
    future::{Ready, ready},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use discovery_client::Application;
use futures_util::future::Either;
use http::{HeaderMap, HeaderName};
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    call::{Call, Refusal, Reply},
    config::{Config, Limits},
};

/// The whole time, in milliseconds.
pub(crate) const TIMEOUT: HeaderName = HeaderName::from_static("x-tw-timeout-ms");
/// The time to the first event of a stream, in milliseconds.
pub(crate) const TTFT_TIMEOUT: HeaderName = HeaderName::from_static("x-tw-ttft-timeout-ms");

/// Every application's limits.
#[derive(Debug)]
pub(crate) struct LimitBook {
    default: Limits,
    own: HashMap<Application, Limits>,
    cap: Duration,
}

impl From<&Config> for LimitBook {
    fn from(config: &Config) -> Self {
        let own = config
            .applications
            .iter()
            .map(|app| (app.name.clone(), app.limits.over(config.limits)));
        Self {
            default: config.limits,
            own: own.collect(),
            cap: config.limit_cap,
        }
    }
}

impl LimitBook {
    /// The limits of a call to `application` with `headers`, and whether the
    /// caller is in more of a hurry than the operator.
    ///
    /// # Errors
    /// [`Refusal::Header`] if a header is not a number of milliseconds.
    pub(crate) fn of(
        &self,
        application: &Application,
        headers: &HeaderMap,
    ) -> Result<(Limits, bool), Refusal> {
        let mut hurried = false;
        let mut limits = if self.own.is_empty() {
            self.default
        } else {
            *self.own.get(application).unwrap_or(&self.default)
        };
        if let Some(asked) = milliseconds(headers, &TIMEOUT)? {
            limits.total = asked.min(self.cap);
        }
        if let Some(asked) = milliseconds(headers, &TTFT_TIMEOUT)? {
            hurried = asked < limits.first_token.min(limits.first_byte);
            limits.first_token = asked.min(self.cap);
            limits.first_byte = limits.first_byte.min(limits.first_token);
        }
        Ok((limits, hurried))
    }
}

fn milliseconds(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Duration>, Refusal> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let parsed = value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|ms| *ms > 0);
    parsed
        .map(|ms| Some(Duration::from_millis(ms)))
        .ok_or_else(|| Refusal::Header {
            name: if *name == TIMEOUT {
                "x-tw-timeout-ms"
            } else {
                "x-tw-ttft-timeout-ms"
            },
            value: String::from_utf8_lossy(value.as_bytes())
                .chars()
                .take(100)
                .collect(),
            allowed: "a whole number of milliseconds, 1 or more",
        })
}

/// The layer. See the module.
#[derive(Debug, Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
    book: Rc<LimitBook>,
}

impl<S> Deadline<S> {
    /// Applies the limits of `book`.
    pub(crate) fn layer(book: Rc<LimitBook>) -> impl Layer<S, Service = Self> + Clone {
        layer_fn(move |inner| Self {
            inner,
            book: Rc::clone(&book),
        })
    }
}

impl<S> Service<Call> for Deadline<S>
where
    S: Service<Call, Response = Reply, Error = Refusal>,
{
    type Response = Reply;
    type Error = Refusal;
    type Future = Either<S::Future, Ready<Result<Reply, Refusal>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        match self.book.of(&call.application, &call.headers) {
            Ok((limits, hurried)) => {
                call.limits = limits;
                call.hurried = hurried;
                Either::Left(self.inner.call(call))
            }
            Err(refusal) => Either::Right(ready(Err(refusal))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApplicationConfig, OwnLimits};

    #[test]
    fn the_callers_wish_counts_up_to_the_cap() {
        let chat = Application::new("chat").unwrap();
        let slow = OwnLimits {
            total: Some(Duration::from_secs(900)),
            ..OwnLimits::default()
        };
        let own = ApplicationConfig {
            name: chat.clone(),
            route: None,
            limits: slow,
            repeatable: false,
        };
        let config = Config {
            applications: vec![own],
            limit_cap: Duration::from_secs(1000),
            ..Config::default()
        };
        let book = LimitBook::from(&config);
        let with = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            book.of(&chat, &headers)
        };
        let other = Application::new("other").unwrap();
        assert_eq!(
            book.of(&chat, &HeaderMap::new()).unwrap().0.total,
            Duration::from_secs(900)
        );
        assert_eq!(
            book.of(&other, &HeaderMap::new()).unwrap().0.total,
            Limits::default().total
        );
        assert_eq!(
            with(TIMEOUT, "250").unwrap().0.total,
            Duration::from_millis(250)
        );
        assert_eq!(
            with(TIMEOUT, "99999999999").unwrap().0.total,
            Duration::from_secs(1000)
        );
        assert_eq!(
            with(TTFT_TIMEOUT, "70").unwrap().0.first_token,
            Duration::from_millis(70)
        );
        for wrong in ["0", "-1", "1.5", "soon", ""] {
            assert!(matches!(
                with(TIMEOUT, wrong),
                Err(Refusal::Header {
                    name: "x-tw-timeout-ms",
                    ..
                })
            ));
        }
    }
}
