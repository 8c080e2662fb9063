//! Values by the numbers of executions, in chunks that copies share.
//!
//! Every decision is drafted on a copy of its run. A loop over 100,000 items leaves a number behind for each of them: a copy
//! of all of that in every decision would make the loop's cost grow with the square of its items.

use std::collections::BTreeMap;
use std::sync::Arc;

/// How many values stand in one chunk.
const CHUNK: u32 = 256;

/// Values by number. What was never put is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunks<T>(BTreeMap<u32, Arc<Vec<T>>>);

impl<T: Clone + Default> Chunks<T> {
    /// Puts a value in the place of the one before, which it gives back.
    pub fn put(&mut self, no: u32, value: T) -> T {
        let chunk = self.0.entry(no / CHUNK).or_insert_with(|| Arc::new(vec![T::default(); CHUNK as usize]));
        std::mem::replace(&mut Arc::make_mut(chunk)[(no % CHUNK) as usize], value)
    }

    /// The value of a number.
    pub fn get(&self, no: u32) -> T {
        self.0.get(&(no / CHUNK)).map(|chunk| chunk[(no % CHUNK) as usize].clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_what_neither_has_changed() {
        let mut all = Chunks::<u32>::default();
        for no in 0..3 * CHUNK {
            assert_eq!(all.put(no, no + 1), 0);
        }
        let mut copy = all.clone();
        assert_eq!(copy.put(CHUNK, 7), CHUNK + 1);
        assert_eq!((copy.get(CHUNK), all.get(CHUNK), all.get(9 * CHUNK)), (7, CHUNK + 1, 0));
        let shared = |chunk: u32| Arc::ptr_eq(&all.0[&chunk], &copy.0[&chunk]);
        assert_eq!([0, 1, 2].map(shared), [true, false, true]);
    }
}
