//! The settings as an operator meets them: files and variables in, settings or every mistake out.

mod diff;
mod layers;
mod properties;
mod rules;
mod secrets;
mod shipped;
mod tls;

use super::*;

/// A working folder and an environment. The folder lives as long as this does.
struct Bench {
    folder: tempfile::TempDir,
    source: Source,
}

impl Bench {
    /// An empty folder and nothing in the environment.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = Source { folder: folder.path().to_owned(), ..Source::default() };
        Self { folder, source }
    }

    /// A folder whose one settings file stands alone.
    fn alone(text: &str) -> Self {
        let mut bench = Self::new().file("alone.toml", text);
        bench.source.settings_file = Some("alone.toml".into());
        bench
    }

    fn file(self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.source.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Settings {
        load(&self.source).unwrap_or_else(|invalid| panic!("{invalid}"))
    }

    /// The mistakes, one a line.
    fn mistakes(&self) -> String {
        load(&self.source).expect_err("should be refused").to_string()
    }

    /// The notes of a kind, as `path: message`.
    fn notes(&self, kind: NoteKind) -> Vec<String> {
        self.load().notes.iter().filter(|n| n.kind == kind).map(|n| format!("{}: {}", n.path, n.message)).collect()
    }
}

/// One provider without keys and one model of it: valid, and small enough to break one thing at a time.
const SMALL: &str = r#"
[providers.local]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
keys = []

[models.small]
targets = [{ provider = "local", model = "tiny" }]
"#;

/// A provider of that name at that address.
pub(super) fn provider(name: &str, base_url: &str) -> Provider {
    let row = format!("[providers.{name}]\ndialect = \"openai\"\nbase_url = \"{base_url}\"\nkeys = []\n");
    small_and(&row).load().providers.remove(name).unwrap()
}

/// `more` and [`SMALL`], in this order: `more` may have keys of the root.
fn small_and(more: &str) -> Bench {
    Bench::alone(&format!("{more}\n{SMALL}"))
}
