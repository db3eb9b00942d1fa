//! From a script as it was compiled to the files that people wrote: the file itself, the document
//! that it stands in, or what a bundle was made from.
//!
//! Invariant: what no file can be named for, as a bundler's own code, belongs to no file.

use std::path::{Component, Path, PathBuf};

use kittiwake::ScriptCoverage;
use sourcemap::SourceMap;
use url::Url;

use crate::test::source_maps::{Sources, map_of};

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// 1-based.
    pub line: u32,
    /// 0-based, in UTF-16 code units.
    pub column: u32,
}

/// A file that a script was made from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    /// From the folder in which the command was started, if it is below that; else its whole path,
    /// or its URL.
    pub name: String,
    /// `None` if it is not to be had.
    pub text: Option<String>,
}

/// What begins so does nothing when it runs: a place there is that of a bundler's own statement.
const NO_STATEMENTS: [&str; 6] = ["}", "//", "/*", "import ", "import{", "export "];

/// How many places from a function's start on, in both directions, its name may be.
const NEAR: usize = 4;

/// Finds the places of one script.
pub struct Script {
    lines: Lines,
    /// Its text.
    units: Vec<u16>,
    files: Vec<SourceFile>,
    made: Made,
}

/// How places of the script become places of a file.
enum Made {
    /// It is a file, or stands in one from this place on.
    In(Place),
    /// By a bundler or a compiler: its places in order, each with what it was made from.
    From(Vec<Mapped>),
}

/// A stretch of the script, up to the next one or the end of its line.
#[derive(Clone)]
struct Mapped {
    line: u32,
    column: u32,
    origin: Option<Origin>,
}

#[derive(Clone)]
struct Origin {
    file: usize,
    place: Place,
    name: Option<String>,
}

/// A stretch of a file.
pub struct Stretch {
    /// By number.
    pub file: usize,
    pub start: Place,
    pub end: Place,
    /// What a name is called there.
    pub name: Option<String>,
}

impl Script {
    /// Looks for the script's file, and for its source map.
    pub fn new(script: &ScriptCoverage, sources: &Sources<'_>) -> Self {
        let lines = Lines::new(&script.source);
        let units = script.source.encode_utf16().collect();
        let path = Url::parse(&script.url).ok().and_then(|url| sources.document_of(&url));
        if let Some((map, base)) = map_of(&script.source, path.as_deref()) {
            let (files, mapped) = mapped(&map, &base, sources.root);
            return Script { lines, units, files, made: Made::From(mapped) };
        }
        let (file, start) = match path.and_then(|path| standing_in(&path, &script.source)) {
            Some((file, start)) => (file, start),
            // A server of the test's gave it, and nobody has it as a file.
            None => {
                let text = Some(script.source.to_string());
                let name = script.url.split(['?', '#']).next().unwrap_or_default().to_owned();
                (SourceFile { name, text }, Place { line: 1, column: 0 })
            }
        };
        Script { lines, units, files: vec![file], made: Made::In(start) }
    }

    /// What the script was made from.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The file by number, and the place in it, of a statement. A bundler's own have none.
    pub fn statement_at(&self, offset: u32) -> Option<(usize, Place)> {
        let (line, column) = self.lines.place_of(offset);
        let mapped = match &self.made {
            Made::In(start) => return Some((0, moved(*start, line, column))),
            Made::From(mapped) => mapped,
        };
        let behind = mapped.partition_point(|each| (each.line, each.column) <= (line, column));
        let last = mapped[..behind].last().filter(|each| each.line == line)?;
        let origin = last.origin.as_ref()?;
        let text = self.files[origin.file].text.as_deref();
        let text = text.and_then(|text| text_at(text, origin.place)).unwrap_or("?");
        let is_statement = !NO_STATEMENTS.iter().any(|start| text.starts_with(start));
        is_statement.then_some((origin.file, origin.place))
    }

    /// The stretch of a file that a function comes from. One without a place of its own is the
    /// bundler's.
    pub fn function_at(&self, start: u32, end: u32, name: &str) -> Option<Stretch> {
        let stretch = self.stretch_of(start, end)?;
        let Made::From(mapped) = &self.made else { return Some(stretch) };
        let own = self.lines.place_of(start);
        let behind = mapped.partition_point(|each| (each.line, each.column) <= own);
        let last = mapped[..behind].last().filter(|each| each.line == own.0)?;
        // `async`, `get`, `static *` may stand between the two.
        let between = self.text_between(last, start);
        let is_word = |unit: &u16| {
            char::from_u32(u32::from(*unit))
                .is_some_and(|c| c.is_alphanumeric() || " *#".contains(c))
        };
        let origin = last.origin.as_ref().filter(|_| between.iter().all(is_word))?;
        let text = self.files[origin.file].text.as_deref();
        let text = text.and_then(|text| text_at(text, origin.place));
        if name.is_empty() && text.is_some_and(|text| !begins_function(text)) {
            return None;
        }
        // Its name stands at its start, or shortly before or behind.
        let near = &mapped[behind.saturating_sub(NEAR)..(behind + NEAR).min(mapped.len())];
        let names = |each: &&Mapped| {
            let units: Vec<u16> = name.encode_utf16().collect();
            !name.is_empty() && self.text_from(each).starts_with(&units)
        };
        let named = near.iter().find(names).and_then(|each| each.origin.as_ref());
        let name = named.and_then(|origin| origin.name.clone());
        Some(Stretch { name, ..stretch })
    }

    /// The stretch of a file that a part of the script comes from.
    pub fn stretch_of(&self, start: u32, end: u32) -> Option<Stretch> {
        let (first, last) = (self.lines.place_of(start), self.lines.place_of(end));
        let mapped = match &self.made {
            Made::In(from) => {
                let (start, end) = (moved(*from, first.0, first.1), moved(*from, last.0, last.1));
                return Some(Stretch { file: 0, start, end, name: None });
            }
            Made::From(mapped) => mapped,
        };
        let begin = mapped.partition_point(|each| (each.line, each.column) < first);
        let behind = mapped.partition_point(|each| (each.line, each.column) < last);
        let inside = &mapped[begin..behind.max(begin)];
        let origin = inside.iter().find_map(|each| each.origin.as_ref())?;
        let same = |each: &&Origin| each.file == origin.file && each.place >= origin.place;
        let ends = inside.iter().filter_map(|each| each.origin.as_ref()).filter(same);
        let last = ends.map(|each| each.place).max().unwrap_or(origin.place);
        let text = self.files[origin.file].text.as_deref();
        let length = text.and_then(|text| text_at(text, last)).map_or(1, word_length);
        let end = Place { column: last.column + length, ..last };
        Some(Stretch { file: origin.file, start: origin.place, end, name: None })
    }

    fn text_from(&self, mapped: &Mapped) -> &[u16] {
        let start = self.lines.offset_of(mapped.line, mapped.column) as usize;
        self.units.get(start..).unwrap_or_default()
    }

    fn text_between(&self, mapped: &Mapped, end: u32) -> &[u16] {
        let start = self.lines.offset_of(mapped.line, mapped.column);
        self.units.get(start as usize..end as usize).unwrap_or_default()
    }
}

/// A file's text from a place to the end of its line.
fn text_at(text: &str, place: Place) -> Option<&str> {
    let line = text.lines().nth(place.line.checked_sub(1)? as usize)?;
    let mut column = 0;
    let mut starts = line.char_indices().skip_while(|(_, character)| {
        let is_before = column < place.column;
        column += character.len_utf16() as u32;
        is_before
    });
    starts.next().map(|(start, _)| &line[start..])
}

/// Whether a text begins with a function that has no name.
fn begins_function(text: &str) -> bool {
    ["(", "function", "async", "<"].iter().any(|start| text.starts_with(start))
        || text.contains("=>")
}

/// How long the word, number or string is that a text begins with, in UTF-16 code units.
fn word_length(text: &str) -> u32 {
    let mut characters = text.chars();
    let length = |text: &mut dyn Iterator<Item = char>| text.map(char::len_utf16).sum::<usize>();
    let length = match characters.next() {
        Some(quote @ ('"' | '\'' | '`')) => {
            2 + length(&mut characters.take_while(|character| *character != quote))
        }
        Some(first) if first.is_alphanumeric() => length(
            &mut text.chars().take_while(|each| each.is_alphanumeric() || "_$".contains(*each)),
        ),
        _ => 1,
    };
    length as u32
}

/// A place of a script that begins at `start` of a file.
fn moved(start: Place, line: u32, column: u32) -> Place {
    let column = if line == 0 { start.column + column } else { column };
    Place { line: start.line + line, column }
}

/// Where lines begin, in UTF-16 code units.
struct Lines(Vec<u32>);

impl Lines {
    fn new(text: &str) -> Self {
        let mut starts = vec![0];
        let mut offset = 0;
        for character in text.chars() {
            offset += character.len_utf16() as u32;
            if character == '\n' {
                starts.push(offset);
            }
        }
        Lines(starts)
    }

    /// 0-based line and column.
    fn place_of(&self, offset: u32) -> (u32, u32) {
        let line = self.0.partition_point(|start| *start <= offset) - 1;
        (line as u32, offset - self.0[line])
    }

    fn offset_of(&self, line: u32, column: u32) -> u32 {
        self.0.get(line as usize).map_or(u32::MAX, |start| start + column)
    }
}

/// The file that has the source in it, and from where on.
fn standing_in(path: &Path, source: &str) -> Option<(SourceFile, Place)> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let file = |text: &str| SourceFile { name: name_of(path), text: Some(text.to_owned()) };
    if text == source {
        return Some((file(text), Place { line: 1, column: 0 }));
    }
    // A document's parser knows one kind of line end.
    let text = text.replace("\r\n", "\n");
    let before = &text[..text.find(source).filter(|_| !source.is_empty())?];
    let line = before.matches('\n').count() as u32 + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().encode_utf16().count() as u32;
    Some((file(&text), Place { line, column }))
}

/// The files of a map, and its places in their order.
fn mapped(map: &SourceMap, base: &Path, root: &Path) -> (Vec<SourceFile>, Vec<Mapped>) {
    let files: Vec<_> = (0..map.get_source_count())
        .map(|number| {
            let (name, path) = original(map.get_source(number).unwrap_or_default(), base, root);
            let own = map.get_source_contents(number).map(str::to_owned);
            let text = own.or_else(|| std::fs::read_to_string(path?).ok());
            SourceFile { name, text }
        })
        .collect();
    let origin = |token: &sourcemap::Token<'_>| {
        let place = Place { line: token.get_src_line() + 1, column: token.get_src_col() };
        let file = token.get_src_id() as usize;
        let name = token.get_name().map(str::to_owned);
        token.has_source().then_some(Origin { file, place, name })
    };
    let mut mapped: Vec<_> = map
        .tokens()
        .map(|token| Mapped {
            line: token.get_dst_line(),
            column: token.get_dst_col(),
            origin: origin(&token),
        })
        .collect();
    mapped.sort_by_key(|each| (each.line, each.column));
    (files, mapped)
}

/// A source's name for people, and its path. Bundlers write `webpack://app/./src/a.js`.
fn original(source: &str, base: &Path, root: &Path) -> (String, Option<PathBuf>) {
    if let Ok(url) = Url::parse(source)
        && let Ok(path) = url.to_file_path()
    {
        return (name_of(&path), Some(path));
    }
    if let Some((_, rest)) = source.split_once("://") {
        let path = rest.split_once('/').map_or(rest, |(_, path)| path);
        let path = path.split('?').next().unwrap_or_default();
        let plain = normal(Path::new(path));
        let found = [Path::new("."), root].map(|folder| folder.join(&plain));
        return match found.into_iter().find(|path| path.is_file()) {
            Some(path) => (name_of(&path), Some(path)),
            None => (plain.to_string_lossy().into_owned(), None),
        };
    }
    let path = normal(&base.with_file_name("").join(source));
    (name_of(&path), Some(path))
}

/// As a person in this folder would name it, with slashes.
fn name_of(path: &Path) -> String {
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
    let whole = path.canonicalize().unwrap_or_else(|_| normal(&here.join(path)));
    let name = whole.strip_prefix(&here).unwrap_or(&whole);
    name.to_string_lossy().replace('\\', "/")
}

/// Without `.` and `..`, as far as that goes without asking the disk.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if normal.file_name().is_some() => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
