//! A file of users and hashes of their passwords, as `htpasswd` writes it: `NAME:HASH` in each line.
//!
//! Only hashes that are slow to guess by are taken: argon2id and bcrypt. How slow is for the file to say, within bounds: a
//! hash that takes seconds or gigabytes would be a way to stop the balancer. [`Secret::fits`] takes milliseconds of a
//! processor, so that it is no business of a worker.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// Memory of one hash by argon2, KiB, in all its passes together: a second of work, more or less.
const ARGON2_WORK_MAX: u64 = 1 << 20;
/// The same at once.
const ARGON2_MEMORY_MAX: u32 = 256 << 10;
/// Each step doubles the work of bcrypt: 14 is a second.
const BCRYPT_COST_MAX: u32 = 14;
/// Longest file, bytes.
pub const FILE_MAX: usize = 16 << 20;

/// Who may pass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Users {
    list: Vec<(Arc<str>, Secret)>,
    by_name: HashMap<Arc<str>, usize>,
}

/// The hash of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// argon2id, in the form of PHC strings.
    Argon2(Arc<str>),
    /// bcrypt, in the form of `crypt`.
    Bcrypt(Arc<str>),
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong. Never says a hash.
    pub what: String,
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// Every line that cannot be used.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let mut users = Self::default();
        let mut faults = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |what: String| Fault { line: number, what };
            match line.split_once(':') {
                None => faults.push(fault("there is no `:` between name and hash".into())),
                Some((name, _)) if !is_name(name) => {
                    faults.push(fault("the name is empty or has a control byte".into()));
                }
                Some((name, _)) if users.by_name.contains_key(name) => {
                    faults.push(fault(format!("`{name}` stands there twice")));
                }
                // What follows a further `:` is a comment to htpasswd.
                Some((name, rest)) => match Secret::read(rest.split(':').next().unwrap_or_default()) {
                    Ok(secret) => users.add(name, secret),
                    Err(what) => faults.push(fault(format!("the password of `{name}` {what}"))),
                },
            }
        }
        if faults.is_empty() { Ok(users) } else { Err(faults) }
    }

    fn add(&mut self, name: &str, secret: Secret) {
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), self.list.len());
        self.list.push((name, secret));
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The secret of a user.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.by_name.get(name).and_then(|at| self.list.get(*at)).map(|(_, secret)| secret)
    }

    /// Some user's secret, chosen by a number: asking by it takes as long as for a user who exists.
    pub fn any(&self, number: u64) -> Option<&Secret> {
        let count = self.list.len() as u64;
        self.list.get(number.checked_rem(count)? as usize).map(|(_, secret)| secret)
    }
}

/// Names go into fields of requests.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control)
}

fn argon2(text: &str) -> Result<Secret, &'static str> {
    let broken = "is no whole argon2id hash";
    let hash = PasswordHash::new(text).map_err(|_why| broken)?;
    let params = Params::try_from(&hash).map_err(|_why| broken)?;
    if hash.salt.is_none() || hash.hash.is_none() || hash.version.is_some_and(|version| version != 0x13) {
        return Err(broken);
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    if params.m_cost() > ARGON2_MEMORY_MAX || work > ARGON2_WORK_MAX || params.p_cost() > 64 {
        return Err("takes too much to hash: at most m=262144 (256 MiB), and m times t at most 1048576");
    }
    Ok(Secret::Argon2(text.into()))
}

fn bcrypt(text: &str) -> Result<Secret, &'static str> {
    let parts = bcrypt::HashParts::from_str(text).map_err(|_why| "is no whole bcrypt hash")?;
    if parts.get_cost() > BCRYPT_COST_MAX {
        return Err("takes too long to hash: a cost of 14 at most");
    }
    Ok(Secret::Bcrypt(text.into()))
}

impl Secret {
    /// Reads a hash.
    ///
    /// # Errors
    /// What is wrong with it, behind "the password".
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let starts = |beginnings: &[&str]| beginnings.iter().any(|beginning| text.starts_with(beginning));
        if starts(&["$argon2id$"]) {
            return argon2(text);
        }
        if starts(&["$2a$", "$2b$", "$2y$"]) {
            return bcrypt(text);
        }
        Err(if starts(&["$argon2i$", "$argon2d$"]) {
            "is hashed by another kind of argon2 than argon2id"
        } else if starts(&["$apr1$", "$1$"]) {
            "is hashed by MD5, which is guessed too fast"
        } else if starts(&["{SHA}", "{SSHA}"]) {
            "is hashed by SHA-1, which is guessed too fast"
        } else if starts(&["$5$", "$6$", "$7$", "$y$"]) {
            "is hashed by a kind of crypt that is not taken"
        } else {
            "is not hashed, or by the old crypt"
        })
    }

    /// Hashes a password by argon2id, as OWASP wants it at least: 19 MiB and two passes. `None`: the salt is no salt.
    pub fn hash(password: &[u8], salt: &[u8; 16]) -> Option<Self> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
        let hash: PasswordHash = argon2.hash_password_with_salt(password, salt).ok()?;
        Some(Self::Argon2(hash.to_string().into()))
    }

    /// As it stands in files.
    pub fn text(&self) -> &str {
        match self {
            Self::Argon2(text) | Self::Bcrypt(text) => text,
        }
    }

    /// Whether a password is the one that was hashed. Slow by intention.
    pub fn fits(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2(text) => PasswordHash::new(text).is_ok_and(|hash| {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::default());
                argon2.verify_password(password, &hash).is_ok()
            }),
            Self::Bcrypt(text) => bcrypt::verify(password, text).unwrap_or(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `secret`, with little work.
    const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$";
    /// `U*U`, of the test vectors of `crypt_blowfish`.
    const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    #[test]
    fn a_password_is_proved_by_its_hash() {
        let users = Users::parse(&format!("# people\n\nann:{BCRYPT}:a comment\n")).unwrap();
        let ann = users.secret("ann").unwrap();
        assert!(ann.fits(b"U*U"));
        assert!(!ann.fits(b"U*V"));
        assert!(!ann.fits(b""));
        assert!(!ann.fits(b"U*U\0"));
        assert_eq!((users.secret("bob"), users.any(77)), (None, Some(ann)));
        assert_eq!(Users::default().any(7), None);
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_without_its_hash() {
        for (line, what) in [
            ("ann", "no `:`"),
            (":x", "empty"),
            ("ann:secret", "not hashed"),
            ("ann:$apr1$c3M$pWuNNe3hjJrPgzPIJrTYX1", "MD5"),
            ("ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "SHA-1"),
            ("ann:$6$salt$hash", "crypt"),
            ("ann:$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$aGFzaA", "argon2id"),
            ("ann:$2y$20$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "too long"),
            ("ann:$2y$05$CCCC", "whole bcrypt"),
            (&format!("ann:{ARGON2}"), "whole argon2id"),
        ] {
            let faults = Users::parse(&format!("#\n{line}\n")).unwrap_err();
            assert_eq!((faults.len(), faults[0].line), (1, 2), "{line}");
            assert!(faults[0].what.contains(what), "{line}: {}", faults[0].what);
        }
        let heavy =
            "ann:$argon2id$v=19$m=1048576,t=4,p=1$c29tZXNhbHRzb21lc2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE";
        assert!(Users::parse(heavy).unwrap_err()[0].what.contains("too much"));
        assert!(Users::parse(&format!("ann:{BCRYPT}\nann:{BCRYPT}")).unwrap_err()[0].what.contains("twice"));
    }
}
