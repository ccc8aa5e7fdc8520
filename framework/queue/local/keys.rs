//! Keys of blocks and positions of records, as the tables have them: `number << 43 | position`.

use super::fault::Fault;
use super::schema::POSITION_BITS;

/// A position as it is stored.
pub(super) fn position(stored: i64) -> Result<u64, Fault> {
    u64::try_from(stored).map_err(|_| Fault::damaged("a position is negative"))
}

/// A position as it is put into the store.
pub(super) fn stored(position: u64) -> i64 {
    i64::try_from(position).expect("an instance has fewer than 2^43 records in all")
}

/// The key of the block that begins at this position.
pub(super) fn key(number: i64, position: u64) -> i64 {
    (number << POSITION_BITS) | stored(position)
}

/// The position in a block's key.
pub(super) fn position_of(key: i64) -> u64 {
    (key & ((1 << POSITION_BITS) - 1)).unsigned_abs()
}
