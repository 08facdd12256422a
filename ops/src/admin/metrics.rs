//! The metrics of the process, for Prometheus.
//!
//! The gateway counts for itself; here its collector is put beside what the
//! process knows of the registry and of its peers.

use std::{collections::BTreeMap, fmt, sync::Arc};

use gcs_store::Standing;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::Registry,
};

use super::Facts;
use crate::{build::BUILD, status::report::Sample};

/// Of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that is counted.
pub fn registry(facts: &Arc<Facts>) -> Registry {
    let mut registry = Registry::default();
    let labels = [
        ("version", BUILD.version.to_owned()),
        ("profile", BUILD.profile.to_owned()),
        ("site", facts.site.to_string()),
    ];
    registry.register(
        "tw_build",
        "The binary that runs",
        Info::new(labels.to_vec()),
    );
    registry.register_collector(Box::new(Surroundings(facts.clone())));
    if let Some((_, gateway)) = &facts.gateway {
        registry.register_collector(gateway.collector());
    }
    if let Some((_, store)) = &facts.store {
        registry.register_collector(store.collector());
    }
    registry
}

/// The text of a scrape.
pub fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    encode(&mut text, registry)?;
    Ok(text)
}

/// The counters and gauges of the gateway in the text of a scrape, in its order.
/// Histograms are left out.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| {
            ["tw_http_", "tw_route_", "tw_attempt_", "tw_upstream_"]
                .iter()
                .any(|layer| line.starts_with(layer))
        })
        .filter_map(sample)
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    if ["_bucket", "_sum", "_count"]
        .iter()
        .any(|part| name.ends_with(part))
    {
        return None;
    }
    // Names in labels come from an alphabet without quotes.
    let labels = labels.split_terminator("\",").filter_map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some(Sample {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().ok()?,
    })
}

#[derive(Debug)]
struct Surroundings(Arc<Facts>);

impl Collector for Surroundings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let facts = &self.0;
        let ready = i64::from(facts.reasons().is_empty());
        gauge(
            &mut encoder,
            "tw_ready",
            "Whether requests should be sent here",
            ready,
        )?;

        let snapshot = facts.snapshot();
        let revision = snapshot
            .at()
            .map_or(0, |at| i64::try_from(at.revision).unwrap_or(i64::MAX));
        gauge(
            &mut encoder,
            "tw_discovery_revision",
            "Position in the history of the registry",
            revision,
        )?;
        if let Some(heard) = facts
            .link
            .as_ref()
            .and_then(|link| link.borrow().last_heard)
        {
            let help = "Time since the registry was last heard";
            gauge(
                &mut encoder,
                "tw_discovery_age_seconds",
                help,
                heard.elapsed().as_secs_f64(),
            )?;
        }

        if let Some((_, store)) = &facts.store {
            let active = matches!(store.standing(), Standing::Active { .. });
            let help = "Whether this process is the active store of its database";
            gauge(&mut encoder, "tw_store_active", help, i64::from(active))?;
        }

        let mut endpoints = BTreeMap::<_, i64>::new();
        for endpoint in snapshot.endpoints() {
            *endpoints
                .entry((endpoint.kind, endpoint.state))
                .or_default() += 1;
        }
        let help = "Endpoints known, by kind and state";
        let mut family =
            encoder.encode_descriptor("tw_discovery_endpoints", help, None, MetricType::Gauge)?;
        for ((kind, state), count) in endpoints {
            let labels = [("kind", lower(kind)), ("state", lower(state))];
            ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
        }

        let help = "Whether the link to another site is heard";
        let mut family =
            encoder.encode_descriptor("tw_federation_peer_up", help, None, MetricType::Gauge)?;
        for (site, link) in facts.links() {
            let up = i64::from(link.connected);
            ConstGauge::new(up).encode(family.encode_family(&[("peer", site.as_str())])?)?;
        }
        Ok(())
    }
}

fn gauge<N>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: N,
) -> Result<(), fmt::Error>
where
    ConstGauge<N>: EncodeMetric,
{
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn lower(name: impl fmt::Debug) -> String {
    format!("{name:?}").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_s_numbers_are_read_out_of_a_scrape() {
        let text = "# TYPE tw_http_requests counter\n\
                    tw_http_requests_total{outcome=\"ok\",status=\"200\"} 17\n\
                    tw_http_overhead_seconds_bucket{le=\"0.1\"} 3\n\
                    tw_ready 1\n\
                    tw_http_in_flight 2\n# EOF\n";
        let sample = |name: &str, labels: &[(&str, &str)], value| Sample {
            name: name.to_owned(),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            value,
        };
        assert_eq!(
            samples(text),
            [
                sample(
                    "tw_http_requests_total",
                    &[("outcome", "ok"), ("status", "200")],
                    17.0
                ),
                sample("tw_http_in_flight", &[], 2.0)
            ]
        );
    }
}
