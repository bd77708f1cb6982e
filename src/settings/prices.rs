//! The price table: what vendors charge for their models, as the `genai-prices` crate carries it or as a newer one says that
//! lies in `settings/prices.json`. Its floating-point dollars are turned into integer rates here, when a target is bound, and
//! nowhere else.
//!
//! A vendor is known by its address. Where an address says nothing (a proxy on the way out), by the provider's name, if that
//! is exactly the table's own name for a vendor: a local server's `llama` is nobody's price. What isn't known has no price.

use std::fmt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};

use super::door::is_loopback;
use super::types::{Dialect, Provider};
use super::url;
use crate::base::{Rates, Tariff};

/// The newer table's place within the working folder.
pub const PRICES_FILE: &str = "settings/prices.json";

/// Vendors that the table knows by these names. Reading it takes a twentieth of a second and some megabytes: a gateway to local
/// servers alone is spared that.
const VENDORS: &[&str] = &[
    "anthropic",
    "aws",
    "azure",
    "cerebras",
    "cohere",
    "deepseek",
    "fireworks",
    "google",
    "groq",
    "mistral",
    "moonshotai",
    "openai",
    "openrouter",
    "perplexity",
    "together",
    "x-ai",
    "zai",
];

/// No prompt is longer: rates are looked for up to here.
const LONGEST_PROMPT: u64 = 1 << 24;
/// More steps than any vendor has.
const MOST_STEPS: usize = 8;
/// Dollars a token in nano-dollars a million tokens.
const NANOS_A_MILLION: f64 = 1e15;

/// See the module's text.
#[derive(Default)]
pub struct PriceTable {
    newer: Option<Calculator>,
}

impl PriceTable {
    /// From the text of a table: JSON in the form of `genai-prices`' own data, version 2.
    ///
    /// # Errors
    /// In words, where it is none.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        match Calculator::from_json(text) {
            Ok(table) if table.providers().next().is_some() => Ok(Self { newer: Some(table) }),
            Ok(_) => Err("it holds no provider".into()),
            Err(error) => Err(error.to_string().chars().take(300).collect()),
        }
    }

    /// How many vendors and models are in it.
    pub fn size(&self) -> (usize, usize) {
        let vendors = || self.table().providers();
        (vendors().count(), vendors().map(|vendor| vendor.models().count()).sum())
    }

    /// What a provider's model costs at a time of day (since 1970); None where that isn't known.
    pub fn tariff(&self, provider: &Provider, model: &str, wall: Duration) -> Option<Tariff> {
        if provider.dialect == Dialect::Rehearsal {
            return None;
        }
        let remote = url::host(&provider.base_url).is_some_and(|host| !is_loopback(host));
        let by_address = remote.then(|| Question { table: self.table(), vendor: Vendor::At(&provider.base_url), model, wall });
        let known = VENDORS.contains(&&*provider.name);
        by_address.and_then(|question| question.tariff()).or_else(|| {
            let question = || Question { table: self.table(), vendor: Vendor::Called(&provider.name), model, wall };
            known.then(question)?.tariff()
        })
    }

    fn table(&self) -> &Calculator {
        self.newer.as_ref().unwrap_or_else(|| Calculator::bundled())
    }
}

impl fmt::Debug for PriceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriceTable").field("newer", &self.newer.is_some()).finish()
    }
}

/// Puts the table that `file` holds in the place where it is read from: beside it first, then in its place, so that a
/// gateway never reads half of one.
///
/// # Errors
/// In words, where it is no table or can't be put there.
pub fn update_prices(file: &Path, folder: &Path) -> Result<PriceTable, String> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| format!("{shown} can't be read: {error}"))?;
    let table = PriceTable::from_json(&text).map_err(|error| format!("{shown} is no price table: {error}"))?;
    let place = folder.join(PRICES_FILE);
    let beside = place.with_extension("json.new");
    let put = || {
        std::fs::create_dir_all(place.parent().unwrap_or(folder))?;
        std::fs::write(&beside, &text)?;
        std::fs::rename(&beside, &place)
    };
    put().map_err(|error| format!("{} can't be written: {error}", place.display()))?;
    Ok(table)
}

enum Vendor<'a> {
    At(&'a str),
    Called(&'a str),
}

struct Question<'a> {
    table: &'a Calculator,
    vendor: Vendor<'a>,
    model: &'a str,
    wall: Duration,
}

impl Question<'_> {
    fn tariff(&self) -> Option<Tariff> {
        let mut last = self.rates(1)?;
        // A table that prices neither (transcription by the hour, pictures by the piece) doesn't say what tokens cost.
        if last.input == 0 && last.output == 0 {
            return None;
        }
        let mut tariff = Tariff::flat(last);
        let mut from = 1;
        while self.rates(LONGEST_PROMPT)? != last && tariff.steps.len() < MOST_STEPS {
            let (mut same, mut other) = (from, LONGEST_PROMPT);
            while other - same > 1 {
                let middle = same + (other - same) / 2;
                if self.rates(middle)? == last { same = middle } else { other = middle }
            }
            (from, last) = (other, self.rates(other)?);
            tariff.steps.push((from, last));
        }
        Some(tariff)
    }

    /// The rates of a prompt of so many tokens.
    fn rates(&self, prompt: u64) -> Option<Rates> {
        let tokens = prompt as f64;
        let of_prompt = |class: Option<UsageKey>| {
            let asked = [(UsageKey::INPUT_TOKENS, tokens)].into_iter().chain(class.map(|class| (class, tokens)));
            rate(self.ask(&asked.collect())?.0, tokens)
        };
        let of_answer = |class: Option<UsageKey>| {
            let asked = [(UsageKey::INPUT_TOKENS, tokens), (UsageKey::OUTPUT_TOKENS, tokens)];
            rate(self.ask(&asked.into_iter().chain(class.map(|class| (class, tokens))).collect())?.1, tokens)
        };
        Some(Rates {
            input: of_prompt(None)?,
            cached: of_prompt(Some(UsageKey::CACHE_READ_TOKENS))?,
            cache_write: of_prompt(Some(UsageKey::CACHE_WRITE_TOKENS))?,
            audio_input: of_prompt(Some(UsageKey::INPUT_AUDIO_TOKENS))?,
            output: of_answer(None)?,
            reasoning: of_answer(Some(UsageKey::OUTPUT_REASONING_TOKENS))?,
            audio_output: of_answer(Some(UsageKey::OUTPUT_AUDIO_TOKENS))?,
        })
    }

    /// What prompt and answer of such a usage cost.
    fn ask(&self, usage: &Usage) -> Option<(f64, f64)> {
        let request = PriceRequest::new(self.model, usage).with_timestamp(UNIX_EPOCH.checked_add(self.wall)?);
        let request = match self.vendor {
            Vendor::At(address) => request.with_provider_api_url(address),
            Vendor::Called(name) => request.with_provider_id(name),
        };
        let price = self.table.calculate(&request).ok()?;
        Some((price.input_price, price.output_price))
    }
}

/// Nano-dollars a million tokens, where so many cost so many dollars.
fn rate(usd: f64, tokens: f64) -> Option<u64> {
    let rate = (usd / tokens * NANOS_A_MILLION).round();
    (0.0..=1e18).contains(&rate).then_some(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::super::tests::provider;
    use super::*;

    const NOON: Duration = Duration::from_secs(1_790_000_000 / 86_400 * 86_400 + 12 * 3_600);

    fn tariff(name: &str, base_url: &str, model: &str, wall: Duration) -> Option<Tariff> {
        PriceTable::default().tariff(&provider(name, base_url), model, wall)
    }

    #[test]
    fn a_vendor_is_known_by_its_address() {
        let gpt = tariff("mine", "https://api.openai.com/v1", "gpt-4o-2024-08-06", NOON).unwrap();
        let expected = Rates { cached: 1_250_000_000, ..Rates::new(2_500_000_000, 10_000_000_000) };
        assert_eq!(gpt, Tariff::flat(expected), "what has no price of its own costs the same as what it is a part of");
        assert_eq!(tariff("mine", "https://api.openai.com/v1", "no-such-model", NOON), None);
        assert_eq!(tariff("mine", "https://llm.example.com/v1", "gpt-4o", NOON), None);
        assert_eq!(tariff("ollama", "http://127.0.0.1:11434/v1", "gpt-4o", NOON), None);
        assert_eq!(tariff("openai", "http://127.0.0.1:9/v1", "gpt-4o", NOON).map(|tariff| tariff.rates), Some(expected));
        assert!(VENDORS.iter().all(|name| Calculator::bundled().providers().any(|vendor| vendor.id() == *name)));
    }

    #[test]
    fn long_prompts_and_hours_have_their_own() {
        let claude = tariff("anthropic", "https://api.anthropic.com/v1", "claude-sonnet-4-5", NOON).unwrap();
        assert_eq!((claude.rates.input, claude.rates.cache_write), (3_000_000_000, 3_750_000_000));
        assert_eq!(claude.steps.iter().map(|(from, rates)| (*from, rates.output)).collect::<Vec<_>>(), [(200_001, 22_500_000_000)]);
        let deepseek = |hour: u64| {
            let wall = NOON - Duration::from_secs(12 * 3_600) + Duration::from_secs(hour * 3_600);
            tariff("deepseek", "https://api.deepseek.com/v1", "deepseek-flash", wall).unwrap().rates.input
        };
        assert_eq!((deepseek(0), deepseek(2), deepseek(5)), (150_000_000, 300_000_000, 150_000_000));
    }

    #[test]
    fn a_newer_table_is_put_in_place_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new.json");
        std::fs::write(&file, r#"[{"id":"openai","name":"O","api_pattern":"https://api\\.openai\\.com","models":[]}]"#).unwrap();
        let bad = folder.path().join("bad.json");
        std::fs::write(&bad, "{}").unwrap();
        assert!(update_prices(&bad, folder.path()).unwrap_err().contains("is no price table"));
        assert!(update_prices(&folder.path().join("none.json"), folder.path()).unwrap_err().contains("can't be read"));
        assert!(!folder.path().join(PRICES_FILE).exists());
        let table = update_prices(&file, folder.path()).unwrap();
        assert_eq!(table.size(), (1, 0));
        assert_eq!(std::fs::read(folder.path().join(PRICES_FILE)).unwrap(), std::fs::read(&file).unwrap());
        assert_eq!(table.tariff(&provider("openai", "https://api.openai.com/v1"), "gpt-4o", NOON), None, "the newer one alone holds");
    }
}
