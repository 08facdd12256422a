//! From a request to an answer: read, ask the stack, render.

use std::{rc::Rc, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bytes::Bytes;
use discovery_client::Application;
use federation::plan::Nowhere;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header::TRANSFER_ENCODING};
use hyper::body::Incoming;
use serde::Serialize;
use tower::{Service, ServiceExt};

use crate::{
    call::{Call, Refusal, Reply},
    config::Config,
    dialect::{Dialect, Routes, Way},
    fleet::Fleet,
    hop,
    record::{Record, Scribe},
    render,
    socket::Conduct,
    sweep::Sweep,
    tally::Outcome,
    upload::{Bounds, ReplayMemory, Upload},
};

/// The caller asks not to be sent to another site.
const NO_FALLBACK: HeaderName = HeaderName::from_static("x-tw-no-fallback");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What one core knows when a request arrives.
pub(crate) struct Entry {
    pub(crate) config: Arc<Config>,
    pub(crate) routes: Rc<Routes>,
    pub(crate) fleet: Arc<ArcSwap<Fleet>>,
    pub(crate) sweep: Rc<Sweep>,
    pub(crate) scribe: Rc<Scribe>,
    pub(crate) replay: ReplayMemory,
}

impl Entry {
    /// Answers `request`, which came over a connection of `conduct`.
    pub(crate) async fn answer<S>(
        &self,
        stack: S,
        conduct: &Rc<Conduct>,
        request: Request<Incoming>,
    ) -> Reply
    where
        S: Service<Call, Response = Reply, Error = Refusal>,
    {
        let answering = conduct.answering();
        let record = Record::begin(
            &self.scribe,
            request.method(),
            request.uri(),
            request.headers(),
        );
        let answered = match self.read(conduct, request, &record).await {
            Ok(Read::Call(call)) => {
                let body = call.body.clone();
                let answered = stack.oneshot(*call).await;
                record.uploaded(body.read());
                answered.map(|reply| (reply, Outcome::Answered))
            }
            Ok(Read::Own(reply)) => Ok((reply, Outcome::Own)),
            Err(refusal) => Err(refusal),
        };
        let (mut reply, outcome) = answered.unwrap_or_else(|refusal| {
            record.refused(render::code(&refusal));
            (render::refusal(&refusal), Outcome::Own)
        });
        record.answers(reply.status(), outcome, reply.body().is_flow());
        record.stamp(reply.headers_mut());
        reply.map(|body| body.held_by(record, answering))
    }

    /// Reads as much as routing needs.
    async fn read(
        &self,
        conduct: &Conduct,
        request: Request<Incoming>,
        record: &Rc<Record>,
    ) -> Result<Read, Refusal> {
        let (head, incoming) = request.into_parts();
        let mut headers = head.headers;
        if headers.contains_key(TRANSFER_ENCODING) && conduct.has_two_lengths() {
            return Err(Refusal::TwoLengths);
        }
        let way = self.routes.find(&head.method, head.uri.path())?;
        match way {
            Way::Models => return Ok(Read::Own(self.models())),
            Way::Model(name) => return self.model(name).map(Read::Own),
            Way::Infer(_) | Way::Pass { .. } => {}
        }
        let bounds = Bounds {
            bytes: self.config.body_limit.as_u64(),
            idle: self.config.client_idle,
        };
        let body = Upload::new(incoming, bounds, &self.replay)?;
        let (application, dialect, repeatable) = match way {
            Way::Infer(operation) => {
                let application = self.named(&body, record).await?;
                (application, Dialect::OpenAi(operation), true)
            }
            Way::Pass {
                application,
                repeatable,
            } => {
                let repeatable = repeatable || is_idempotent(&head.method);
                (application.clone(), Dialect::PassThrough, repeatable)
            }
            Way::Models | Way::Model(_) => unreachable!("answered above"),
        };
        let stay = hop::is_forwarded(&headers) || headers.contains_key(&NO_FALLBACK);
        hop::strip(&mut headers);
        let mut added = Vec::with_capacity(2);
        added.push((
            FORWARDED_FOR,
            forwarded_for(&headers, conduct.forwarded_for()),
        ));
        Ok(Read::Call(Box::new(Call {
            application,
            dialect,
            method: head.method,
            uri: head.uri,
            headers,
            added,
            body,
            stay,
            repeatable,
            limits: self.config.limits,
            hurried: false,
            alarm: self.sweep.alarm(),
            record: Rc::clone(record),
        })))
    }

    /// The application that the body names, as the registry knows it.
    async fn named(&self, body: &Upload, record: &Record) -> Result<Application, Refusal> {
        let mut waited = Duration::ZERO;
        let model = body.peek(&self.sweep, &mut waited).await;
        record.waited(waited);
        record.uploaded(body.read());
        let model = model?.ok_or(Refusal::NoModel)?;
        if let Some((application, _)) = self.fleet.load().offer(&model) {
            return Ok(application.clone());
        }
        match Application::new(&model) {
            Ok(application) => Err(unknown(application)),
            Err(_) => Err(Refusal::BadModel {
                name: model.chars().take(100).collect(),
            }),
        }
    }

    fn models(&self) -> Reply {
        let fleet = self.fleet.load();
        let mut names: Vec<_> = fleet.applications().collect();
        names.sort_unstable();
        let data = names.into_iter().map(Model::of).collect();
        render::json(
            StatusCode::OK,
            &Models {
                object: "list",
                data,
            },
        )
    }

    fn model(&self, name: &str) -> Result<Reply, Refusal> {
        match self.fleet.load().offer(name) {
            Some((application, _)) => Ok(render::json(StatusCode::OK, &Model::of(application))),
            None => match Application::new(name) {
                Ok(application) => Err(unknown(application)),
                Err(_) => Err(Refusal::BadModel {
                    name: name.chars().take(100).collect(),
                }),
            },
        }
    }
}

enum Read {
    Call(Box<Call>),
    Own(Reply),
}

fn unknown(application: Application) -> Refusal {
    Refusal::Nowhere {
        application,
        why: Nowhere::Unknown,
        retry_after: Duration::ZERO,
    }
}

fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ]
    .contains(method)
}

/// The client's address behind those of earlier proxies.
fn forwarded_for(headers: &http::HeaderMap, client: &HeaderValue) -> HeaderValue {
    let Some(earlier) = headers.get(&FORWARDED_FOR) else {
        return client.clone();
    };
    let chain = [earlier.as_bytes(), b", ", client.as_bytes()].concat();
    HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or_else(|_| client.clone())
}

#[derive(Serialize)]
struct Models<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn of(application: &'a Application) -> Self {
        // When a model was made is not known here; clients want a number.
        Self {
            id: application.as_str(),
            object: "model",
            created: 0,
            owned_by: "tradewind",
        }
    }
}
