//! Every metric's name, once, with what /metrics says of it. A counter's name gets its `_total` when it is written.

/// A name and its help.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// As a query names it, but for a counter's `_total`.
    pub name: &'static str,
    /// In a sentence, without its full stop.
    pub help: &'static str,
}

macro_rules! names {
    ($($constant:ident = $name:literal, $help:literal;)*) => {
        $(pub(crate) const $constant: Name = Name { name: $name, help: $help };)*
        /// All of them.
        pub const ALL: &[Name] = &[$($constant),*];
    };
}

names! {
    // requests
    REQUESTS = "stagedoor_requests", "Requests by public model and the status sent (499: the caller left)";
    ERRORS = "stagedoor_errors", "Requests that ended badly, by the error's code; streams that broke too, whose status was 200";
    DURATION = "stagedoor_request_duration_seconds", "Time from a request's head to its last byte";
    OVERHEAD = "stagedoor_overhead_seconds", "Time in the gateway, without waiting for an upstream";
    TOKENS = "stagedoor_tokens", "Tokens used by public model: of prompts, of those the cached ones, of answers, of those the reasoning";
    COST = "stagedoor_cost_usd", "Dollars spent by public model, where the price is known";
    CACHE = "stagedoor_cache", "Requests that the cache had to do with: hit (a stored answer), miss (a call), coalesced (another's call)";
    REFUSALS = "stagedoor_limit_refusals", "Requests that a limit refused";
    OPEN = "stagedoor_open_requests", "Requests under way: against server.max_requests, and streams against server.max_streams";

    // upstream calls
    ATTEMPTS = "stagedoor_attempts", "Upstream calls by target and outcome";
    IN_FLIGHT = "stagedoor_in_flight", "Upstream calls under way";
    FIRST_TOKEN = "stagedoor_time_to_first_token_seconds", "Time from an attempt's start to its stream's first content";
    INTER_TOKEN = "stagedoor_inter_token_seconds", "Time between a stream's pieces of content; those that come together share it";
    RETRIES = "stagedoor_retries", "Calls repeated on the same target";
    HEDGES = "stagedoor_hedges", "Calls made beside a late one: won, lost, failed, left, or refused by the budget";
    RECOVERIES = "stagedoor_recoveries", "Calls that were to go on with a stream that broke, by how they were asked and how that ended";
    STALE_REUSE = "stagedoor_stale_reuse", "Calls repeated since the reused connection was closed";
    DROPPED_EVENTS = "stagedoor_dropped_events", "Events of upstream streams that were not JSON";

    // breakers
    BREAKER_STATE = "stagedoor_breaker_state", "0 closed, 1 half-open, 2 open; an empty model is the provider's own breaker";
    SLOW = "stagedoor_target_slow", "1 while so many of a target's streams begin late that others are preferred, else 0";
    TRANSITIONS = "stagedoor_breaker_transitions", "Moves of breakers; an empty model is the provider's own";
    PROBES = "stagedoor_probes", "Active probes of open providers by result: good or bad";

    // the house
    WAITING_REPORTS = "stagedoor_waiting_reports", "Messages in the mailbox of a provider's actor, which takes 1024";
    DROPPED_REPORTS = "stagedoor_dropped_reports", "Reports that an actor's full mailbox refused";
    ROUTER_FALLBACKS = "stagedoor_router_fallbacks", "Picks made without the worker's router actor";
    ACTOR_RESTARTS = "stagedoor_actor_restarts", "Actors that died and were started again";
    RELOADS = "stagedoor_reloads", "Readings of the settings while serving";
    LEDGER_QUEUE = "stagedoor_ledger_queue", "Rows of the ledger that aren't in the store yet";
    LEDGER_LAG = "stagedoor_ledger_lag_seconds", "For how long the oldest of those rows has waited";
    LEDGER_LOST = "stagedoor_ledger_lost", "Rows of the ledger that neither store nor journal has";
    SHARED_UP = "stagedoor_shared_up", "Whether Redis answers, where limits are shared";
    SHARED_FALLBACKS = "stagedoor_shared_fallbacks", "Decisions on limits made by this gateway alone since Redis didn't answer in time";
    SHARED_GATEWAYS = "stagedoor_shared_gateways", "Gateways that share limits, as far as is known, this one among them";
    NEWS_TOLD = "stagedoor_shared_news_told", "Changes of keys, open breakers and resting keys told to other gateways";
    NEWS_HEARD = "stagedoor_shared_news_heard", "The same, heard from other gateways, where it concerns this one";
    LOG_UNWRITTEN = "stagedoor_log_unwritten_lines", "Lines of the log that weren't written: of a flood of the like, or since its reader is slow";
    SPANS = "stagedoor_spans", "Spans of traces: sent, dropped (the queue was full, or the collector away), or refused by the collector";
    BUILD = "stagedoor_build_info", "1, with the version as a label";

    // the process, by the names that Prometheus' own clients use
    CPU = "process_cpu_seconds", "CPU time that the process has had";
    RESIDENT = "process_resident_memory_bytes", "Memory that the process holds";
    VIRTUAL = "process_virtual_memory_bytes", "Address space that the process has";
    THREADS = "process_threads", "Threads of the process";
    OPEN_FDS = "process_open_fds", "File descriptors that are open";
    MAX_FDS = "process_max_fds", "File descriptors that may be open";
    STARTED = "process_start_time_seconds", "When the process began, since the Unix epoch";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once_and_ends_as_its_unit_says() {
        for (place, Name { name, help }) in ALL.iter().enumerate() {
            assert!(ALL[..place].iter().all(|other| other.name != *name), "{name}");
            assert!(!name.ends_with("_total") && !help.ends_with('.') && !help.is_empty(), "{name}");
        }
    }

    #[test]
    fn each_is_told_of_in_the_docs() {
        let docs = include_str!("../../docs/metrics.md");
        for Name { name, .. } in ALL {
            assert!(["`", "_total`"].iter().any(|end| docs.contains(&format!("`{name}{end}"))), "docs/metrics.md doesn't name {name}");
        }
    }
}
