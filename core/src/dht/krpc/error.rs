//! Error codes that go over the wire (BEP 5, "errors"; BEP 44, "errors").

use std::fmt;

/// What a node says about a query that it does not carry out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub enum ErrorCode {
    /// 201.
    Generic,
    /// 202.
    Server,
    /// 203: a malformed packet, invalid arguments, or a bad token.
    Protocol,
    /// 204.
    MethodUnknown,
    /// 205: the value is too big.
    ValueTooBig,
    /// 206: the signature does not fit.
    BadSignature,
    /// 207: the salt is too big.
    SaltTooBig,
    /// 301: the item is not the one that was to be replaced.
    CasMismatch,
    /// 302: there is a newer item.
    SequenceTooLow,
    /// A code that no BEP names.
    Other(i64),
}

impl ErrorCode {
    /// From its number.
    pub fn from_number(number: i64) -> Self {
        match number {
            201 => ErrorCode::Generic,
            202 => ErrorCode::Server,
            203 => ErrorCode::Protocol,
            204 => ErrorCode::MethodUnknown,
            205 => ErrorCode::ValueTooBig,
            206 => ErrorCode::BadSignature,
            207 => ErrorCode::SaltTooBig,
            301 => ErrorCode::CasMismatch,
            302 => ErrorCode::SequenceTooLow,
            other => ErrorCode::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> i64 {
        match self {
            ErrorCode::Generic => 201,
            ErrorCode::Server => 202,
            ErrorCode::Protocol => 203,
            ErrorCode::MethodUnknown => 204,
            ErrorCode::ValueTooBig => 205,
            ErrorCode::BadSignature => 206,
            ErrorCode::SaltTooBig => 207,
            ErrorCode::CasMismatch => 301,
            ErrorCode::SequenceTooLow => 302,
            ErrorCode::Other(number) => number,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorCode::Generic => "generic error",
            ErrorCode::Server => "server error",
            ErrorCode::Protocol => "invalid arguments or token",
            ErrorCode::MethodUnknown => "method unknown",
            ErrorCode::ValueTooBig => "value too big",
            ErrorCode::BadSignature => "invalid signature",
            ErrorCode::SaltTooBig => "salt too big",
            ErrorCode::CasMismatch => "the stored item is another one; read it and try again",
            ErrorCode::SequenceTooLow => "a newer item is stored",
            ErrorCode::Other(number) => return write!(f, "error {number}"),
        })
    }
}
