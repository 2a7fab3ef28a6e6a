//! File trees and piece layers of v2 (BEP 52): the input is the value of `file tree`, put into a
//! torrent of v2 alone and into a hybrid of one file, without layers, with none, and with one for a
//! root that it may name. What is read fulfils all that the target `metainfo` checks.

/// What stands in `info` besides, for pieces of 16 KiB.
const REST: &[u8] = b"12:meta versioni2e4:name1:a12:piece lengthi16384e";

/// The v1 part of a file of five bytes, before and after that.
const V1: [&[u8]; 2] = [b"6:lengthi5e", b"6:pieces20:aaaaaaaaaaaaaaaaaaaa"];

/// A layer of two hashes, of letters a and b, under the root that they make.
fn layer() -> Vec<u8> {
    let (left, right) = ([b'a'; 32], [b'b'; 32]);
    let root = bitswarm_core::merkle::parent(&left, &right);
    [b"12:piece layersd32:", &root[..], b"64:", &left, &right, b"e"].concat()
}

/// See the module.
pub(super) fn run(data: &[u8]) {
    for [before, after] in [[&b""[..]; 2], V1] {
        let info = [b"d4:infod9:file tree", data, before, REST, after, b"e"].concat();
        for layers in [&b""[..], b"12:piece layersde", &layer()] {
            super::metainfo::run(&[&info, layers, b"e"].concat());
        }
    }
}
