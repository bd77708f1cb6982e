//! `stagedoor init`: the settings file that a newcomer begins with, every key with its unit and its reason. What is there
//! already is never written over.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::failed;
use crate::settings::{DEFAULT_FILE, DEFAULT_TEXT};

pub(super) fn run(file: Option<PathBuf>) -> ExitCode {
    let alone = file.is_some();
    let path = file.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    if let Err(error) = write_new(&path) {
        return match error.kind() {
            ErrorKind::AlreadyExists => failed(&format!("{} is there already, and stays as it is", path.display())),
            _ => failed(&format!("{} can't be written: {error}", path.display())),
        };
    }
    let option = if alone { format!(" --settings {}", path.display()) } else { String::new() };
    println!("wrote {}: every setting with its default, and the routing table", path.display());
    println!("next: put a provider's key into the environment or into .env, such as OPENAI_API_KEY=…");
    println!("      stagedoor check --live{option}");
    println!("      stagedoor serve{option}");
    ExitCode::SUCCESS
}

fn write_new(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create_new(path)?.write_all(DEFAULT_TEXT.as_bytes())
}
