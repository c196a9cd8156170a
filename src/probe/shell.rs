//! A command line for a shell: every word quoted so that the shell reads back what was meant, and secrets as variables.
//!
//! PURE. Used by `by_hand`, whose commands are shown to people and pasted into terminals.

use std::sync::Arc;

/// Shorter secrets are hidden only where they are the whole of a word: within others they would hide everything.
const SECRET_MIN: usize = 3;

/// A command line that grows.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    /// What nobody may see, and the variables that stand for it; the longest first.
    secrets: Vec<(Arc<str>, String)>,
}

impl Line {
    /// Begins with a program. The first secret is called `name`, further ones `name2`, `name3`.
    pub(super) fn new(program: &str, secrets: &[Arc<str>], name: &str) -> Self {
        let mut known: Vec<(Arc<str>, String)> = Vec::new();
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            if !known.iter().any(|(text, _)| text == secret) {
                let number = known.len() + 1;
                let variable = if number == 1 { name.to_owned() } else { format!("{name}{number}") };
                known.push((Arc::clone(secret), variable));
            }
        }
        known.sort_by_key(|(secret, _)| std::cmp::Reverse(secret.len()));
        Self { text: program.to_owned(), secrets: known }
    }

    /// Adds one word.
    pub(super) fn word(&mut self, text: &str) -> &mut Self {
        self.text.push(' ');
        self.quoted(text);
        self
    }

    /// Adds words as they stand: options that need no quotes.
    pub(super) fn plain(&mut self, words: &str) -> &mut Self {
        self.text.push(' ');
        self.text.push_str(words);
        self
    }

    /// Adds an option and its value, glued: `--user=` and the value.
    pub(super) fn glued(&mut self, option: &str, value: &str) -> &mut Self {
        self.text.push(' ');
        self.text.push_str(option);
        self.quoted(value);
        self
    }

    /// The whole line.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn quoted(&mut self, text: &str) {
        let hidden = self.secrets.iter().filter(|(secret, _)| secret.len() >= SECRET_MIN || **secret == *text);
        let first = hidden.filter_map(|(secret, variable)| Some((text.find(&**secret)?, secret, variable)));
        // Of two that begin at the same place the longer one, which stands first.
        let Some((at, secret, variable)) = first.min_by_key(|(at, ..)| *at) else {
            if !text.is_empty() || self.text.ends_with([' ', '=']) {
                self.text.push_str(&quote(text));
            }
            return;
        };
        let (before, after) = (text[..at].to_owned(), text[at + secret.len()..].to_owned());
        let variable = format!("\"${variable}\"");
        if !before.is_empty() {
            self.text.push_str(&quote(&before));
        }
        self.text.push_str(&variable);
        if !after.is_empty() {
            self.quoted(&after);
        }
    }
}

/// A word as the shell must see it.
pub(super) fn quote(text: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !text.is_empty() && text.bytes().all(bare) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn line(secrets: &[&str], words: &[&str]) -> String {
        let secrets: Vec<Arc<str>> = secrets.iter().map(|secret| Arc::from(*secret)).collect();
        let mut line = Line::new("printf", &secrets, "SECRET");
        line.word(r"%s\n");
        for word in words {
            line.word(word);
        }
        line.finish()
    }

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        let words = [
            "plain",
            "",
            "two words",
            "it's",
            "''",
            "$HOME",
            "`id`",
            "a\"b",
            "\\",
            "*",
            "~",
            "!x",
            "#no",
            "a;b",
            "naïve",
            "tab\there",
            "-n",
            "$(id)",
            "a&b",
            "[x]",
            "{a,b}",
            "<x>",
        ];
        let command = line(&[], &words);
        let output = Command::new("sh").arg("-c").arg(&command).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read.lines().collect::<Vec<_>>(), words, "{command}");
    }

    #[test]
    fn secrets_are_variables_wherever_they_stand() {
        let secrets = ["hunter2", "it's a \"$ecret\"", "hunter2-long", "ab"];
        let words = ["X-Key: hunter2-long", "hunter2", "?a=hunter2&b=it's a \"$ecret\";", "ab", "cab hunter"];
        let command = line(&secrets, &words);
        for secret in &secrets[..3] {
            assert!(!command.contains(secret), "{command}");
        }
        assert!(command.contains(" \"$SECRET4\" "), "a short one is hidden where it is the whole word: {command}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(&command);
        for (number, secret) in secrets.iter().enumerate() {
            shell.env(if number == 0 { "SECRET".into() } else { format!("SECRET{}", number + 1) }, secret);
        }
        let read = String::from_utf8(shell.output().unwrap().stdout).unwrap();
        assert_eq!(read.lines().collect::<Vec<_>>(), words, "{command}");
    }
}
