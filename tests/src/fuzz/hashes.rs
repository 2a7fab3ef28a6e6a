//! Hashes of merkle trees as peers send them (BEP 52, "hashes"): what an answer proves is true.
//!
//! The first bytes say which tree and which run of it; the rest changes the true answer. Whatever
//! comes of that proves the tree's node only if it says what the naive tree, all of whose nodes are
//! computed here, says. Built up from proven answers, a layer is the tree's.

use bitswarm_core::Segments;
use bitswarm_core::merkle::{Accumulator, HashRange, HashTree, TreeNode, TreeShape, filling};
use bitswarm_core::piece::Sha256Hash;
use bitswarm_core::wire::{Decoder, HashRequest, Message};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::input::Input;

/// Most blocks of a file here.
const MOST_BLOCKS: u64 = 300;

/// See the module.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let blocks = u64::from(input.u16()) % MOST_BLOCKS + 1;
    let piece_len = 16_384 << input.below(5);
    let shape = TreeShape::new(blocks * 16_384, piece_len).expect("an allowed length");
    let nodes = naive(blocks as usize);
    assert_eq!(nodes.len(), shape.height() as usize + 1);
    check_whole(&nodes, shape, input.below(nodes.len()) as u32);
    let mut steps = 0;
    while !input.is_empty() && steps < 16 {
        steps += 1;
        let base_layer = input.below(nodes.len() + 1) as u32;
        let length = 1_u32 << input.below(10);
        let index = u32::from(input.byte()).wrapping_mul(length);
        let proof_layers = input.below(nodes.len() + 1) as u32;
        let range = HashRange { base_layer, index, length, proof_layers };
        check(&nodes, shape, &range, &mut input);
    }
}

/// All layers of a tree, filling included, lowest first; written from BEP 52 without the core.
fn naive(blocks: usize) -> Vec<Vec<Sha256Hash>> {
    let leaf = |n: usize| Sha256Hash::from(Sha256::digest(n.to_be_bytes()));
    let mut layer: Vec<Sha256Hash> = (0..blocks).map(leaf).collect();
    layer.resize(blocks.next_power_of_two(), [0; 32]);
    let mut layers = vec![layer];
    while let Some(below) = layers.last().filter(|layer| layer.len() > 1) {
        let above = below.chunks(2).map(|pair| Sha256::digest(pair.concat()).into()).collect();
        layers.push(above);
    }
    layers
}

/// The core's tree over any layer is the naive one.
fn check_whole(nodes: &[Vec<Sha256Hash>], shape: TreeShape, layer: u32) {
    let root = nodes.last().and_then(|top| top.first()).copied();
    let len = shape.len(layer) as usize;
    let (hashes, rest) = nodes[layer as usize].split_at(len);
    assert!(rest.iter().all(|hash| *hash == filling(layer)), "what is left is filling");
    let tree = HashTree::new(shape, layer, Bytes::copy_from_slice(hashes.as_flattened()));
    assert_eq!(tree.and_then(|tree| tree.root()), root);
    let mut accumulator = Accumulator::new(layer);
    hashes.iter().for_each(|hash| accumulator.push(*hash));
    assert_eq!(accumulator.finish(shape.height()), root);
}

fn check(nodes: &[Vec<Sha256Hash>], shape: TreeShape, range: &HashRange, input: &mut Input<'_>) {
    if !range.is_allowed(&shape) {
        return;
    }
    let (layer, first) = (range.base_layer as usize, range.index as usize);
    let run = &nodes[layer][first..first + range.length as usize];
    let node = |node: TreeNode| nodes[node.layer as usize][node.index as usize];
    let truth: Vec<Sha256Hash> = run.iter().copied().chain(range.uncles().map(node)).collect();
    let top = node(range.top());
    assert!(range.top().layer <= shape.height());
    assert_eq!(range.climb(&truth), Some(top), "the true answer proves its top");

    let mut answer = truth.as_flattened().to_vec();
    spoil(&mut answer, input);
    let Some(heard) = over_the_wire(range, &answer) else {
        assert!(!answer.len().is_multiple_of(32), "the message is refused");
        return;
    };
    let is_proven = range.climb(&heard) == Some(top);
    assert_eq!(is_proven, heard == truth, "{range:?} proves what is not so");
}

/// Changes some of an answer, and its length.
fn spoil(answer: &mut Vec<u8>, input: &mut Input<'_>) {
    match input.below(6) {
        0 => {}
        1 => {
            let at = usize::from(input.u16()) % answer.len();
            answer[at] ^= input.byte();
        }
        2 => {
            let (a, b) = (usize::from(input.byte()), usize::from(input.byte()));
            let count = answer.len() / 32;
            for at in 0..32 {
                answer.swap(a % count * 32 + at, b % count * 32 + at);
            }
        }
        3 => answer.truncate(usize::from(input.u16()) % (answer.len() + 1)),
        4 => answer.extend_from_slice(input.run()),
        _ => {
            let bytes = input.run();
            let at = usize::from(input.u16()) % answer.len();
            for (place, byte) in answer[at..].iter_mut().zip(bytes) {
                *place = *byte;
            }
        }
    }
}

/// What the wire makes of it: the same, or nothing.
fn over_the_wire(range: &HashRange, hashes: &[u8]) -> Option<Vec<Sha256Hash>> {
    let request = HashRequest { root: [9; 32], range: *range };
    let message = Message::Hashes { request, hashes: Bytes::copy_from_slice(hashes) };
    let mut out = Segments::new();
    message.encode(&mut out);
    let mut decoder = Decoder::new();
    decoder.push(out.take_all().freeze());
    match decoder.next_message() {
        Ok(Some(Message::Hashes { request: heard, hashes: bytes })) => {
            assert!(heard == request && bytes == hashes);
            let (hashes, rest) = bytes.as_chunks::<32>();
            rest.is_empty().then(|| hashes.to_vec())
        }
        Ok(other) => panic!("{other:?} was sent as hashes"),
        Err(violation) => {
            let _ = violation.to_string();
            None
        }
    }
}
