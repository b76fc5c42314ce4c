//! The part of TOML that mirror files are written in.
//!
//! Tables, quoted and bare keys, strings, booleans, integers and arrays. Anything else (dates, floats, inline tables,
//! multi-line strings, arrays of tables) is refused with its line number rather than read wrongly. Order is kept,
//! because the order of hosts is the order they are asked in.

use std::iter::Peekable;
use std::str::Chars;

/// A value of the subset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    String(String),
    Bool(bool),
    Integer(i64),
    Array(Vec<Value>),
    Table(Table),
}

/// Keys and values in the order written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table(Vec<(String, Value)>);

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn insert(&mut self, key: String, value: Value) -> Result<(), String> {
        if self.get(&key).is_some() {
            return Err(format!("\"{key}\" is set twice"));
        }
        self.0.push((key, value));
        Ok(())
    }

    /// The table at `path`, made if it is not there.
    fn descend(&mut self, path: &[String]) -> Result<&mut Table, String> {
        let Some((first, rest)) = path.split_first() else { return Ok(self) };
        let at = match self.0.iter().position(|(name, _)| name == first) {
            Some(at) => at,
            None => {
                self.0.push((first.clone(), Value::Table(Table::default())));
                self.0.len() - 1
            }
        };
        match &mut self.0[at].1 {
            Value::Table(table) => table.descend(rest),
            _ => Err(format!("\"{first}\" is a value and a table")),
        }
    }
}

/// What could not be read, with its line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// Reads a whole file.
pub(crate) fn parse(text: &str) -> Result<Table, SyntaxError> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut root = Table::default();
    reader.document(&mut root).map_err(|what| SyntaxError { line: reader.line, what })?;
    Ok(root)
}

struct Reader<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
}

const MAX_NESTING: usize = 8;

impl Reader<'_> {
    fn document(&mut self, root: &mut Table) -> Result<(), String> {
        let mut path = Vec::new();
        loop {
            self.skip_blank_lines();
            match self.chars.peek() {
                None => return Ok(()),
                Some('[') => {
                    self.next();
                    if self.chars.peek() == Some(&'[') {
                        return Err("arrays of tables are not supported".to_owned());
                    }
                    path = self.key_path()?;
                    self.expect(']')?;
                    root.descend(&path)?;
                }
                Some(_) => {
                    let mut keys = self.key_path()?;
                    self.expect('=')?;
                    let value = self.value(0)?;
                    let last = keys.pop().ok_or("a key is missing")?;
                    root.descend(&path)?.descend(&keys)?.insert(last, value)?;
                }
            }
            self.end_of_line()?;
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn skip_spaces(&mut self) {
        while self.chars.next_if(|c| matches!(c, ' ' | '\t' | '\r')).is_some() {}
    }

    fn skip_comment(&mut self) {
        if self.chars.peek() == Some(&'#') {
            while self.chars.next_if(|c| *c != '\n').is_some() {}
        }
    }

    fn skip_blank_lines(&mut self) {
        loop {
            self.skip_spaces();
            self.skip_comment();
            if self.chars.peek() != Some(&'\n') {
                return;
            }
            self.next();
        }
    }

    fn end_of_line(&mut self) -> Result<(), String> {
        self.skip_spaces();
        self.skip_comment();
        match self.chars.peek() {
            None | Some('\n') => Ok(()),
            Some(other) => Err(format!("unexpected '{other}'")),
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.skip_spaces();
        match self.next() {
            Some(found) if found == wanted => Ok(()),
            Some(found) => Err(format!("expected '{wanted}', found '{found}'")),
            None => Err(format!("expected '{wanted}', found the end of the file")),
        }
    }

    fn key_path(&mut self) -> Result<Vec<String>, String> {
        let mut path = Vec::new();
        loop {
            self.skip_spaces();
            path.push(match self.chars.peek() {
                Some('"' | '\'') => self.string()?,
                _ => self.bare(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))?,
            });
            self.skip_spaces();
            if self.chars.next_if_eq(&'.').is_none() {
                return Ok(path);
            }
        }
    }

    fn bare(&mut self, allowed: impl Fn(char) -> bool) -> Result<String, String> {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| allowed(*c)) {
            word.push(c);
        }
        if word.is_empty() { Err("a key or value is missing".to_owned()) } else { Ok(word) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.skip_spaces();
        match self.chars.peek() {
            Some('"' | '\'') => self.string().map(Value::String),
            Some('[') => self.array(depth).map(Value::Array),
            Some('{') => Err("inline tables are not supported".to_owned()),
            _ => {
                let word =
                    self.bare(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | ':'))?;
                match word.as_str() {
                    "true" => Ok(Value::Bool(true)),
                    "false" => Ok(Value::Bool(false)),
                    _ => word.replace('_', "").parse().map(Value::Integer).map_err(|_| {
                        format!("\"{word}\" is neither a string, a boolean, an integer nor an array")
                    }),
                }
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, String> {
        if depth == MAX_NESTING {
            return Err("arrays are nested too deeply".to_owned());
        }
        self.expect('[')?;
        let mut values = Vec::new();
        loop {
            self.skip_blank_lines();
            if self.chars.next_if_eq(&']').is_some() {
                return Ok(values);
            }
            values.push(self.value(depth + 1)?);
            self.skip_blank_lines();
            if self.chars.next_if_eq(&',').is_none() {
                self.expect(']')?;
                return Ok(values);
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.next().ok_or("a string is missing")?;
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n') => return Err("a string is not closed".to_owned()),
                Some(c) if c == quote => break,
                Some('\\') if quote == '"' => text.push(self.escape()?),
                Some(c) => text.push(c),
            }
        }
        if text.is_empty() && self.chars.peek() == Some(&quote) {
            return Err("multi-line strings are not supported".to_owned());
        }
        Ok(text)
    }

    fn escape(&mut self) -> Result<char, String> {
        match self.next() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('"') => Ok('"'),
            Some('\\') => Ok('\\'),
            Some(kind @ ('u' | 'U')) => {
                let digits: String =
                    (0..if kind == 'u' { 4 } else { 8 }).map_while(|_| self.next()).collect();
                u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32)
                    .ok_or("a bad escape".to_owned())
            }
            _ => Err("a bad escape".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_file_is_read_in_order() {
        let table = parse(
            "# top\nserver = \"https://registry-1.docker.io\" # end\n\n[host.\"https://b.example\"]\n  \
             capabilities = [\"pull\", # one\n \"resolve\",\n]\n  skip_verify = true\n[host.'http://a.example']\n\
             [host.'http://a.example'.header]\nx-custom = [\"1\"]\n",
        )
        .unwrap();
        assert_eq!(table.get("server"), Some(&Value::String("https://registry-1.docker.io".to_owned())));
        let Some(Value::Table(hosts)) = table.get("host") else { panic!("{table:?}") };
        assert_eq!(
            hosts.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["https://b.example", "http://a.example"]
        );
        let Some(Value::Table(first)) = hosts.get("https://b.example") else { panic!("{hosts:?}") };
        assert_eq!(first.get("skip_verify"), Some(&Value::Bool(true)));
    }

    #[test]
    fn what_is_not_supported_is_refused_with_its_line() {
        for (text, line) in [
            ("a = 1\nb = { c = 1 }", 2),
            ("[[x]]", 1),
            ("a = 1979-05-27", 1),
            ("a = \"open", 1),
            ("a = 1\na = 2", 2),
            ("a = 1 2", 1),
            ("a = [[[[[[[[[1]]]]]]]]]", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
