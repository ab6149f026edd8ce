//! Property files as YCSB writes them: Java's `.properties` format, values kept as text until someone asks.
//!
//! Each value remembers where it came from, so that an error can point at `workloads/workloada:7`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use super::usage::UsageError;

/// Properties by name. Later layers replace earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    text: String,
    origin: String,
}

impl Properties {
    /// Reads a property file.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is not UTF-8.
    pub fn read_file(path: &Path) -> Result<Self, UsageError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            UsageError::new(format!("cannot read the property file {}: {error}", path.display()))
        })?;
        Ok(Self::parse(&text, &path.display().to_string()))
    }

    /// Parses the text of a property file; `origin` names it in errors.
    #[must_use]
    pub fn parse(text: &str, origin: &str) -> Self {
        let mut properties = Self::default();
        let mut lines = text.lines().enumerate();
        while let Some((line_index, line)) = lines.next() {
            let mut logical = line.trim_start().to_owned();
            if logical.is_empty() || logical.starts_with(['#', '!']) {
                continue;
            }
            while continues(&logical) {
                logical.pop();
                let Some((_, next)) = lines.next() else { break };
                logical.push_str(next.trim_start());
            }
            let (name, value) = split(&logical);
            properties.set(&name, &value, format!("{origin}:{}", line_index + 1));
        }
        properties
    }

    /// Adds one `name=value` of the command line.
    ///
    /// # Errors
    ///
    /// When there is no `=`, or nothing before it.
    pub fn define(&mut self, assignment: &str) -> Result<(), UsageError> {
        match assignment.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                self.set(name.trim(), value.trim(), format!("-p {}", name.trim()));
                Ok(())
            }
            _ => Err(UsageError::new(format!("-p wants name=value, not '{assignment}'"))),
        }
    }

    /// Lays `above` over these: where both have a name, `above` wins.
    pub fn overlay(&mut self, above: &Self) {
        self.entries.extend(above.entries.iter().map(|(name, entry)| (name.clone(), entry.clone())));
    }

    /// Whether a property of this name was given.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The names given, with where each came from.
    pub fn origins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry.origin.as_str()))
    }

    /// The value of a property as text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|entry| entry.text.as_str())
    }

    /// The value of a property, parsed.
    ///
    /// # Errors
    ///
    /// When the property is there and does not parse; the message names the property and its origin.
    pub fn parsed<T>(&self, name: &str) -> Result<Option<T>, UsageError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(entry) = self.entries.get(name) else { return Ok(None) };
        entry.text.parse().map(Some).map_err(|error| self.wrong(name, error))
    }

    /// The error for a property whose value cannot be used.
    #[must_use]
    pub fn wrong(&self, name: &str, why: impl Display) -> UsageError {
        let (text, origin) = self.entries.get(name).map_or(("", ""), |entry| (&entry.text, &entry.origin));
        UsageError::new(format!("property {name}={text} ({origin}): {why}"))
    }

    fn set(&mut self, name: &str, value: &str, origin: String) {
        self.entries.insert(name.to_owned(), Entry { text: value.to_owned(), origin });
    }
}

/// A line goes on when it ends in an odd number of backslashes: an even number is escaped backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits a logical line at the first unescaped `=`, `:` or blank.
fn split(line: &str) -> (String, String) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let ends_name = !escaped && (matches!(c, '=' | ':') || c.is_whitespace());
            escaped = !escaped && *c == '\\';
            ends_name
        })
        .map_or(line.len(), |(place, _)| place);
    let (name, rest) = line.split_at(end);
    let rest = rest.trim_start();
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (unescape(name), unescape(value.trim()))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let plain = if c == '\\' { chars.next().map(escaped_char) } else { Some(c) };
        out.extend(plain);
    }
    out
}

fn escaped_char(c: char) -> char {
    match c {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::Properties;

    fn parse(text: &str) -> Properties {
        Properties::parse(text, "file")
    }

    #[test]
    fn every_separator_and_comment_of_the_format_is_understood() {
        let properties = parse("# a comment\n! another\n\n a = 1\nb:2\nc 3\n  d=  x y  \ne\n");
        for (name, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "x y"), ("e", "")] {
            assert_eq!(properties.text(name), Some(value), "{name}");
        }
        assert_eq!(properties.origins().count(), 5);
    }

    #[test]
    fn a_backslash_joins_lines_and_escapes_separators() {
        let properties = parse("long = one,\\\n    two\npath\\:x = C\\\\dir\\=y\nlast = end\\");
        assert_eq!(properties.text("long"), Some("one,two"));
        assert_eq!(properties.text("path:x"), Some("C\\dir=y"));
        assert_eq!(properties.text("last"), Some("end"));
    }

    #[test]
    fn the_last_value_of_a_name_wins() {
        let mut properties = parse("a=1\na=2\nb=1");
        assert_eq!(properties.text("a"), Some("2"));
        properties.overlay(&parse("b=3"));
        assert_eq!(properties.parsed::<u64>("b").unwrap(), Some(3));
        assert_eq!(properties.parsed::<u64>("absent").unwrap(), None);
    }

    #[test]
    fn an_error_names_the_property_and_its_line() {
        let properties = parse("# one\nrecordcount=many\n");
        let message = properties.parsed::<u64>("recordcount").unwrap_err().to_string();
        assert!(message.contains("recordcount=many") && message.contains("file:2"), "{message}");
    }

    #[test]
    fn an_assignment_needs_a_name_and_an_equals_sign() {
        let mut properties = Properties::default();
        properties.define("threadcount=4").unwrap();
        assert_eq!(properties.text("threadcount"), Some("4"));
        assert!(properties.define("threadcount").is_err());
        assert!(properties.define("=4").is_err());
    }
}
