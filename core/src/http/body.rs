//! How a body is delimited: by its length, in chunks, or by the end of the connection
//! (RFC 9112, sections 6 and 7).
//!
//! The decoder hands out slices of what it is given and holds no bytes itself; how much of the body
//! is kept is for its caller. Chunk extensions and trailers are skipped, up to a bound.

use super::HttpError;

/// Longest line with a chunk's size and extensions, in bytes (chosen).
const MAX_CHUNK_LINE: u32 = 1024;

/// Longest trailer after the last chunk, in bytes (chosen).
const MAX_TRAILER: u32 = 8 << 10;

/// What delimits a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// So many bytes.
    Length(u64),
    /// The chunked transfer coding.
    Chunked,
    /// All that comes until the connection ends.
    UntilClose,
}

/// Takes a body out of a stream, in any cut.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes more.
    Length(u64),
    UntilClose,
    /// In the line that gives a chunk's size; `digits` and `line` count its bytes.
    Size {
        size: u64,
        digits: u32,
    },
    Extension {
        size: u64,
        line: u32,
    },
    SizeLf(u64),
    /// So many bytes of the chunk more.
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    /// After the last chunk; `line` counts the bytes of the line without its end.
    Trailer {
        line: u32,
        total: u32,
    },
    Done,
}

impl BodyDecoder {
    /// A decoder at the start of a body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(len) => State::Length(len),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
            Framing::UntilClose => State::UntilClose,
        };
        BodyDecoder { state }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes the next part of the body off the front of `data`. `None`: the body is complete (what
    /// is left in `data` is not part of it), or all of `data` is used up.
    pub fn decode<'a>(&mut self, data: &mut &'a [u8]) -> Result<Option<&'a [u8]>, HttpError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::UntilClose => {
                    let part = std::mem::take(data);
                    return Ok((!part.is_empty()).then_some(part));
                }
                State::Length(left) | State::Chunk(left) => {
                    let part = take_up_to(data, *left);
                    *left = left.saturating_sub(part.len() as u64);
                    if *left == 0 {
                        self.state = match self.state {
                            State::Chunk(_) => State::ChunkCr,
                            _ => State::Done,
                        };
                    }
                    return Ok((!part.is_empty()).then_some(part));
                }
                _ => {
                    let Some((&byte, rest)) = data.split_first() else { return Ok(None) };
                    *data = rest;
                    self.state = self.state.after(byte)?;
                }
            }
        }
    }

    /// The connection has ended: is that the end of the body too?
    pub fn handle_close(&mut self) -> Result<(), HttpError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(HttpError::UnexpectedEnd),
        }
    }
}

impl State {
    /// The next state in the lines between chunks.
    fn after(self, byte: u8) -> Result<State, HttpError> {
        match (self, byte) {
            (State::Size { digits: 1.., size }, b'\r') => Ok(State::SizeLf(size)),
            (State::Size { digits: 1.., size }, b';' | b' ' | b'\t') => {
                Ok(State::Extension { size, line: 0 })
            }
            (State::Size { size, digits }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(HttpError::BadChunk)?;
                let shifted = size.checked_mul(16).ok_or(HttpError::BadChunk)?;
                Ok(State::Size { size: shifted | u64::from(digit), digits: bounded(digits)? })
            }
            (State::Extension { size, .. }, b'\r') => Ok(State::SizeLf(size)),
            (State::Extension { size, line }, _) => {
                Ok(State::Extension { size, line: bounded(line)? })
            }
            (State::SizeLf(0), b'\n') => Ok(State::Trailer { line: 0, total: 0 }),
            (State::SizeLf(size), b'\n') => Ok(State::Chunk(size)),
            (State::ChunkCr, b'\r') => Ok(State::ChunkLf),
            (State::ChunkLf, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            (State::Trailer { line: 0, .. }, b'\n') => Ok(State::Done),
            (State::Trailer { total, .. }, _) if total >= MAX_TRAILER => Err(HttpError::BadChunk),
            (State::Trailer { line, total }, _) => {
                let line = match byte {
                    b'\n' => 0,
                    b'\r' => line,
                    _ => line.saturating_add(1),
                };
                Ok(State::Trailer { line, total: total.saturating_add(1) })
            }
            _ => Err(HttpError::BadChunk),
        }
    }
}

fn bounded(count: u32) -> Result<u32, HttpError> {
    if count < MAX_CHUNK_LINE { Ok(count + 1) } else { Err(HttpError::BadChunk) }
}

fn take_up_to<'a>(data: &mut &'a [u8], len: u64) -> &'a [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX).min(data.len());
    let (part, rest) = data.split_at(len);
    *data = rest;
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use quickcheck::quickcheck;

    /// The body, whether it is complete, and how many bytes are left over.
    fn decode(framing: Framing, mut data: &[u8]) -> Result<(Vec<u8>, bool, usize), HttpError> {
        let mut decoder = BodyDecoder::new(framing);
        let mut body = Vec::new();
        while let Some(part) = decoder.decode(&mut data)? {
            body.extend_from_slice(part);
        }
        Ok((body, decoder.is_done(), data.len()))
    }

    #[test]
    fn length_delimits_and_leaves_the_rest() {
        let length = |len, data| decode(Framing::Length(len), data).unwrap();
        assert_eq!(length(3, b"abcd"), (b"abc".to_vec(), true, 1));
        assert_eq!(length(5, b"abcd"), (b"abcd".to_vec(), false, 0));
        assert_eq!(length(0, b"abcd"), (vec![], true, 4));
    }

    #[test]
    fn chunks_are_joined_and_extensions_and_trailers_skipped() {
        let data = b"3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nX: y\r\n\r\nrest";
        let body = decode(Framing::Chunked, data).unwrap();
        assert_eq!(body, (b"abc0123456789".to_vec(), true, 4));
    }

    #[test]
    fn broken_chunks_are_errors() {
        let endless = format!("1;{}", "x".repeat(5000));
        let trailer = format!("0\r\n{}", "x: y\r\n".repeat(5000));
        let zeros = "0".repeat(5000);
        for data in ["\r\n", "-1\r\n", "g\r\n", "1\n", "1\r\nab", "11111111111111111\r\n", ";\r\n"]
            .into_iter()
            .chain([&*endless, &*trailer, &*zeros])
        {
            let result = decode(Framing::Chunked, data.as_bytes());
            assert_eq!(result, Err(HttpError::BadChunk), "{data:.20}");
        }
    }

    #[test]
    fn end_of_connection_ends_only_a_body_that_it_delimits() {
        let mut until_close = BodyDecoder::new(Framing::UntilClose);
        assert!(!until_close.is_done());
        assert_eq!(until_close.handle_close(), Ok(()));
        assert!(until_close.is_done());
        let close = |framing| BodyDecoder::new(framing).handle_close();
        assert_eq!(close(Framing::Length(1)), Err(HttpError::UnexpectedEnd));
        assert_eq!(close(Framing::Chunked), Err(HttpError::UnexpectedEnd));
        assert_eq!(close(Framing::Length(0)), Ok(()));
    }

    quickcheck! {
        fn arbitrary_chunked_bytes_do_not_panic(bytes: Vec<u8>) -> bool {
            let bytes: Vec<u8> =
                bytes.iter().map(|b| b"0123fF;\r\n\r\nx"[usize::from(*b) % 12]).collect();
            decode(Framing::Chunked, &bytes).is_ok_and(|(body, ..)| body.len() <= bytes.len())
                || decode(Framing::Chunked, &bytes) == Err(HttpError::BadChunk)
        }
    }
}
