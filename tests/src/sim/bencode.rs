//! Bencode as BEP 3 describes it, written a second time: the simulator must not learn from the core
//! what the core is to be checked against. Strict: keys sorted and unique, no leading zeros.

use std::collections::BTreeMap;

/// A bencoded value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Value>),
    /// A dictionary.
    Dict(BTreeMap<Vec<u8>, Value>),
}

/// Deepest nesting accepted (chosen).
const DEEPEST: usize = 32;

impl Value {
    /// Parses one value that takes up all of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Value, String> {
        let mut parser = Parser { bytes, at: 0 };
        let value = parser.value(0)?;
        if parser.at == bytes.len() {
            Ok(value)
        } else {
            Err(format!("{} bytes after the value", bytes.len() - parser.at))
        }
    }

    /// Parses one value at the start of `bytes`, and how many bytes it takes up.
    pub fn parse_prefix(bytes: &[u8]) -> Option<(Value, usize)> {
        let mut parser = Parser { bytes, at: 0 };
        let value = parser.value(0).ok()?;
        Some((value, parser.at))
    }

    /// The value in its one serialised form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Int(number) => out.extend_from_slice(format!("i{number}e").as_bytes()),
            Value::Bytes(bytes) => write_string(bytes, out),
            Value::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.write(out));
                out.push(b'e');
            }
            Value::Dict(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    write_string(key, out);
                    value.write(out);
                }
                out.push(b'e');
            }
        }
    }

    /// A dictionary of these entries.
    pub fn dict<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
        let entries = entries.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value));
        Value::Dict(entries.collect())
    }

    /// A byte string.
    pub fn bytes(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bytes(bytes.as_ref().to_vec())
    }

    /// The entry of a dictionary under this key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Dict(entries) => entries.get(key.as_bytes()),
            _ => None,
        }
    }

    /// A string's bytes.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        match self.peek()? {
            b'i' => {
                self.at += 1;
                self.number(b'e').map(Value::Int)
            }
            b'l' => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.ends() {
                    items.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Ok(Value::List(items))
            }
            b'd' => self.dict(depth),
            b'0'..=b'9' => self.string().map(Value::Bytes),
            other => Err(format!("byte {other:#04x} begins no value")),
        }
    }

    fn dict(&mut self, depth: usize) -> Result<Value, String> {
        self.at += 1;
        let mut entries: BTreeMap<Vec<u8>, Value> = BTreeMap::new();
        while !self.ends() {
            let key = self.string()?;
            if entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(format!("key {:?} is out of order", String::from_utf8_lossy(&key)));
            }
            let value = self.value(depth + 1)?;
            entries.insert(key, value);
        }
        self.at += 1;
        Ok(Value::Dict(entries))
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        let length = usize::try_from(self.number(b':')?).map_err(|_| "negative length")?;
        let end = self.at.checked_add(length).ok_or("absurd length")?;
        let run = self.bytes.get(self.at..end).ok_or("string ends early")?;
        self.at = end;
        Ok(run.to_vec())
    }

    fn number(&mut self, end: u8) -> Result<i64, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == end).ok_or("number does not end")?;
        let text = std::str::from_utf8(&rest[..length]).map_err(|_| "number is no text")?;
        let number: i64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        if number.to_string() != text {
            return Err(format!("{text:?} is not how {number} is written"));
        }
        self.at += length + 1;
        Ok(number)
    }

    fn peek(&self) -> Result<u8, String> {
        self.bytes.get(self.at).copied().ok_or_else(|| "ends early".to_owned())
    }

    fn ends(&self) -> bool {
        self.bytes.get(self.at) == Some(&b'e')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_bep_3_parse_and_write_back() {
        for text in ["4:spam", "i3e", "i-3e", "i0e", "l4:spam4:eggse", "d3:cow3:moo4:spam4:eggse"] {
            let value = Value::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(value.to_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn what_bep_3_forbids_does_not_parse() {
        for text in ["i-0e", "i03e", "", "i3", "5:spam", "l", "d1:bi1e1:ai2ee", "4:spamx", "-1:x"] {
            assert!(Value::parse(text.as_bytes()).is_err(), "{text} parsed");
        }
        assert!(Value::parse(&[b'l'; 1000]).is_err());
    }
}
