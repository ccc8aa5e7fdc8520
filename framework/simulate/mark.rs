//! Records known by their bytes: what the plan sends and the ledger looks for.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

/// A record, known by its bytes.
pub type Mark = u128;

/// The mark of a record's bytes.
pub fn mark_of(bytes: &[u8]) -> Mark {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish128().as_u128()
}
