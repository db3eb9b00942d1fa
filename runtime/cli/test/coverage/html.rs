//! The report for a browser: a page with all files, and one for each. They need nothing beside
//! them.
//!
//! Invariant: whatever a file or its name holds is text on its page, never markup.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::files::{FileCoverage, Files, Share, Shares};

const STYLE: &str = include_str!("report.css");

/// Names and texts of the pages.
pub fn pages(files: &Files) -> Vec<(String, String)> {
    let names = page_names(files);
    let mut pages = vec![("index.html".to_owned(), index(files, &names))];
    for (name, file) in files {
        pages.push((names[name].clone(), file_page(name, file)));
    }
    pages
}

/// A page's file name for each file, all in one folder.
fn page_names(files: &Files) -> BTreeMap<&String, String> {
    let mut taken = BTreeSet::from(["index.html".to_owned()]);
    let mut names = BTreeMap::new();
    for name in files.keys() {
        let plain: String = name
            .chars()
            .map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .collect();
        let plain = plain.trim_matches(['-', '.']).to_owned();
        let mut page = format!("{plain}.html");
        let mut number = 2;
        while !taken.insert(page.to_lowercase()) {
            page = format!("{plain}-{number}.html");
            number += 1;
        }
        names.insert(name, page);
    }
    names
}

fn index(files: &Files, names: &BTreeMap<&String, String>) -> String {
    let mut rows = String::new();
    for (name, file) in files {
        let Shares { lines, branches, functions } = file.shares();
        let cells = [lines, branches, functions].map(cells).concat();
        let (href, name) = (escaped(&names[name]), escaped(name));
        writeln!(rows, "<tr><th><a href=\"{href}\">{name}</a></th>{cells}</tr>").expect(TAKES);
    }
    let body = format!(
        "<header><h1>Coverage</h1>{}</header>\n<table class=\"files\">\n<thead><tr><th>File</th>\
         <th colspan=\"3\">Lines</th><th colspan=\"3\">Branches</th><th colspan=\"3\">Functions\
         </th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n",
        gauges(Shares::of_all(files)),
    );
    page("Coverage", &body)
}

fn file_page(name: &str, file: &FileCoverage) -> String {
    let name = escaped(name);
    let mut body = format!(
        "<header><p><a href=\"index.html\">All files</a></p><h1>{name}</h1>{}</header>\n",
        gauges(file.shares())
    );
    let lines = file.lines();
    let Some(text) = &file.text else {
        body.push_str("<p>The source map does not bring this file, and it is not on disk.</p>\n");
        return page(&name, &body);
    };
    body.push_str("<table class=\"source\">\n");
    for (number, line) in (1..).zip(text.lines()) {
        let count = lines.get(&number);
        let class = match count {
            None => "",
            Some(0) => " class=\"no\"",
            Some(_) => " class=\"yes\"",
        };
        let times = count.map(|count| format!("{count}×")).unwrap_or_default();
        let code = match count {
            Some(0) => escaped(line),
            _ => marked(line, &missed_in(file, number, line)),
        };
        writeln!(
            body,
            "<tr{class} id=\"L{number}\"><td class=\"n\"><a href=\"#L{number}\">{number}</a></td>\
             <td class=\"t\">{times}</td><td class=\"c\">{code}</td></tr>"
        )
        .expect(TAKES);
    }
    body.push_str("</table>\n");
    page(&name, &body)
}

/// The columns of a line that did not run, where it is not all of it.
fn missed_in(file: &FileCoverage, line: u32, text: &str) -> Vec<(usize, usize)> {
    let length = text.encode_utf16().count();
    let branches = file.branches.iter().filter(|(_, count)| **count == 0);
    let branches = branches.map(|(branch, _)| (branch.start, branch.end));
    let functions = file.functions.iter().filter(|(_, function)| function.count == 0);
    let functions = functions.map(|(start, function)| (*start, function.end));
    let mut missed: Vec<_> = branches
        .chain(functions)
        .filter(|(start, end)| start.line <= line && line <= end.line)
        .map(|(start, end)| {
            let from = if start.line == line { start.column as usize } else { 0 };
            let to = if end.line == line { end.column as usize } else { length };
            (from, to.min(length))
        })
        .filter(|(from, to)| from < to)
        .collect();
    missed.sort_unstable();
    missed
}

/// The line with marks around these columns, which are in their order and may overlap.
fn marked(line: &str, missed: &[(usize, usize)]) -> String {
    let is_missed = |column: usize| missed.iter().any(|(from, to)| (*from..*to).contains(&column));
    let (mut marked, mut column, mut open) = (String::new(), 0, false);
    for character in line.chars() {
        let mark = is_missed(column) && (open || !character.is_whitespace());
        if mark != open {
            marked.push_str(if mark { "<mark>" } else { "</mark>" });
            open = mark;
        }
        marked.push_str(&escaped(character.encode_utf8(&mut [0; 4])));
        column += character.len_utf16();
    }
    if open {
        marked.push_str("</mark>");
    }
    marked
}

fn gauges(shares: Shares) -> String {
    let told =
        [("lines", shares.lines), ("branches", shares.branches), ("functions", shares.functions)];
    let gauge = |(name, share): (&str, Share)| {
        let (percent, bar) = (percent(share), bar(share));
        let Share { covered, all } = share;
        format!("<div><b>{percent}</b> {name} <small>{covered} of {all}</small>{bar}</div>")
    };
    format!("<div class=\"gauges\">{}</div>", told.map(gauge).concat())
}

fn cells(share: Share) -> String {
    let Share { covered, all } = share;
    let (percent, bar) = (percent(share), bar(share));
    format!(
        "<td class=\"b\">{bar}</td><td class=\"p\">{percent}</td>\
         <td class=\"o\">{covered}/{all}</td>"
    )
}

fn bar(share: Share) -> String {
    let percent = share.percent();
    let class = match percent {
        _ if share.all == 0 => "none",
        percent if percent >= 80.0 => "good",
        percent if percent >= 50.0 => "fair",
        _ => "bad",
    };
    format!("<span class=\"bar {class}\"><i style=\"width:{percent:.2}%\"></i></span>")
}

fn percent(share: Share) -> String {
    match share.all {
        0 => "–".to_owned(),
        _ => format!("{:.2} %", share.percent()),
    }
}

/// `title` and `body` are markup.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{body}</body>\n</html>\n"
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const TAKES: &str = "a string takes all";
