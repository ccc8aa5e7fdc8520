//! A set of event numbers, a bit each, so that ten minutes of load fit into memory.
//!
//! Used by the books of each sink.

/// The set.
#[derive(Debug, Default, Clone)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// Whether a number is in it.
    pub fn has(&self, number: u32) -> bool {
        self.0.get(place(number)).is_some_and(|word| word & bit(number) != 0)
    }

    /// Puts a number in; `false` where it was in already.
    pub fn put(&mut self, number: u32) -> bool {
        if self.0.len() <= place(number) {
            self.0.resize(place(number) + 1, 0);
        }
        let Some(word) = self.0.get_mut(place(number)) else { return false };
        let new = *word & bit(number) == 0;
        *word |= bit(number);
        new
    }

    /// Puts everything in that is in the other.
    pub fn join(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

fn place(number: u32) -> usize {
    number as usize / 64
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_once() {
        let mut bits = Bits::default();
        assert!(!bits.has(64) && bits.put(64) && !bits.put(64) && bits.has(64));
        assert!(!bits.has(63) && !bits.has(0) && !bits.has(1000));
        let mut more = Bits::default();
        more.put(3);
        more.join(&bits);
        bits.clear();
        assert!(!bits.has(64) && more.has(64) && more.has(3));
    }
}
