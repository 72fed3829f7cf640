//! The checksum of an extent: XXH3 of 64 bits, about as fast as memory is read.

use xxhash_rust::xxh3::xxh3_64;

/// Finds rot, torn and misplaced writes; it does not resist somebody who forges one.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation, `xxhsum -H3`, of the specification's version 0.8.
    #[test]
    fn it_is_xxh3() {
        assert_eq!(checksum(b""), 0x2d06_8005_38d3_94c2);
    }
}
