//! Diffie-Hellman over the 768-bit prime of MSE: generator 2, exponents of 160 bits.
//!
//! A step, of which a handshake takes two, costs about 60 microseconds.

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams};
use crypto_bigint::{U192, U768, const_monty_params};

/// Bytes of a public key, and of the shared secret.
pub const KEY_LEN: usize = 96;
/// Bytes of a private key.
pub const PRIVATE_LEN: usize = 20;

const_monty_params!(
    Prime,
    U768,
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A63A36210000000000090563",
    "The prime of MSE."
);

type Element = ConstMontyForm<Prime, { U768::LIMBS }>;

/// The exponent that one side keeps to itself.
#[derive(Clone)]
pub struct PrivateKey(U192);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl PrivateKey {
    /// The key that these random bytes make.
    pub fn new(random: [u8; PRIVATE_LEN]) -> Self {
        let mut bytes = [0; 24];
        bytes[4..].copy_from_slice(&random);
        PrivateKey(U192::from_be_slice(&bytes))
    }

    /// What the other side is told.
    pub fn public(&self) -> [u8; KEY_LEN] {
        self.power_of(&U768::from_u8(2))
    }

    /// What both sides know; `None` if the other side's key is no key: at most 1, or at least the prime
    /// less one, with which the secret is known to everyone.
    pub fn agree(&self, theirs: &[u8; KEY_LEN]) -> Option<[u8; KEY_LEN]> {
        let theirs = U768::from_be_slice(theirs);
        let last = Prime::PARAMS.modulus().as_ref().wrapping_sub(&U768::from_u8(2));
        (theirs > U768::ONE && theirs <= last).then(|| self.power_of(&theirs))
    }

    fn power_of(&self, base: &U768) -> [u8; KEY_LEN] {
        let power = Element::new(base).pow_bounded_exp(&self.0, 8 * PRIVATE_LEN as u32);
        let mut bytes = [0; KEY_LEN];
        bytes.copy_from_slice(power.retrieve().to_be_bytes().as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "96e112dab29e8c5272accb9b17b26887ce54a144a4e3b697c7d159b7a817e556b0918db2b4c658e02a87f7e5fb14b18a553e084cbf3dad2d30f16596ccb982d406258c61b30c5c1dae2ddc60bdbd48d79896312aad63238c39e1a633821eb693";
    const THEIRS: &str = "d32ae8cedd0de9ca4fe67e35626bb8c7cdb0966727d899f6a62fdb2b68817f9ddc4b684e3eb34030b8dba4e028b7cff3264020340cb4eab61923cdc4e4216ba873368d83f0a38e497f1f6b4e3d2012eb91a3ee6056f966f9eae732089b6fa46e";
    const SECRET: &str = "d05ed96a95215a89b44073afe5d0b1626289ac01cff7849392948b2470b346547e944d7562a897ae86976bc389999083ec09572dbdc8ed7f6a0a86a1aa42a3ca04209b72d8239890360435640643b76479ed7836f1857963fcc7cb72084c3ab4";

    fn key(hex: &str) -> [u8; KEY_LEN] {
        let digit = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex");
        std::array::from_fn(digit)
    }

    fn private(first: u8) -> PrivateKey {
        PrivateKey::new(std::array::from_fn(|at| first + at as u8))
    }

    #[test]
    fn keys_and_secret_are_what_arithmetic_says() {
        let (ours, theirs) = (private(1), private(101));
        assert_eq!((ours.public(), theirs.public()), (key(OURS), key(THEIRS)));
        assert_eq!(ours.agree(&theirs.public()), Some(key(SECRET)));
        assert_eq!(theirs.agree(&ours.public()), Some(key(SECRET)));
    }

    #[test]
    fn keys_with_which_everyone_knows_the_secret_are_refused() {
        let at = |less: u8| {
            let prime = Prime::PARAMS.modulus().as_ref().wrapping_sub(&U768::from_u8(less));
            let mut bytes = [0; KEY_LEN];
            bytes.copy_from_slice(prime.to_be_bytes().as_ref());
            bytes
        };
        let small = |number: u8| {
            let mut bytes = [0; KEY_LEN];
            bytes[KEY_LEN - 1] = number;
            bytes
        };
        for refused in [small(0), small(1), at(1), at(0), [0xff; KEY_LEN]] {
            assert_eq!(private(1).agree(&refused), None);
        }
        for taken in [small(2), at(2)] {
            assert!(private(1).agree(&taken).is_some());
        }
    }
}
