//! Tells what happens, one line an event: for people, or as JSON lines.

use std::time::SystemTime;

use serde_json::json;

use super::{plan::MODELS, state::State};
use crate::cli::print;

/// Where and how events are told. Cheap to clone.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    /// JSON lines instead of text.
    pub json: bool,
}

impl Voice {
    /// One event: which site, which of its processes, what, and details.
    pub fn note(&self, site: &str, name: &str, event: &str, details: &str) {
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        self.say(&if self.json {
            format!(
                "{}\n",
                json!({"at": at, "event": event, "site": site, "name": name, "details": details})
            )
        } else {
            let clock = at.get(11..19).unwrap_or(&at);
            format!("{clock}  {site:<8} {name:<9} {event:<11} {details}\n")
        });
    }

    /// Everything is up.
    pub fn ready(&self, state: &State, took: std::time::Duration) {
        let seconds = took.as_secs_f64();
        self.say(&if self.json {
            format!(
                "{}\n",
                json!({"event": "ready", "took_s": seconds, "state": state})
            )
        } else {
            introduction(state, seconds)
        });
    }

    fn say(&self, text: &str) {
        // With nobody left to read, there is nobody to tell.
        if let Err(error) = print(text) {
            tracing::debug!(%error, "an event was told to nobody");
        }
    }
}

/// Works when pasted, so its lines begin at the margin.
const HOW_TO_ASK: &str = r#"
Ask, with curl:

curl {front}/v1/chat/completions -H 'content-type: application/json' \
  -d '{"model": "{model}", "messages": [{"role": "user", "content": "hello"}]}'

Ask, with the OpenAI client (pip install openai):

python3 - <<'END'
from openai import OpenAI
client = OpenAI(base_url="{front}/v1", api_key="none")
messages = [{"role": "user", "content": "hello"}]
for chunk in client.chat.completions.create(model="{model}", messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
END
"#;

fn introduction(state: &State, seconds: f64) -> String {
    let replicas: usize = state
        .sites
        .iter()
        .map(|site| site.processes.len().saturating_sub(1))
        .sum();
    let sites = state.sites.iter().filter(|site| !site.edge).count();
    let front = &state.front;
    let mut text = format!(
        "\ntradewind dev is ready: {sites} sites, {replicas} replicas ({seconds:.1} s)\n\n"
    );
    let mut victim = None;
    for site in &state.sites {
        let pids: Vec<String> = site
            .processes
            .iter()
            .filter_map(|it| it.pid)
            .map(|pid| pid.to_string())
            .collect();
        let note = if site.edge {
            "survives the loss of any site"
        } else {
            ""
        };
        text.push_str(&format!(
            "  {:<8} {:<23} admin {:<23} pids {:<24} {note}\n",
            site.name.as_str(),
            site.gateway.as_str(),
            site.admin.as_str(),
            pids.join(" ")
        ));
        if !site.edge && victim.is_none() {
            victim = Some((site.name.clone(), pids));
        }
    }
    text.push_str(
        &HOW_TO_ASK
            .replace("{front}", front.as_str())
            .replace("{model}", MODELS[0]),
    );
    if let Some((site, pids)) = victim {
        text.push_str(&format!(
            "
Take {site} away, in the middle of anything:

kill -9 {}
{} drill run dc-loss --site {site} --dev {}

",
            pids.join(" "),
            state.program.display(),
            state.control
        ));
    }
    text.push_str(&format!(
        "Logs are in {}. Ctrl-C stops everything. From here on, what happens:\n\n",
        state.state_dir.display()
    ));
    text
}
