//! Local files: the folder that is served at an origin, and the URLs of its files and pages.
//!
//! Invariant: what comes from here is a secure context, or is refused with the remedy.

use std::path::{Path, PathBuf};

use kittiwake::{PageSource, page_from_file};
use url::Url;

use crate::run::RunOptions;
use crate::{Refusal, usage};

/// The folder that is served at an origin, and the URLs of its files.
pub struct LocalFiles {
    /// Where they are served.
    pub origin: Url,
    /// What is served, if anything.
    pub root: Option<PathBuf>,
}

impl LocalFiles {
    /// What the options say, or imply.
    pub fn from(options: &RunOptions, remote: Option<&Url>) -> Result<Self, Refusal> {
        if let Some(url) = remote {
            if options.root.is_some() || options.origin.is_some() {
                return usage(format!(
                    "{url} is served by its own server; leave out --root, --origin"
                ));
            }
            return Ok(LocalFiles { origin: url.join("/").unwrap_or(url.clone()), root: None });
        }
        let origin = options.origin.clone().unwrap_or_else(default_origin);
        let first = options.target.as_ref().or(options.page.iter().find(|p| url_of(p).is_none()));
        let folder = first.map(|file| match Path::new(file).parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        });
        Ok(LocalFiles { origin, root: options.root.clone().or(folder) })
    }

    /// The URL under which the file is served.
    pub fn url_of(&self, file: &Path) -> Result<Url, Refusal> {
        let shown = file.display();
        let path = file.canonicalize();
        let path =
            path.map_err(|error| Refusal::Failure(format!("cannot read {shown}: {error}")))?;
        let root = self.root.as_deref().unwrap_or(Path::new("."));
        let canonical = root.canonicalize().map_err(|error| {
            Refusal::Failure(format!("cannot read the folder {}: {error}", root.display()))
        })?;
        let relative = path.strip_prefix(&canonical).map_err(|_| {
            format!("{shown} is not under the served folder {}; give --root", root.display())
        })?;
        let mut url = self.origin.clone();
        let segments = relative.iter().map(|segment| segment.to_string_lossy());
        url.path_segments_mut().expect("an http URL has segments").clear().extend(segments);
        Ok(url)
    }

    /// A page from a file. One outside the served folder counts as lying in it.
    pub fn page(&self, file: &Path) -> Result<(Url, PageSource), Refusal> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Refusal::Failure(format!("cannot read {}: {error}", file.display()))
        })?;
        let url = self.url_of(file).or_else(|_| {
            let mut url = self.origin.clone();
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            url.path_segments_mut().expect("an http URL has segments").clear().push(&name);
            Ok::<_, Refusal>(url)
        })?;
        Ok(page_from_file(url, text))
    }
}

/// Where local files are served unless an option says otherwise.
pub fn default_origin() -> Url {
    Url::parse("https://app.test").expect("a URL")
}

/// A text that is a URL and not a file's name.
pub fn url_of(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

/// <https://w3c.github.io/webappsec-secure-contexts/#is-origin-trustworthy>
pub fn require_secure(url: Url) -> Result<Url, String> {
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err(format!(
            "{url} is no secure context; service workers need https, or http on this \
                          machine"
        )),
    }
}

/// The value of `--origin`.
pub fn parse_origin(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}; write https://app.test"))?;
    let url = require_secure(url)?;
    match url.path() {
        "/" if url.query().is_none() => Ok(url),
        path => Err(format!("an origin has no path; leave out `{path}`")),
    }
}
