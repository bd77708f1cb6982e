//! The settings as an operator meets them: files and variables in, settings or every mistake out.

use super::*;

fn source(env: &[(&str, &str)]) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let source = Source { settings_file: None, folder: folder.path().to_owned(), env };
    (folder, source)
}

#[test]
fn with_no_key_the_rehearsal_serves_all_seven_models() {
    let (_folder, source) = source(&[]);
    let settings = load(&source).unwrap();
    assert!(settings.rehearsing);
    assert_eq!(settings.models.len(), 7);
    assert_eq!(settings.providers.keys().collect::<Vec<_>>(), ["rehearsal"]);
    for (name, model) in &settings.models {
        assert_eq!((model.targets[0].provider.as_str(), model.targets[0].model.as_str()), ("rehearsal", name.as_str()));
        assert_eq!(model.targets.len(), 2, "its own target stays, to say why it is out");
    }
    assert_eq!(settings.left_out["google"], ["GOOGLE_API_KEY"]);
    println!("{:#?}", settings.notes);
}
