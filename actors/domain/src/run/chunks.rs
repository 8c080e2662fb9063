//! Values by the numbers of executions, in chunks that copies share.
//!
//! Every decision is drafted on a copy of its run. A loop over 100,000 items leaves a number behind for each of them: a copy
//! of all of that in every decision would make the loop's cost grow with the square of its items. So it is a tree of
//! shared nodes: a copy counts the references of its topmost ones, a change copies the two nodes that lead to it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// How many values stand in a chunk, and how many chunks in a group.
const WIDTH: u32 = 64;

type Group<T> = Arc<Vec<Arc<Vec<T>>>>;

/// Values by number. What was never put is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunks<T>(BTreeMap<u32, Group<T>>);

impl<T: Clone + Default> Chunks<T> {
    /// Puts a value in the place of the one before, which it gives back.
    pub fn put(&mut self, no: u32, value: T) -> T {
        let (group, chunk, place) = path(no);
        let chunks = Arc::make_mut(self.0.entry(group).or_insert_with(fresh));
        std::mem::replace(&mut Arc::make_mut(&mut chunks[chunk])[place], value)
    }

    /// The value of a number.
    pub fn get(&self, no: u32) -> T {
        let (group, chunk, place) = path(no);
        self.0.get(&group).map(|chunks| chunks[chunk][place].clone()).unwrap_or_default()
    }
}

/// A group of which no chunk holds anything: all of them are one until they do.
fn fresh<T: Clone + Default>() -> Group<T> {
    let empty = Arc::new(vec![T::default(); WIDTH as usize]);
    Arc::new(std::iter::repeat_n(empty, WIDTH as usize).collect())
}

/// Where a number stands: its group, its chunk in that, its place in that.
const fn path(no: u32) -> (u32, usize, usize) {
    (no / (WIDTH * WIDTH), (no / WIDTH % WIDTH) as usize, (no % WIDTH) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_what_neither_has_changed() {
        let mut all = Chunks::<u32>::default();
        for no in 0..2 * WIDTH * WIDTH {
            assert_eq!(all.put(no, no + 1), 0);
        }
        let mut copy = all.clone();
        let changed = WIDTH * WIDTH + WIDTH;
        assert_eq!(copy.put(changed, 7), changed + 1);
        assert_eq!((copy.get(changed), all.get(changed), all.get(9 * WIDTH * WIDTH)), (7, changed + 1, 0));
        assert!(Arc::ptr_eq(&all.0[&0], &copy.0[&0]) && !Arc::ptr_eq(&all.0[&1], &copy.0[&1]));
        let shared = (0..WIDTH as usize).filter(|chunk| Arc::ptr_eq(&all.0[&1][*chunk], &copy.0[&1][*chunk])).count();
        assert_eq!(shared, WIDTH as usize - 1);
        assert!((0..2 * WIDTH * WIDTH).all(|no| no == changed || copy.get(no) == no + 1));
    }
}
