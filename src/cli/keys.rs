//! `stagedoor keys`: callers' keys in the store, made and revoked without a gateway; one that runs over the same store learns of
//! it within a second.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{WRONG_USE, source};
use crate::access::{Budget, VirtualKey, Window};
use crate::base::{Secret, date, duration, request_id, written_date};
use crate::clock::{Clock, issued_key, seeded_rng};
use crate::settings::{self, Source, load, unknown_models};
use crate::store::{Failed, KeyChange, KeyRecord, NewKey, Store, document};

#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
    /// One JSON document in place of a table
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a key; it is shown once
    Create(Create),
    /// List the keys
    List,
    /// Refuse a key from now on
    Revoke {
        /// The key's id
        id: String,
    },
    /// Give a key another secret; the old one works on for a while
    Rotate {
        /// The key's id
        id: String,
        /// How long the old secret works on
        #[arg(long, default_value = "24h", value_parser = span)]
        overlap: Duration,
    },
}

#[derive(Args)]
struct Create {
    /// The key's name in logs and in the ledger
    #[arg(value_parser = named)]
    name: String,
    /// Public models that it may use, separated by commas; `*` stands for any characters
    #[arg(long, value_delimiter = ',', default_value = "*")]
    models: Vec<String>,
    /// Requests a minute; 0: no limit
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=VirtualKey::MOST))]
    rpm: u64,
    /// Tokens a minute; 0: no limit
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=VirtualKey::MOST))]
    tpm: u64,
    /// Requests at once; 0: no limit
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=VirtualKey::MOST))]
    concurrency: u64,
    /// What it may spend in each window, in dollars; 0: no budget
    #[arg(long, value_name = "USD")]
    budget_usd: Option<f64>,
    /// When the budget begins anew: day, week, month (the default) or total; wants --budget-usd
    #[arg(long, value_parser = window)]
    window: Option<Window>,
    /// When it expires: 30d from now, or 2030-01-31
    #[arg(long)]
    expires: Option<String>,
}

/// What a verb has to show.
enum Shown {
    Made(Spending, Secret),
    Key(Spending),
    All(Vec<Spending>),
    Unknown(String),
}

/// A key, and what it has spent in its budget's window, in nano-dollars.
type Spending = (KeyRecord, i64);

pub(super) fn run(file: Option<PathBuf>, options: Options) -> ExitCode {
    // A gateway that others reach doesn't start without a key: here is where one comes from.
    let source = Source { stored: Some(Arc::new(|_| true)), ..source(file) };
    let settings = match load(&source) {
        Ok(settings) => settings,
        Err(invalid) => return super::failed(&format!("the settings are not valid:\n{invalid}")),
    };
    let Options { verb, json } = options;
    if let Verb::Create(create) = &verb {
        let models: Vec<_> = settings.models.keys().cloned().collect();
        unknown_models(&create.models, &models).iter().for_each(|unknown| eprintln!("stagedoor: --models: {unknown}"));
    }
    match in_store(&settings.store, |store| obey(store, verb)) {
        Ok(Ok(shown)) => show(&shown, json),
        Ok(Err(message)) => wrong_use(&message),
        Err(error) => super::failed(&error),
    }
}

/// Opens the store, and asks it something.
pub(super) fn in_store<T, F: Future<Output = Result<T, Failed>>>(
    kept: &settings::Store,
    work: impl FnOnce(Store) -> F,
) -> Result<T, Failed> {
    actix_rt::System::new().block_on(async {
        let nowhere = || Failed::Unusable { place: "\"\"".to_owned(), what: "is none: name one in store.url".to_owned() };
        let store = Store::lasting(&kept.keep, kept.durability).await?.ok_or_else(nowhere)?;
        let done = work(store.clone()).await;
        store.close().await;
        done
    })
}

async fn obey(store: Store, verb: Verb) -> Result<Result<Shown, String>, Failed> {
    let now = Clock::start().wall();
    match verb {
        Verb::List => {
            super::usage::tell_of_journal(&store);
            let keys = store.keys().await?;
            Ok(Ok(Shown::All(store.with_spent(keys, now).await?)))
        }
        Verb::Create(create) => {
            let key = match create.key(now) {
                Ok(key) => key,
                Err(message) => return Ok(Err(message)),
            };
            if key.has_ended(now) {
                eprintln!("stagedoor: --expires is a time that is over: the key lets nobody in");
            }
            let (secret, new) = NewKey::issue(key, issued_key());
            store.create_key(&new).await?;
            Ok(Ok(Shown::Made((new.into(), 0), secret)))
        }
        Verb::Revoke { id } => {
            let record = store.change_key(&id, KeyChange::Revoke(now)).await?;
            let Some(key) = spending(&store, record, now).await? else { return Ok(Ok(Shown::Unknown(id))) };
            Ok(Ok(Shown::Key(key)))
        }
        Verb::Rotate { id, overlap } => {
            let secret = issued_key();
            let record = store.change_key(&id, KeyChange::rotate(&secret, now, overlap)).await?;
            let Some(key) = spending(&store, record, now).await? else { return Ok(Ok(Shown::Unknown(id))) };
            Ok(if key.0.key.has_ended(now) {
                Err(format!("{id} is {}, so a new secret would let nobody in; stagedoor keys create NAME", state(&key.0)))
            } else {
                Ok(Shown::Made(key, secret))
            })
        }
    }
}

async fn spending(store: &Store, record: Option<KeyRecord>, now: Duration) -> Result<Option<Spending>, Failed> {
    Ok(store.with_spent(record.into_iter().collect(), now).await?.pop())
}

impl Create {
    fn key(self, now: Duration) -> Result<VirtualKey, String> {
        let expires = self.expires.map(|text| {
            let time = duration(&text).map(|after| now + after).or_else(|| date(&text));
            time.ok_or_else(|| format!("--expires {text}: must be a duration such as 30d, or a day such as 2030-01-31"))
        });
        if !VirtualKey::may_list(&self.models) {
            return Err("--models: must be up to 1000 names or patterns of 1 to 256 characters, separated by commas".to_owned());
        }
        let budget = self.budget_usd.map(|usd| {
            let budget = Budget::of_usd(usd, self.window.unwrap_or(Window::Month), false);
            budget.ok_or_else(|| "--budget-usd must be a number of dollars from 0 to 1000000000".to_owned())
        });
        let budget = budget.transpose()?.flatten();
        if self.window.is_some() && budget.is_none() {
            return Err("--window says when a budget begins anew, and there is none: give --budget-usd, too, or leave it out".to_owned());
        }
        Ok(VirtualKey {
            id: request_id(now, &mut seeded_rng()).into(),
            name: self.name.into(),
            models: self.models,
            rpm: self.rpm,
            tpm: self.tpm,
            concurrency: self.concurrency,
            budget,
            expires: expires.transpose()?,
            revoked: None,
            created: now,
        })
    }
}

fn show(shown: &Shown, json: bool) -> ExitCode {
    match shown {
        Shown::Unknown(id) => return wrong_use(&format!("there is no key {id:?}; stagedoor keys list")),
        Shown::Made((record, spent), secret) if json => {
            let mut document = document::key(record, *spent);
            document.insert("key".to_owned(), secret.expose().into());
            println!("{}", Value::Object(document));
        }
        Shown::Made((record, _), secret) => {
            println!("{}", secret.expose());
            println!("The key of {:?} (id {}), shown this once. Send it as: authorization: Bearer KEY", &*record.key.name, record.key.id);
            if let Some((_, until)) = record.old {
                println!("The old one works until {}.", written_date(until));
            }
        }
        Shown::Key((record, spent)) if json => println!("{}", Value::Object(document::key(record, *spent))),
        Shown::Key((record, _)) => println!("Done: {:?} (id {}) is {}.", &*record.key.name, record.key.id, state(record)),
        Shown::All(keys) if json => {
            let keys: Vec<_> = keys.iter().map(|(record, spent)| Value::Object(document::key(record, *spent))).collect();
            println!("{}", json!({ "data": keys }));
        }
        Shown::All(keys) => table(keys),
    }
    ExitCode::SUCCESS
}

fn table(keys: &[Spending]) {
    if keys.is_empty() {
        println!("There is no key yet: stagedoor keys create NAME");
        return;
    }
    let head = ["id", "name", "key", "models", "limits", "spent", "state"].map(str::to_owned);
    let row = |(record, spent): &Spending| {
        let key = &record.key;
        let prefix = format!("{}…", record.prefix);
        [
            key.id.to_string(),
            key.name.to_string(),
            prefix,
            key.models.join(","),
            limits(key),
            format!("${:.6}", document::usd(*spent)),
            state(record),
        ]
    };
    super::table(std::iter::once(head).chain(keys.iter().map(row)).collect());
}

fn limits(key: &VirtualKey) -> String {
    let counted = [("rpm", key.rpm), ("tpm", key.tpm), ("at once", key.concurrency)];
    let mut limits: Vec<String> = counted.iter().filter(|(_, limit)| *limit > 0).map(|(name, limit)| format!("{limit} {name}")).collect();
    limits.extend(key.budget.map(|budget| format!("${}/{}", budget.nanos as f64 / 1e9, budget.window.name())));
    if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
}

fn state(record: &KeyRecord) -> String {
    let now = Clock::start().wall();
    match (record.key.revoked, record.key.expires) {
        (Some(at), _) => format!("revoked {}", written_date(at)),
        (None, Some(at)) if at <= now => format!("expired {}", written_date(at)),
        (None, Some(at)) => format!("good until {}", written_date(at)),
        (None, None) => "good".to_owned(),
    }
}

fn wrong_use(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(WRONG_USE)
}

fn named(text: &str) -> Result<String, String> {
    let good = !text.trim().is_empty() && text.len() <= 128 && !text.chars().any(char::is_control);
    if good { Ok(text.to_owned()) } else { Err("must have 1 to 128 characters, none of them a control character".to_owned()) }
}

fn window(text: &str) -> Result<Window, String> {
    Window::named(text).ok_or_else(|| "must be day, week, month or total".to_owned())
}

fn span(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| "must be a duration such as 24h, or 0s".to_owned())
}
