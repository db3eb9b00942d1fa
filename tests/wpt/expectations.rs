//! The project's own expectations are explained.

use std::path::Path;

use toml::Value;

#[test]
fn every_expected_failure_has_a_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wpt");
    let mut areas = 0;
    for entry in std::fs::read_dir(folder).expect("a folder of the project") {
        let path = entry.expect("an entry of it").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a text");
        let area: toml::Table = toml::from_str(&text).expect("expectations are TOML");
        let table = |name| area.get(name).and_then(Value::as_table).cloned().unwrap_or_default();
        let reasons = table("reasons");
        for (name, reason) in &reasons {
            let words = reason.as_str().unwrap_or_default().split_whitespace().count();
            assert!(words >= 4, "{}: `{name}` is no reason: {reason}", path.display());
        }
        for (test, expected) in &table("file") {
            for reason in reasons_of(expected) {
                let shown = path.display();
                assert!(reasons.contains_key(&reason), "{shown}: {test} fails, `{reason}`");
            }
        }
        areas += 1;
    }
    assert!(areas > 10, "too few areas were found: {areas}");
}

fn reasons_of(expected: &Value) -> Vec<String> {
    let lists = ["fail", "flaky"].into_iter().filter_map(|kind| expected.get(kind)?.as_table());
    let lists = lists.flat_map(|reasons| reasons.keys().cloned());
    let words = ["because", "skip"].into_iter().filter_map(|key| expected.get(key)?.as_str());
    lists.chain(words.map(str::to_owned)).collect()
}
