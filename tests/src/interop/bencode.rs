//! Bencode (BEP 3) as the harness needs it: reads .torrent files and tracker answers of clients
//! that we started ourselves, so it trusts its input and keeps to the plain grammar.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Outcome;

/// A bencoded value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `i…e`
    Int(i64),
    /// `length:bytes`
    Bytes(Vec<u8>),
    /// `l…e`
    List(Vec<Value>),
    /// `d…e`, with the span of each value in the input.
    Dict(BTreeMap<Vec<u8>, (Value, Range<usize>)>),
}

impl Value {
    /// Reads one value that fills all of `input`.
    pub fn parse(input: &[u8]) -> Outcome<Value> {
        let mut reader = Reader { input, at: 0 };
        let value = reader.value()?;
        match reader.at == input.len() {
            true => Ok(value),
            false => Err(format!("{} bytes after the value", input.len() - reader.at).into()),
        }
    }

    /// The value of a dictionary's key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entry(key).map(|(value, _)| value)
    }

    /// Where in the input the value of a dictionary's key stands.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.entry(key).map(|(_, span)| span.clone())
    }

    fn entry(&self, key: &str) -> Option<&(Value, Range<usize>)> {
        match self {
            Value::Dict(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The string, if it is one and is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The list, if it is one.
    pub fn list(&self) -> Option<&[Value]> {
        match self {
            Value::List(values) => Some(values),
            _ => None,
        }
    }
}

/// Appends a bencoded string.
pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Outcome<Value> {
        match self.peek()? {
            b'i' => {
                self.at += 1;
                Ok(Value::Int(self.number(b'e')?))
            }
            b'l' => {
                self.at += 1;
                let mut values = Vec::new();
                while !self.end()? {
                    values.push(self.value()?);
                }
                Ok(Value::List(values))
            }
            b'd' => {
                self.at += 1;
                let mut entries = BTreeMap::new();
                while !self.end()? {
                    let key = self.string()?;
                    let start = self.at;
                    let value = self.value()?;
                    entries.insert(key, (value, start..self.at));
                }
                Ok(Value::Dict(entries))
            }
            _ => Ok(Value::Bytes(self.string()?)),
        }
    }

    fn string(&mut self) -> Outcome<Vec<u8>> {
        let length = usize::try_from(self.number(b':')?)?;
        let end = self.at.checked_add(length).ok_or("length overflows")?;
        let bytes = self.input.get(self.at..end).ok_or("string past the end")?;
        self.at = end;
        Ok(bytes.to_vec())
    }

    fn number(&mut self, until: u8) -> Outcome<i64> {
        let rest = &self.input[self.at..];
        let digits = rest.iter().position(|&byte| byte == until).ok_or("number without an end")?;
        self.at += digits + 1;
        Ok(std::str::from_utf8(&rest[..digits])?.parse()?)
    }

    fn end(&mut self) -> Outcome<bool> {
        let end = self.peek()? == b'e';
        self.at += usize::from(end);
        Ok(end)
    }

    fn peek(&self) -> Outcome<u8> {
        self.input.get(self.at).copied().ok_or_else(|| "bencode ends early".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionary_keeps_the_raw_span_of_its_values() {
        let input = b"d1:ad1:xi-7ee1:bl2:hiee";
        let value = Value::parse(input).unwrap();
        assert_eq!(value.get("a").unwrap().get("x").unwrap().int(), Some(-7));
        assert_eq!(&input[value.span("a").unwrap()], b"d1:xi-7ee");
        assert_eq!(value.get("b").unwrap().list().unwrap()[0].text(), Some("hi"));
    }

    #[test]
    fn trailing_or_missing_bytes_are_an_error() {
        assert!(Value::parse(b"i1ei2e").is_err());
        assert!(Value::parse(b"d1:a").is_err());
        assert!(Value::parse(b"9:short").is_err());
    }
}
