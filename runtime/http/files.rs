//! One origin whose server is a folder of files.
//!
//! Invariant: no path reaches a file outside the folder, neither by `..` nor by a symbolic link.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use url::{Origin, Url};

use super::{
    Http, HttpError, HttpRequest, HttpResponse, Loaded, UpgradedConnection, WebSocketRequest,
    status_text, whole_body,
};

/// Answers one origin from files and passes every other request on. It asks no network, so it works
/// offline unless a [`Gate`](super::Gate) stands in front of it.
pub struct OriginFiles {
    origin: Origin,
    root: Root,
    /// Who is asked for what is no file.
    has_upstream: bool,
    inner: Box<dyn Http>,
}

/// The folder of an origin. Clones are the same: what is set at one, holds for all.
#[derive(Clone)]
pub struct Root(Rc<RootState>);

struct RootState {
    /// Canonical, so that a file's canonical path can be compared with it.
    folder: RefCell<PathBuf>,
    /// The files that were asked for, there or not, if somebody wants to know.
    asked: RefCell<Option<BTreeSet<PathBuf>>>,
}

impl Root {
    /// Fails if the folder is not there.
    fn new(folder: &Path) -> io::Result<Root> {
        let folder = RefCell::new(folder.canonicalize()?);
        Ok(Root(Rc::new(RootState { folder, asked: RefCell::default() })))
    }

    /// Serves another folder from now on. Fails, and changes nothing, if it is not there.
    pub fn set(&self, folder: &Path) -> io::Result<()> {
        *self.0.folder.borrow_mut() = folder.canonicalize()?;
        Ok(())
    }

    /// From now on, keeps in mind which files are asked for.
    pub fn note_asked(&self) {
        self.0.asked.borrow_mut().get_or_insert_default();
    }

    /// Those so far, there or not.
    pub fn asked(&self) -> BTreeSet<PathBuf> {
        self.0.asked.borrow().clone().unwrap_or_default()
    }

    fn folder(&self) -> PathBuf {
        self.0.folder.borrow().clone()
    }

    fn note(&self, file: &Path) {
        if let Some(asked) = &mut *self.0.asked.borrow_mut() {
            asked.insert(file.to_owned());
        }
    }
}

impl OriginFiles {
    /// Serves the files under `root` as the origin of `origin`, whose path is ignored. Fails if
    /// `root` is not there.
    pub fn new(origin: &Url, root: &Path, inner: Box<dyn Http>) -> io::Result<OriginFiles> {
        let root = Root::new(root)?;
        Ok(OriginFiles { origin: origin.origin(), root, has_upstream: false, inner })
    }

    /// Leaves to the door behind it what it has no file for, instead of answering that.
    pub fn in_front_of_upstream(self) -> OriginFiles {
        OriginFiles { has_upstream: true, ..self }
    }

    /// Where the files are.
    pub fn root(&self) -> Root {
        self.root.clone()
    }

    fn answers(&self, method: &str, url: &Url) -> bool {
        let is_file = || {
            let root = self.root.folder();
            let path = percent_decoded(url.path())
                .map(|path| root.join(path.trim_start_matches('/')).canonicalize());
            matches!(path, Some(Ok(path)) if path.starts_with(&root) && path.is_file())
        };
        url.origin() == self.origin
            && (!self.has_upstream || matches!(method, "GET" | "HEAD") && is_file())
    }

    fn answer(&self, method: &str, url: &Url) -> Answer {
        if !matches!(method, "GET" | "HEAD") {
            let body = format!("{method} is not possible: {url} is a file\n");
            return Answer { allow: Some("GET, HEAD"), ..Answer::text(405, body) };
        }
        match self.read(url.path()) {
            Ok((path, body)) => {
                Answer { status: 200, content_type: content_type(&path), allow: None, body }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    Answer::text(404, format!("no file for {}\n", url.path()))
                }
                _ => Answer::text(500, format!("no file for {}: {error}\n", url.path())),
            },
        }
    }

    /// Reads the file for a URL's path; `NotFound` also if it would lie outside the root. The files
    /// are local and small, so the thread waits for them.
    fn read(&self, url_path: &str) -> io::Result<(PathBuf, Vec<u8>)> {
        let not_found = || io::Error::from(io::ErrorKind::NotFound);
        let decoded = percent_decoded(url_path).ok_or_else(not_found)?;
        let root = self.root.folder();
        let wanted = root.join(decoded.trim_start_matches('/'));
        let wanted = if wanted.is_dir() { wanted.join("index.html") } else { wanted };
        self.root.note(&wanted);
        let path = wanted.canonicalize()?;
        if !path.starts_with(&root) {
            return Err(not_found());
        }
        let body = std::fs::read(&path)?;
        Ok((path, body))
    }
}

impl Http for OriginFiles {
    fn send(
        &self,
        request: HttpRequest,
    ) -> LocalBoxFuture<'static, Result<HttpResponse, HttpError>> {
        if !self.answers(&request.method, &request.url) {
            return self.inner.send(request);
        }
        let answer = self.answer(&request.method, &request.url);
        std::future::ready(Ok(answer.into_response(&request))).boxed_local()
    }

    fn load(&self, url: &Url) -> Result<Loaded, HttpError> {
        if !self.answers("GET", url) {
            return self.inner.load(url);
        }
        let answer = self.answer("GET", url);
        let content_type = Some(answer.content_type.to_owned());
        Ok(Loaded { status: answer.status, content_type, url: url.clone(), body: answer.body })
    }

    /// A folder speaks no WebSocket.
    fn connect(
        &self,
        request: WebSocketRequest,
    ) -> LocalBoxFuture<'static, Result<UpgradedConnection, HttpError>> {
        if self.has_upstream || request.url.origin() != self.origin {
            return self.inner.connect(request);
        }
        std::future::ready(Err(HttpError::NoServer { url: request.url })).boxed_local()
    }
}

struct Answer {
    status: u16,
    content_type: &'static str,
    allow: Option<&'static str>,
    body: Vec<u8>,
}

impl Answer {
    fn text(status: u16, body: String) -> Answer {
        Answer { status, content_type: "text/plain", allow: None, body: body.into_bytes() }
    }

    fn into_response(self, request: &HttpRequest) -> HttpResponse {
        let mut headers = vec![
            ("content-type".to_owned(), self.content_type.to_owned()),
            ("content-length".to_owned(), self.body.len().to_string()),
        ];
        headers.extend(self.allow.map(|allow| ("allow".to_owned(), allow.to_owned())));
        let body = if request.method == "HEAD" { Vec::new() } else { self.body };
        HttpResponse {
            status: self.status,
            status_text: status_text(self.status),
            headers,
            url: request.url.clone(),
            body: whole_body(Bytes::from(body)),
        }
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("js" | "mjs") => "text/javascript",
        Some("json") => "application/json",
        Some("html") => "text/html",
        Some("css") => "text/css",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        Some("webmanifest") => "application/manifest+json",
        Some("wasm") => "application/wasm",
        Some("txt") => "text/plain",
        _ => "application/octet-stream",
    }
}

/// Replaces each `%41` by its byte; `None` if the result is not UTF-8 or has a NUL, which no file
/// name has.
fn percent_decoded(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if byte == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high * 16 + low);
                rest = &after[2..];
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8(decoded).ok().filter(|path| !path.contains('\0'))
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ScriptedServers;

    /// A site of a few files next to a secret, with a server for every other origin.
    fn site() -> (tempfile::TempDir, OriginFiles) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("site");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        let files = [("sw.js", "run()"), ("sub/index.html", "sub"), ("caf\u{e9} 1.txt", "coffee")];
        for (name, text) in files {
            std::fs::write(root.join(name), text).unwrap();
        }
        std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
        let servers =
            toml::from_str::<ScriptedServers>("['http://b.test']\n'GET /' = 204").unwrap();
        let origin = Url::parse("https://a.test/ignored").unwrap();
        let files = OriginFiles::new(&origin, &root, Box::new(servers)).unwrap();
        (folder, files)
    }

    fn load(files: &OriginFiles, url: &str) -> (u16, String, String) {
        let loaded = files.load(&Url::parse(url).unwrap()).unwrap();
        let body = String::from_utf8(loaded.body).unwrap();
        (loaded.status, loaded.content_type.unwrap_or_default(), body)
    }

    #[test]
    fn files_are_served_with_their_types() {
        let (_folder, files) = site();
        let answer = |status, kind: &str, body: &str| (status, kind.to_owned(), body.to_owned());
        let cases = [
            ("https://a.test/sw.js?v=1", answer(200, "text/javascript", "run()")),
            ("https://a.test/sub/", answer(200, "text/html", "sub")),
            ("https://a.test/sub", answer(200, "text/html", "sub")),
            ("https://a.test/caf%C3%A9%201.txt", answer(200, "text/plain", "coffee")),
            ("https://a.test/none.js", answer(404, "text/plain", "no file for /none.js\n")),
            ("https://a.test/sw.js/x", answer(404, "text/plain", "no file for /sw.js/x\n")),
            ("https://a.test/", answer(404, "text/plain", "no file for /\n")),
            ("https://a.test/%00%zz%ff", answer(404, "text/plain", "no file for /%00%zz%ff\n")),
            ("http://b.test/", answer(204, "", "")),
        ];
        for (url, expected) in cases {
            assert_eq!(load(&files, url), expected, "{url}");
        }
    }

    #[test]
    fn no_path_leaves_the_folder() {
        let (_folder, files) = site();
        #[cfg(unix)]
        std::os::unix::fs::symlink(
            _folder.path().join("secret.txt"),
            files.root.folder().join("link.txt"),
        )
        .unwrap();
        for path in ["../secret.txt", "..%2fsecret.txt", "sub%2f..%2f..%2fsecret.txt", "link.txt"] {
            assert_eq!(load(&files, &format!("https://a.test/{path}")).0, 404, "{path}");
        }
        let absolute =
            format!("https://a.test/{}", files.root.folder().join("../secret.txt").display());
        assert_eq!(load(&files, &absolute).0, 404);
    }

    #[tokio::test]
    async fn what_is_no_file_is_left_to_an_upstream() {
        let (folder, _) = site();
        let servers = "['https://a.test']\n'GET /sub/' = 204\n'POST /sw.js' = 202";
        let servers = toml::from_str::<ScriptedServers>(servers).unwrap();
        let origin = Url::parse("https://a.test").unwrap();
        let root = folder.path().join("site");
        let files = OriginFiles::new(&origin, &root, Box::new(servers)).unwrap();
        let files = files.in_front_of_upstream();
        let cases = [
            ("GET", "sw.js", 200),
            ("GET", "sub/", 204),
            ("POST", "sw.js", 202),
            ("GET", "x", 404),
        ];
        for (method, path, status) in cases {
            let url = origin.join(path).unwrap();
            let request = HttpRequest { method: method.to_owned(), ..HttpRequest::get(url) };
            let answer = files.send(request).await.unwrap();
            assert_eq!(answer.status, status, "{method} {path}");
        }
        assert_eq!(load(&files, "https://a.test/sub/index.html").2, "sub");
    }

    #[tokio::test]
    async fn only_get_and_head_are_answered() {
        let (_folder, files) = site();
        let request = |method: &str| HttpRequest {
            method: method.to_owned(),
            ..HttpRequest::get(Url::parse("https://a.test/sw.js").unwrap())
        };
        let head = files.send(request("HEAD")).await.unwrap();
        assert_eq!((head.status, head.status_text.as_str()), (200, "OK"));
        assert_eq!(head.header("content-length"), Some("5"));
        assert_eq!(head.into_loaded().await.unwrap().body, b"");
        let post = files.send(request("POST")).await.unwrap();
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
    }

    #[test]
    fn another_folder_may_take_its_place() {
        let (_folder, files) = site();
        let root = files.root();
        root.set(&root.folder().join("sub")).unwrap();
        assert_eq!(load(&files, "https://a.test/").2, "sub");
        assert_eq!(load(&files, "https://a.test/sw.js").0, 404);
        assert!(root.set(Path::new("/no/such/folder")).is_err());
        assert_eq!(load(&files, "https://a.test/").2, "sub");
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let origin = Url::parse("https://a.test").unwrap();
        let servers = toml::from_str::<ScriptedServers>("").unwrap();
        let missing = OriginFiles::new(&origin, Path::new("/no/such/folder"), Box::new(servers));
        assert_eq!(missing.err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
