//! The page for scrapers that don't ask for OpenMetrics: Prometheus' older text form, version 0.0.4. Its readers take a sample
//! for one of a family only where the family bears the sample's own name, so a counter's is named with its `_total`; of units
//! and of an end they know nothing.

/// An OpenMetrics page in that form. The page is this gateway's own: no exemplars, and types that both forms have.
pub(super) fn classic(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + page.len() / 16);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        // HELP comes before TYPE.
        let described = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '));
        let typed = |line: &str| line.strip_prefix("# TYPE ").and_then(|rest| rest.strip_suffix(" counter")).map(str::to_owned);
        match (described, typed(line)) {
            (Some((name, help)), _) if lines.peek().and_then(|next| typed(next)).as_deref() == Some(name) => {
                text.extend(["# HELP ", name, "_total ", help, "\n"]);
            }
            (_, Some(name)) => text.extend(["# TYPE ", &name, "_total counter\n"]),
            _ if line.starts_with("# UNIT ") || line == "# EOF" => {}
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_family_is_named_as_its_samples_are() {
        let page = "# HELP a What it counts.\n# TYPE a counter\na_total{b=\"c\"} 1\n# HELP d_seconds A gauge.\n# TYPE d_seconds gauge\n\
                    # UNIT d_seconds seconds\nd_seconds 2\n# EOF\n";
        let expected = "# HELP a_total What it counts.\n# TYPE a_total counter\na_total{b=\"c\"} 1\n# HELP d_seconds A gauge.\n\
                        # TYPE d_seconds gauge\nd_seconds 2\n";
        assert_eq!(classic(page), expected);
    }
}
