//! The lines below the table: on what machine, with what, and how.

use std::{fs, process::Command, thread, time::Duration};

use super::{contender::Contender, process::find, settings::Settings};

/// All notes of a run that took `took`.
pub fn of(settings: &Settings, contenders: &[Contender], took: Duration) -> Vec<String> {
    let mut notes = vec![machine("load, backend and proxy share them")];
    let mut programs: Vec<_> = contenders
        .iter()
        .filter_map(|contender| contender.program())
        .collect();
    programs.sort_unstable_by_key(|program| program.name);
    programs.dedup();
    let mut versions = vec![format!(
        "tradewind {} ({})",
        env!("CARGO_PKG_VERSION"),
        build()
    )];
    for program in programs {
        // Without a version the run is still one.
        let output = find(program)
            .ok()
            .and_then(|path| Command::new(path).arg("-v").output().ok());
        if let Some(output) = output {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            versions.push(text.lines().next().unwrap_or(program.name).to_owned());
        }
    }
    notes.push(versions.join("; "));
    notes.push(settings.describe());
    notes.push(format!("took {} s", took.as_secs()));
    notes
}

/// Processor and system, and who shares them.
pub fn machine(shared: &str) -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores ({}), Linux {}; {shared}",
        model(&cpu).unwrap_or("model unknown"),
        kernel.trim()
    )
}

/// How this program was built.
pub fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "DEBUG build, not to be compared with anything"
    } else {
        "release build"
    }
}

fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        assert_eq!(
            model("processor\t: 0\nmodel name\t: Quick 9\nmodel name\t: Quick 9\n"),
            Some("Quick 9")
        );
        assert_eq!(model("Processor: ARM"), None);
    }
}
