//! The settings as resolved: every value valid, every reference followed, every override merged in. Made only by
//! `resolve`; read everywhere else.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::diff::Written;
use super::prices::PriceTable;
use super::tls::Tls;
use crate::access::{VirtualKey, glob_matches};
use crate::base::{Rates, Secret};
use crate::dialect::Wire;
use crate::dialect::gemini;
use crate::health::Thresholds;
pub use crate::routing::{Caching, Retry, Strategy, Streaming, Timeouts, WhenAllOpen};
use crate::stream::Way;
use crate::telemetry::otlp::Sampler;

/// Everything that the gateway was told, valid as a whole.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The door itself.
    pub server: Server,
    /// Who may come in.
    pub auth: Auth,
    /// The operator's plane.
    pub admin: Admin,
    /// What is told about the traffic.
    pub telemetry: Telemetry,
    /// Where keys and ledger are kept.
    pub store: Store,
    /// What several gateways have in common.
    pub shared: Shared,
    /// `[retry]`, before any model's own: a model of the same terms shares the gateway's budget.
    pub retry: Retry,
    /// `[cache]`, before any model's own.
    pub caching: Caching,
    /// The providers that can be called, by name. One whose keys are all unset is not here but in `left_out`.
    pub providers: BTreeMap<String, Provider>,
    /// The public models, by name. Targets of providers that were left out are kept (with their names), so that /v1/route
    /// can say why they are out.
    pub models: BTreeMap<String, Model>,
    /// Providers with no key set, each with the names of the variables or files that would set one.
    pub left_out: BTreeMap<String, Vec<String>>,
    /// Whether the rehearsal provider was put in because no provider has a key.
    pub rehearsing: bool,
    /// What the operator should know though nothing is wrong: settings with no effect yet, keys written in the open, ...
    pub notes: Vec<Note>,
    /// What vendors charge.
    pub prices: Arc<PriceTable>,
    /// What was written, to be compared with a later reading.
    pub written: Written,
}

/// One thing that `check` and the start-up log tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What kind of thing.
    pub kind: NoteKind,
    /// The key's path, such as `retry.hedge`.
    pub path: String,
    /// One sentence.
    pub message: String,
}

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// The setting is valid, but its feature isn't built yet.
    NoEffectYet,
    /// Valid, yet worth a second look.
    Warning,
    /// A provider or key was left out because its variable or file isn't there.
    LeftOut,
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Address to bind, a name or an IP address.
    pub host: String,
    /// Port to bind; 0 takes a free one.
    pub port: u16,
    /// HTTP workers; 0: one per core.
    pub workers: usize,
    /// Largest request body, in bytes.
    pub max_body: usize,
    /// Largest non-streamed upstream answer, in bytes.
    pub max_response: usize,
    /// Largest event of an upstream stream, in bytes.
    pub max_event: usize,
    /// The gateway's own certificate; None: callers are served without TLS.
    pub tls: Option<Tls>,
    /// Time for a client to send its request's head.
    pub header_timeout: Duration,
    /// Time for a client to send its request's body.
    pub body_timeout: Duration,
    /// Requests in flight at once, streams apart.
    pub max_requests: usize,
    /// Streams open at once.
    pub max_streams: usize,
    /// A client that takes nothing for this long is closed.
    pub send_timeout: Duration,
    /// Names of the `x-stagedoor-*` request headers that callers may use.
    pub request_headers: Vec<String>,
    /// Origins that get CORS headers.
    pub cors_origins: Vec<String>,
    /// Time for live requests to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// Silence towards a stream's client after which a comment is sent; zero: never.
    pub heartbeat: Duration,
}

/// `[auth]`.
#[derive(Clone, Debug)]
pub struct Auth {
    /// How callers are let in.
    pub mode: AuthMode,
    /// The keys known from settings whose secret is there.
    pub keys: Vec<CallerKey>,
}

/// `auth.mode`, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Keys as soon as one is known; with none, open on loopback.
    Auto,
    /// A key is needed.
    Keys,
    /// No key is needed; loopback only.
    Open,
}

/// One of `[[auth.keys]]`.
#[derive(Clone, Debug)]
pub struct CallerKey {
    /// What callers send.
    pub secret: Secret,
    /// Its terms. Its id is `settings:` and its name.
    pub key: Arc<VirtualKey>,
}

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The operator's key, if set.
    pub key: Option<Secret>,
    /// An address of its own for the plane, as `host:port`; empty: the serving port.
    pub listen: String,
}

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The form of the log's lines.
    pub log: LogForm,
    /// The share of requests whose bodies are logged, from 0 to 1; None: none, ever.
    pub log_bodies: Option<f64>,
    /// A request that waits longer gets a line of its own.
    pub slow_request: Duration,
    /// Where traces go; None: nowhere.
    pub otlp: Option<String>,
    /// Which of them.
    pub sampler: Sampler,
    /// Whether an answer's head says what it cost.
    pub cost_header: bool,
    /// Whether its `usage` does.
    pub cost_in_usage: bool,
    /// Whether /metrics asks for the admin key.
    pub metrics_need_admin: bool,
}

/// `[shared]`.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Of Redis; None: each gateway is on its own. It may hold a password.
    pub url: Option<Secret>,
}

/// `telemetry.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// For people.
    Pretty,
    /// One JSON document a line.
    Json,
}

/// `[store]`.
#[derive(Clone, Debug)]
pub struct Store {
    /// Where keys and ledger are kept.
    pub keep: Keep,
    /// Which requests get a row.
    pub ledger: Ledger,
    /// How long a row is kept.
    pub retention: Duration,
    /// What the end of which it survives.
    pub durability: Durability,
}

/// `store.durability`: what was counted as kept survives the end of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The gateway's process; a power cut may take the last commits.
    #[default]
    Process,
    /// The whole machine's power: each commit waits for the disk.
    Host,
}

/// `store.url`.
#[derive(Clone, Debug)]
pub enum Keep {
    /// Nowhere: keys come from the settings alone, and there is no ledger.
    Nowhere,
    /// In a SQLite file.
    Sqlite(PathBuf),
    /// In PostgreSQL: its URL, which may hold a password, and the folder where rows wait for it.
    Postgres(Secret, PathBuf),
}

/// `store.ledger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// Every request that was let in.
    All,
    /// Those made with a key.
    Keyed,
    /// None.
    Off,
}

/// One of `[providers.X]`.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub dialect: Dialect,
    /// Where it is, without a trailing slash. `rehearsal://` for the simulated one.
    pub base_url: String,
    /// Its key pool: those whose secret is there. Empty only where `keys = []` was written: no authorization is sent.
    pub keys: Vec<ProviderKey>,
    /// Extra request headers, names in lower case; no CR, LF or NUL in them.
    pub headers: Vec<(String, String)>,
    /// Calls at once; 0: no limit.
    pub max_concurrency: usize,
    /// How the key is sent.
    pub auth: AuthScheme,
    /// Azure's `api-version`, where one is written.
    pub api_version: Option<String>,
    /// Whether it takes the question for a stream's usage.
    pub asks_usage: bool,
    /// Whether it speaks Responses itself.
    pub responses: bool,
    /// More trust anchors, PEM.
    pub ca_file: Option<PathBuf>,
    /// Its breakers' thresholds, overrides merged in.
    pub breaker: Thresholds,
    /// What happens when nothing of a chain is eligible.
    pub when_all_open: WhenAllOpen,
    /// How long a refused key rests.
    pub key_quarantine: Duration,
    /// How often it is probed while open; None: by real calls only.
    pub probe_every: Option<Duration>,
    /// Its timeouts, overrides merged in.
    pub timeouts: Timeouts,
    /// Vendor error codes and the outcome that each stands for (`codes`, and what is known of the vendor's), over the built-in
    /// table; outcome names are those
    /// of RESILIENCE in snake_case: `transient`, `rate_limited`, `key_fault`, `too_long`, `caller_fault`, `model_missing`.
    pub codes: BTreeMap<String, String>,
    /// How its models go on with a half-said answer.
    pub continuations: Continuations,
}

/// How a provider's models go on with a half-said answer.
#[derive(Clone, Debug, Default)]
pub struct Continuations {
    /// `providers.X.continuation`, where it is written; None within: not at all.
    pub(super) own: Option<Option<Way>>,
    /// The table's rows for it.
    pub(super) rows: Vec<Continuation>,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Continuation {
    /// Globs; none: all.
    pub(super) models: Vec<String>,
    /// None: not at all.
    pub(super) way: Option<Way>,
    /// In place of the base URL's path.
    pub(super) path: Option<String>,
}

impl Continuations {
    /// How a model goes on (None: not at all), and the path in place of the base URL's, where it is another.
    pub fn of(&self, model: &str) -> (Option<Way>, Option<&str>) {
        let fits = |row: &&Continuation| row.models.is_empty() || row.models.iter().any(|glob| glob_matches(glob, model));
        let row = self.rows.iter().find(fits);
        let way = self.own.unwrap_or_else(|| row.map_or(Some(Way::Splice), |row| row.way));
        let path = row.filter(|row| row.way == way).and_then(|row| row.path.as_deref());
        (way, path)
    }
}

/// `providers.X.dialect`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's generateContent.
    Gemini,
    /// OpenAI's, as Azure serves it: by deployments and API versions.
    Azure,
    /// The simulated upstream inside the gateway.
    Rehearsal,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 5] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini, Dialect::Azure, Dialect::Rehearsal];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::Azure => "azure",
            Dialect::Rehearsal => "rehearsal",
        }
    }

    /// What a caller speaks who speaks the same.
    pub fn wire(self) -> Wire {
        match self {
            Dialect::OpenAi | Dialect::Azure | Dialect::Rehearsal => Wire::OpenAi,
            Dialect::Anthropic => Wire::Anthropic,
            Dialect::Gemini => Wire::Gemini,
        }
    }

    /// The path of a chat with a model below the API's base.
    pub fn chat_path(self, model: &str, stream: bool) -> Cow<'static, str> {
        match self.wire() {
            Wire::OpenAi => Cow::Borrowed("/chat/completions"),
            Wire::Anthropic => Cow::Borrowed("/messages"),
            Wire::Gemini => Cow::Owned(gemini::path(model, stream)),
            Wire::Responses => Cow::Borrowed("/responses"),
        }
    }

    /// The path where a request's tokens are counted; None where they aren't.
    pub fn count_path(self, model: &str) -> Option<Cow<'static, str>> {
        match self.wire() {
            Wire::OpenAi | Wire::Responses => None,
            Wire::Anthropic => Some(Cow::Borrowed("/messages/count_tokens")),
            Wire::Gemini => Some(Cow::Owned(gemini::count_path(model))),
        }
    }
}

/// `providers.X.auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScheme {
    /// `authorization: Bearer KEY`.
    Bearer,
    /// `api-key: KEY`; to Anthropic's dialect `x-api-key: KEY`, to Google's `x-goog-api-key: KEY`.
    ApiKey,
}

impl AuthScheme {
    /// By their names in settings.
    pub(super) const NAMES: &[(&str, AuthScheme)] = &[("bearer", AuthScheme::Bearer), ("api-key", AuthScheme::ApiKey)];
}

/// One credential of a provider's pool.
#[derive(Clone, Debug)]
pub struct ProviderKey {
    /// `name`, else the variable's or file's name, else `key-N`.
    pub name: String,
    /// The credential.
    pub secret: Secret,
    /// Its share among the pool's usable keys.
    pub weight: u32,
    /// Requests a minute; 0: no limit.
    pub rpm: u64,
    /// Tokens a minute; 0: no limit.
    pub tpm: u64,
}

/// One of `[models.X]`.
#[derive(Clone, Debug)]
pub struct Model {
    /// The public name; ends with `*` for a wildcard row.
    pub name: String,
    /// How one of `targets` is chosen.
    pub strategy: Strategy,
    /// Who can serve it.
    pub targets: Vec<Target>,
    /// Public names tried in order when no target of this one can serve.
    pub failover: Vec<String>,
    /// Tokens that a request and its answer may have together, where known.
    pub context_window: Option<u64>,
    /// `[models.X.timeouts]`: what overrides the provider's.
    pub timeouts: TimeoutOverrides,
    /// `[retry]` with `[models.X.retry]` merged in.
    pub retry: Retry,
    /// `[stream]` with `[models.X.stream]` merged in.
    pub streaming: Streaming,
    /// `[cache]` with `[models.X.cache]` merged in.
    pub caching: Caching,
}

/// What `[models.X.timeouts]` sets; None leaves the provider's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeoutOverrides {
    /// See [`Timeouts::connect`].
    pub connect: Option<Duration>,
    /// See [`Timeouts::first_byte`].
    pub first_byte: Option<Duration>,
    /// See [`Timeouts::first_token`].
    pub first_token: Option<Duration>,
    /// See [`Timeouts::idle`].
    pub idle: Option<Duration>,
    /// See [`Timeouts::total`].
    pub total: Option<Duration>,
}

/// One of `models.X.targets`.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// A provider's name, perhaps of one that was left out.
    pub provider: String,
    /// The provider's own name for the model; `*` takes what the wildcard row matched.
    pub model: String,
    /// Its share under `weighted`, a divisor of load elsewhere.
    pub weight: u32,
    /// Its own price, if written.
    pub price: Option<Rates>,
    /// What it can do, where declared; None: anything.
    pub capabilities: Option<Vec<String>>,
}
