//! Random bits for ids and jitter. A simulation gives its thread a seed, and gets the same ones again.
//!
//! What must be guessed by nobody, such as a link or a code, is drawn elsewhere: it has no seed.

use std::cell::RefCell;

use rand::distr::{Distribution, StandardUniform};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

thread_local! {
    static SEEDED: RefCell<Option<StdRng>> = const { RefCell::new(None) };
}

/// A random value.
pub fn random<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    SEEDED.with_borrow_mut(|seeded| seeded.as_mut().map_or_else(rand::random, Rng::random))
}

/// From now on this thread draws what follows from the seed. For simulations, which have one thread.
pub fn seed_this_thread(seed: u64) {
    SEEDED.set(Some(StdRng::seed_from_u64(seed)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_what_is_drawn_on_its_thread_alone() {
        let drawn = || std::array::from_fn::<u128, 3, _>(|_| random());
        let of_seed = |seed| {
            std::thread::spawn(move || {
                seed_this_thread(seed);
                drawn()
            })
        };
        let [first, again, other] = [7, 7, 8].map(|seed| of_seed(seed).join().expect("it draws"));
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert_ne!(first, drawn(), "nobody has given this thread a seed");
    }
}
