//! The token that a client of the daemon shows: `Authorization: Bearer TOKEN` (RFC 6750).
//!
//! Invariant: the token itself is in its file and nowhere else; what is compared are digests, in
//! constant time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Refusal;

/// The name of the file in the state folder.
const FILE: &str = "token";

/// Shorter ones could be guessed.
const SHORTEST: usize = 16;

/// Longer ones are no token that somebody meant.
const LONGEST: usize = 1024;

/// What a client has to show.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token of a file that somebody has written.
    pub fn read(file: &Path) -> Result<Token, Refusal> {
        let text = fs::read_to_string(file).map_err(|error| {
            Refusal::Failure(format!("cannot read the token file {}: {error}", file.display()))
        })?;
        // A service manager may let a group read what it hands over; nobody lets everybody.
        require_private(file, 0o007)?;
        Token::from_text(&text, file)
    }

    /// The token of a state folder, which is made if there is none.
    pub fn of_state(folder: &Path) -> Result<Token, Refusal> {
        let file = file_of(folder);
        match fs::read_to_string(&file) {
            Ok(text) => {
                require_private(&file, 0o077)?;
                Token::from_text(&text, &file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = make(&file).map_err(|error| cannot("write", &file, error))?;
                Ok(Token::of(&made))
            }
            Err(error) => Err(cannot("read", &file, error)),
        }
    }

    /// Whether an `Authorization` header shows it.
    pub fn is_shown_by(&self, authorization: &[u8]) -> bool {
        let Some((scheme, token)) = authorization.split_at_checked(7) else { return false };
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return false;
        }
        let shown: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        shown.ct_eq(&self.0).into()
    }

    fn of(text: &str) -> Token {
        Token(Sha256::digest(text.as_bytes()).into())
    }

    fn from_text(text: &str, file: &Path) -> Result<Token, Refusal> {
        let text = text.trim();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_plain && (SHORTEST..=LONGEST).contains(&text.len()) {
            return Ok(Token::of(text));
        }
        Err(Refusal::Failure(format!(
            "{} holds no token; write {SHORTEST} to {LONGEST} printable characters without blanks",
            file.display()
        )))
    }
}

/// Where a state folder has its token.
pub fn file_of(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Writes a new token that only its owner can read, and answers it.
fn make(file: &Path) -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let text = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut open = options.open(file)?;
    let written = writeln!(open, "{text}").and_then(|()| open.sync_all());
    if let Err(error) = written {
        // Half a token would be refused for ever.
        let _ = fs::remove_file(file);
        return Err(error);
    }
    Ok(text)
}

/// Refuses a file that others could read.
fn require_private(file: &Path, forbidden: u32) -> Result<(), Refusal> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(file).map_err(|error| cannot("look at", file, error))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & forbidden != 0 {
            let file = file.display();
            return Err(Refusal::Failure(format!(
                "others may use the token file {file} (mode {mode:o}); run `chmod 600 {file}`, \
                 and change the token if somebody has read it"
            )));
        }
    }
    #[cfg(not(unix))]
    let _ = (file, forbidden);
    Ok(())
}

fn cannot(verb: &str, file: &Path, error: io::Error) -> Refusal {
    Refusal::Failure(format!("cannot {verb} the token file {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = Token::of("0123456789abcdef");
        for shown in
            ["Bearer 0123456789abcdef", "bearer 0123456789abcdef", "BEARER  0123456789abcdef"]
        {
            assert!(token.is_shown_by(shown.as_bytes()), "{shown}");
        }
        for shown in [
            "",
            "Bearer",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "Bearer 0123456789abcdeF",
        ] {
            assert!(!token.is_shown_by(shown.as_bytes()), "{shown}");
        }
    }
}
