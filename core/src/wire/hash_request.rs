//! Which hashes a hash request, its answer or its reject is about (BEP 52, "hash request").

use crate::merkle::HashRange;
use crate::piece::Sha256Hash;

/// Length of the fields in bytes: a root and four numbers.
pub const HASH_REQUEST_LEN: usize = 48;

/// A run of hashes of one file's merkle tree, as the three messages name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HashRequest {
    /// The root of the file's tree, by which it is known.
    pub root: Sha256Hash,
    /// The hashes, and those that prove them.
    pub range: HashRange,
}

impl HashRequest {
    /// The fields in their order on the wire.
    pub fn to_bytes(&self) -> [u8; HASH_REQUEST_LEN] {
        let HashRange { base_layer, index, length, proof_layers } = self.range;
        let mut bytes = [0; HASH_REQUEST_LEN];
        let (root, numbers) = bytes.split_at_mut(self.root.len());
        root.copy_from_slice(&self.root);
        let fields = [base_layer, index, length, proof_layers];
        for (to, number) in numbers.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// Reads the fields. That there are such hashes is not looked at.
    pub fn from_bytes(bytes: &[u8; HASH_REQUEST_LEN]) -> Self {
        let (root, rest) = bytes.split_first_chunk().unwrap_or((&[0; 32], &[]));
        let mut numbers = rest.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes));
        let mut number = || numbers.next().unwrap_or(0);
        let range = HashRange {
            base_layer: number(),
            index: number(),
            length: number(),
            proof_layers: number(),
        };
        HashRequest { root: *root, range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_order_that_bep_52_gives_them() {
        let range = HashRange { base_layer: 1, index: 0x0203_0405, length: 512, proof_layers: 6 };
        let request = HashRequest { root: [7; 32], range };
        let numbers = [0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 2, 0, 0, 0, 0, 6];
        assert_eq!(request.to_bytes()[..], [&[7; 32][..], &numbers].concat());
        assert_eq!(HashRequest::from_bytes(&request.to_bytes()), request);
    }
}
