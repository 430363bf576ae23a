//! Keys that no peer knows.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// A key that nobody can guess, from the seed the system gave this process.
#[must_use]
pub fn random_key() -> [u8; 16] {
    let mut key = [0; 16];
    for (number, half) in key.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *half = RandomState::new().hash_one(number).to_le_bytes();
    }
    key
}
