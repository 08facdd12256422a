//! What stands in the cells of tables.

use std::{collections::BTreeMap, time::Duration};

use ray_tables::Time;

/// What machines are made of first; the rest where there is room.
pub fn resources(all: &BTreeMap<String, f64>, wide: bool) -> String {
    let shown = all
        .iter()
        .filter(|(name, _)| wide || ["CPU", "GPU", "TPU", "memory"].contains(&name.as_str()))
        .map(|(name, amount)| match name.as_str() {
            "memory" | "object_store_memory" => {
                format!("{} {:.1} GiB", clean(name), amount / f64::from(1 << 30))
            }
            _ => format!("{} {amount}", clean(name)),
        });
    let shown: Vec<_> = shown.collect();
    if shown.is_empty() {
        dash()
    } else {
        shown.join(", ")
    }
}

/// How long something has lived, or did.
pub fn lived(started: Option<Time>, ended: Option<Time>, now: Time) -> String {
    since(started, ended.unwrap_or(now))
}

/// How long ago something was.
pub fn since(then: Option<Time>, now: Time) -> String {
    let Some(then) = then else {
        return dash();
    };
    let seconds = Duration::from_secs(then.age(now).as_secs());
    let text = humantime::format_duration(seconds).to_string();
    // Two parts are enough: `3days 4h`.
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// A time in full.
pub fn moment(time: Option<Time>) -> String {
    time.map_or_else(dash, |time| time.to_string())
}

/// Text that may not be there.
pub fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(dash, clean)
}

/// Clusters write what they like; screens must not obey it.
pub fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.collect()
}

/// What stands where nothing is.
pub fn dash() -> String {
    "-".to_owned()
}
