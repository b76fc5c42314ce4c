//! Whether a text is a cron schedule (K30). When it fires is the controller's business.

/// Lowest value, highest value, and names of each field: minute, hour, day of month, month, day of week.
const FIELDS: [(u32, u32, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];
const MACROS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// What is wrong with `schedule`; `None` if nothing is.
pub(super) fn fault(schedule: &str) -> Option<String> {
    if let Some(duration) = schedule.strip_prefix("@every ") {
        return (!is_duration(duration)).then(|| format!("failed to parse duration {schedule}"));
    }
    if schedule.starts_with('@') {
        return (!MACROS.contains(&schedule)).then(|| format!("unrecognized descriptor: {schedule}"));
    }
    let words: Vec<&str> = schedule.split_whitespace().collect();
    if words.len() != FIELDS.len() {
        return Some(format!("expected exactly 5 fields, found {}: [{}]", words.len(), words.join(" ")));
    }
    words
        .iter()
        .zip(FIELDS)
        .find_map(|(word, field)| word.split(',').find_map(|part| part_fault(part, field)))
}

/// `*`, `*/2`, `1`, `1-5`, `1-5/2`, `?`.
fn part_fault(part: &str, (low, high, names): (u32, u32, &[&str])) -> Option<String> {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step {
        match step.parse::<u32>() {
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
            Err(_) => return Some(format!("failed to parse int from {step}")),
        }
    }
    if matches!(range, "*" | "?") {
        return None;
    }
    let read = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.and_then(|at| u32::try_from(at).ok()).map(|at| at + low).or_else(|| text.parse().ok())
    };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (read(first), read(last)) {
        (None, _) => Some(format!("failed to parse int from {first}")),
        (_, None) => Some(format!("failed to parse int from {last}")),
        (Some(first), _) if first < low => {
            Some(format!("beginning of range ({first}) below minimum ({low}): {part}"))
        }
        (_, Some(last)) if last > high => {
            Some(format!("end of range ({last}) above maximum ({high}): {part}"))
        }
        (Some(first), Some(last)) if first > last => {
            Some(format!("beginning of range ({first}) beyond end of range ({last}): {part}"))
        }
        _ => None,
    }
}

/// `1h30m`, `90s`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim();
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let unit =
            ["ms", "us", "ns", "h", "m", "s"].into_iter().find(|unit| rest[digits..].starts_with(unit));
        match unit {
            Some(unit) if digits > 0 => rest = &rest[digits + unit.len()..],
            Some(_) | None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::fault;

    /// K30.
    #[test]
    fn schedules() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan-mar MON-FRI", "@every 1h30m", "@daily", "0 0 ? * 0"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for (bad, why) in [
            ("foo", "expected exactly 5 fields, found 1: [foo]"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("@reboot", "unrecognized descriptor: @reboot"),
            ("@every x", "failed to parse duration @every x"),
        ] {
            assert_eq!(fault(bad).as_deref(), Some(why), "{bad}");
        }
    }
}
