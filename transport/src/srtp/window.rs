//! Which packet indices were used (RFC 3711 §3.3.2), and which index a sequence number stands for (§3.3.1).

/// How far back an index is remembered. RFC 3711 asks for 64 at least; a burst of video, reordered or
/// repaired late, is longer.
const SPAN: u64 = 1024;

/// The indices of one stream, newest [`SPAN`] of them.
#[derive(Default)]
pub(super) struct Window {
    newest: Option<u64>,
    /// Index `i` is bit `i % SPAN`.
    used: [u64; (SPAN / 64) as usize],
}

impl Window {
    /// The full index of a sequence number: the nearest to the newest used. `None`: before the beginning.
    pub(super) fn nearest(&self, seq: u16) -> Option<u64> {
        match self.newest {
            None => Some(u64::from(seq)),
            Some(newest) => newest.checked_add_signed(i64::from(seq.wrapping_sub(newest as u16) as i16)),
        }
    }

    /// True if the index was not used, and is not too old to tell.
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        match self.newest {
            None => true,
            Some(newest) if index > newest => true,
            Some(newest) => newest - index < SPAN && !self.bit(index),
        }
    }

    /// Remembers a fresh index as used. True if it is the newest.
    pub(super) fn mark(&mut self, index: u64) -> bool {
        let is_newest = self.newest.is_none_or(|newest| index > newest);
        if is_newest {
            let first_skipped = self.newest.map_or(index, |newest| newest + 1);
            if index - first_skipped >= SPAN {
                self.used = Default::default();
            } else {
                (first_skipped..index).for_each(|skipped| self.set(skipped, false));
            }
            self.newest = Some(index);
        }
        self.set(index, true);
        is_newest
    }

    fn bit(&self, index: u64) -> bool {
        let place = index % SPAN;
        self.used[(place / 64) as usize] >> (place % 64) & 1 == 1
    }

    fn set(&mut self, index: u64, used: bool) {
        let place = index % SPAN;
        let word = &mut self.used[(place / 64) as usize];
        *word = *word & !(1 << (place % 64)) | u64::from(used) << (place % 64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against the obvious model: a set of all indices ever used.
        #[test]
        fn it_agrees_with_a_set(steps in proptest::collection::vec(-3000i64..3000, 1..400)) {
            let (mut window, mut used, mut newest) = (Window::default(), BTreeSet::new(), 10_000i64);
            for (i, step) in steps.into_iter().enumerate() {
                let index = (newest + step).max(0);
                let fresh = i == 0 || index > newest || newest - index < SPAN as i64 && !used.contains(&index);
                prop_assert_eq!(window.is_fresh(index as u64), fresh);
                if fresh {
                    window.mark(index as u64);
                    used.insert(index);
                    newest = if i == 0 { index } else { newest.max(index) };
                }
            }
        }

        #[test]
        fn numbers_stand_for_the_nearest_index(newest in 40_000u64..1 << 40, offset in -30_000i64..30_000) {
            let mut window = Window::default();
            window.mark(newest);
            let index = newest.saturating_add_signed(offset);
            prop_assert_eq!(window.nearest(index as u16), Some(index));
        }
    }

    #[test]
    fn nothing_comes_before_the_beginning() {
        let mut window = Window::default();
        window.mark(5);
        assert_eq!(window.nearest(65_530), None);
    }
}
