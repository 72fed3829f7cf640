//! Random streams, derived by name from a trial's seed: never by rank, so that no split of the work changes them.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The stream `name` with these indices (an epoch, a layer, a unit) under a root seed.
pub fn stream(root: u64, name: &str, indices: &[u64]) -> Xoshiro256PlusPlus {
    let mut hasher = blake3::Hasher::new_derive_key("spillbench random stream");
    hasher.update(&root.to_le_bytes());
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    for index in indices {
        hasher.update(&index.to_le_bytes());
    }
    Xoshiro256PlusPlus::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::stream;

    #[test]
    fn streams_are_told_apart_by_seed_name_and_index_and_repeat() {
        let first = |root, name, indices: &[u64]| stream(root, name, indices).next_u64();
        let base = first(1, "init", &[0, 1]);
        assert_eq!(base, first(1, "init", &[0, 1]));
        for other in [first(2, "init", &[0, 1]), first(1, "shuffle", &[0, 1]), first(1, "init", &[1, 0])] {
            assert_ne!(base, other);
        }
    }
}
