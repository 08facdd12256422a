//! In which words a request speaks, and how much of it must be read.
//!
//! OpenAI's REST is known by its paths and routed by `model` in the body.
//! Everything else passes through by the longest route prefix an operator bound
//! to an application, and nothing of it is read.

use discovery_client::Application;
use http::Method;

use crate::{call::Refusal, config::Config, sse::Ending};

/// In which words the caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI's REST.
    OpenAi(Operation),
    /// The replica's own; not read.
    PassThrough,
}

/// An inference route of OpenAI's REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
}

impl Dialect {
    /// How a stream of events ends, if it is one we can read.
    #[must_use]
    pub(crate) fn ending(self) -> Option<Ending> {
        match self {
            Self::OpenAi(Operation::Responses) => Some(Ending::Responses),
            Self::OpenAi(_) => Some(Ending::Choices),
            Self::PassThrough => None,
        }
    }
}

/// What a method and a path ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way<'a> {
    /// An inference, routed by the body's `model`.
    Infer(Operation),
    /// `GET /v1/models`
    Models,
    /// `GET /v1/models/{name}`
    Model(&'a str),
    /// Passes to the replicas of an application.
    Pass {
        /// Which.
        application: &'a Application,
        /// A POST may be sent twice.
        repeatable: bool,
    },
}

/// The routes of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Prefix, application, and whether a POST may be repeated; longest first.
    prefixes: Vec<(String, Application, bool)>,
}

impl From<&Config> for Routes {
    fn from(config: &Config) -> Self {
        let route = |app: &crate::config::ApplicationConfig| {
            app.route
                .clone()
                .map(|route| (route, app.name.clone(), app.repeatable))
        };
        let mut prefixes: Vec<_> = config.applications.iter().filter_map(route).collect();
        prefixes.sort_by_key(|(prefix, ..)| std::cmp::Reverse(prefix.len()));
        Self { prefixes }
    }
}

impl Routes {
    /// What is asked for.
    ///
    /// # Errors
    /// [`Refusal::NoRoute`] or [`Refusal::Method`].
    pub(crate) fn find<'a>(&'a self, method: &Method, path: &'a str) -> Result<Way<'a>, Refusal> {
        let Some(openai) = path.strip_prefix("/v1/") else {
            return self.pass(method, path);
        };
        let operation = match openai {
            "chat/completions" => Operation::Chat,
            "completions" => Operation::Completions,
            "embeddings" => Operation::Embeddings,
            "responses" => Operation::Responses,
            _ => {
                let way = match openai.strip_prefix("models") {
                    Some("" | "/") => Way::Models,
                    Some(name) if name.starts_with('/') => Way::Model(&name[1..]),
                    _ => return Err(no_route(method, path)),
                };
                return if method == Method::GET {
                    Ok(way)
                } else {
                    Err(only(path, "GET"))
                };
            }
        };
        if method == Method::POST {
            Ok(Way::Infer(operation))
        } else {
            Err(only(path, "POST"))
        }
    }

    fn pass<'a>(&'a self, method: &Method, path: &'a str) -> Result<Way<'a>, Refusal> {
        let below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match self.prefixes.iter().find(|(prefix, ..)| below(prefix)) {
            Some((_, application, repeatable)) => Ok(Way::Pass {
                application,
                repeatable: *repeatable,
            }),
            None => Err(no_route(method, path)),
        }
    }
}

fn no_route(method: &Method, path: &str) -> Refusal {
    Refusal::NoRoute {
        method: method.clone(),
        path: path.chars().take(200).collect(),
    }
}

fn only(path: &str, allow: &'static str) -> Refusal {
    Refusal::Method {
        path: path.chars().take(200).collect(),
        allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ApplicationConfig, OwnLimits};

    fn routes(bound: &[(&str, &str)]) -> Routes {
        let applications = bound.iter().map(|(name, route)| ApplicationConfig {
            name: Application::new(name).unwrap(),
            route: Some((*route).to_owned()),
            limits: OwnLimits::default(),
            repeatable: false,
        });
        Routes::from(&Config {
            applications: applications.collect(),
            ..Config::default()
        })
    }

    #[test]
    fn openai_is_known_by_its_paths() {
        let routes = Routes::default();
        assert_eq!(
            routes.find(&Method::POST, "/v1/chat/completions"),
            Ok(Way::Infer(Operation::Chat))
        );
        assert_eq!(routes.find(&Method::GET, "/v1/models"), Ok(Way::Models));
        assert_eq!(
            routes.find(&Method::GET, "/v1/models/org/model"),
            Ok(Way::Model("org/model"))
        );
        assert!(matches!(
            routes.find(&Method::GET, "/v1/embeddings"),
            Err(Refusal::Method { allow: "POST", .. })
        ));
        assert!(matches!(
            routes.find(&Method::POST, "/v1/audio"),
            Err(Refusal::NoRoute { .. })
        ));
        assert!(matches!(
            routes.find(&Method::GET, "/v1/modelsx"),
            Err(Refusal::NoRoute { .. })
        ));
    }

    #[test]
    fn the_longest_prefix_wins_at_a_path_boundary() {
        let routes = routes(&[("short", "/app"), ("long", "/app/deep")]);
        let name = |path: &str| match routes.find(&Method::PUT, path) {
            Ok(Way::Pass { application, .. }) => application.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(name("/app"), "short");
        assert_eq!(name("/app/x"), "short");
        assert_eq!(name("/app/deep/x"), "long");
        assert_eq!(name("/app/deeper"), "short");
        assert!(name("/application").contains("NoRoute"));
    }
}
