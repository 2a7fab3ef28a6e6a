//! The naive tree: every node of every layer, filling included. For tests.

use crate::piece::Sha256Hash;

/// All layers above the given hashes of `layer`, which are filled up to `2^height`; lowest first.
pub(crate) fn layers(hashes: &[Sha256Hash], layer: u32, height: u32) -> Vec<Vec<Sha256Hash>> {
    let mut filling = [0; 32];
    (0..layer).for_each(|_| filling = super::parent(&filling, &filling));
    let mut nodes = hashes.to_vec();
    nodes.resize(1 << height, filling);
    let mut layers = vec![nodes];
    while layers[layers.len() - 1].len() > 1 {
        let below = &layers[layers.len() - 1];
        layers.push(below.chunks(2).map(|pair| super::parent(&pair[0], &pair[1])).collect());
    }
    layers
}

/// The root of that tree.
pub(crate) fn root(hashes: &[Sha256Hash], layer: u32, height: u32) -> Sha256Hash {
    layers(hashes, layer, height)[height as usize][0]
}
