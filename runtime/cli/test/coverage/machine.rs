//! For machines: lcov's format, and Istanbul's.
//!
//! Invariant: both say the same, and the same as the table.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::files::{FileCoverage, Files};
use super::scripts::Place;

/// <https://github.com/linux-test-project/lcov/blob/master/man/geninfo.1>, "TRACEFILE FORMAT".
pub fn lcov(files: &Files) -> String {
    let mut text = String::new();
    for (name, file) in files {
        lcov_file(&mut text, name, file).expect("a string takes all");
    }
    text
}

fn lcov_file(text: &mut String, name: &str, file: &FileCoverage) -> std::fmt::Result {
    let shares = file.shares();
    writeln!(text, "TN:\nSF:{name}")?;
    let names: Vec<_> = function_names(file);
    for ((place, _), name) in file.functions.iter().zip(&names) {
        writeln!(text, "FN:{},{name}", place.line)?;
    }
    for (function, name) in file.functions.values().zip(&names) {
        writeln!(text, "FNDA:{},{name}", function.count)?;
    }
    writeln!(text, "FNF:{}\nFNH:{}", shares.functions.all, shares.functions.covered)?;
    for (number, (branch, count)) in file.branches.iter().enumerate() {
        writeln!(text, "BRDA:{},{number},0,{count}", branch.start.line)?;
    }
    writeln!(text, "BRF:{}\nBRH:{}", shares.branches.all, shares.branches.covered)?;
    for (line, count) in file.lines() {
        writeln!(text, "DA:{line},{count}")?;
    }
    writeln!(text, "LF:{}\nLH:{}\nend_of_record", shares.lines.all, shares.lines.covered)
}

/// What Istanbul's tools write and read as `coverage-final.json`.
pub fn json(files: &Files) -> String {
    let files: Map<_, _> =
        files.iter().map(|(name, file)| (name.clone(), json_file(name, file))).collect();
    format!("{:#}\n", Value::Object(files))
}

fn json_file(name: &str, file: &FileCoverage) -> Value {
    let place = |place: Place| json!({ "line": place.line, "column": place.column });
    let range = |start, end| json!({ "start": place(start), "end": place(end) });
    let lengths: Vec<_> = file.text.iter().flat_map(|text| text.lines()).collect();
    let line_end = |start: Place| {
        let line = lengths.get(start.line as usize - 1);
        let length = line.map(|line| line.encode_utf16().count() as u32);
        Place { column: length.unwrap_or(start.column), ..start }
    };
    let numbered = |values: Vec<Value>| {
        let values = values.into_iter().enumerate();
        Value::Object(values.map(|(number, value)| (number.to_string(), value)).collect())
    };
    let statements = file.statements.keys().map(|start| range(*start, line_end(*start)));
    let functions = file.functions.iter().zip(function_names(file));
    let functions = functions.map(|((start, function), name)| {
        let all = range(*start, function.end);
        json!({ "name": name, "decl": all, "loc": all, "line": start.line })
    });
    let branches = file.branches.keys().map(|branch| {
        let all = range(branch.start, branch.end);
        json!({ "type": "branch", "line": branch.start.line, "loc": all, "locations": [all] })
    });
    json!({
        "path": name,
        "all": false,
        "statementMap": numbered(statements.collect()),
        "s": numbered(file.statements.values().map(|count| json!(count)).collect()),
        "fnMap": numbered(functions.collect()),
        "f": numbered(file.functions.values().map(|each| json!(each.count)).collect()),
        "branchMap": numbered(branches.collect()),
        "b": numbered(file.branches.values().map(|count| json!([count])).collect()),
    })
}

/// Names that are there once: lcov tells functions apart by them.
fn function_names(file: &FileCoverage) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (place, function) in &file.functions {
        let name = match function.name.as_str() {
            "" => format!("(anonymous:{}:{})", place.line, place.column + 1),
            name => name.to_owned(),
        };
        let is_new = !names.contains(&name);
        names.push(if is_new { name } else { format!("{name}:{}", place.line) });
    }
    names
}
