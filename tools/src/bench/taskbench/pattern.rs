//! The dependence patterns of Task Bench (Slaughter et al., SC'20): who waits for whom.
//!
//! A graph has steps, and each step has points. A task waits for tasks of the step before it.

use std::ops::Range;

/// Tasks that a task of `nearest`, `spread` and `random_nearest` waits for, at most.
const RADIX: usize = 5;
/// Steps after which `spread` and `random_nearest` repeat.
const PERIOD: usize = 3;
/// Share of the neighbours that a task of `random_nearest` waits for.
const CONNECTED: f64 = 0.5;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Pattern {
    Trivial,
    NoComm,
    Stencil,
    Nearest,
    Spread,
    Fft,
    Tree,
    Dom,
    RandomNearest,
}

impl Pattern {
    pub(super) const ALL: [Self; 9] = [
        Self::Trivial,
        Self::NoComm,
        Self::Stencil,
        Self::Nearest,
        Self::Spread,
        Self::Fft,
        Self::Tree,
        Self::Dom,
        Self::RandomNearest,
    ];

    /// As Task Bench calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trivial => "trivial",
            Self::NoComm => "no_comm",
            Self::Stencil => "stencil_1d",
            Self::Nearest => "nearest",
            Self::Spread => "spread",
            Self::Fft => "fft",
            Self::Tree => "tree",
            Self::Dom => "dom",
            Self::RandomNearest => "random_nearest",
        }
    }

    /// The points that step `step` of `steps` has. A tree grows from one point; the wave of `dom`
    /// grows from one corner and ends in another; all others have the whole width.
    pub(super) fn points(self, step: usize, steps: usize, width: usize) -> Range<usize> {
        match self {
            Self::Tree => 0..width.min(1 << step.min(62)),
            Self::Dom => {
                let first = (step + width).saturating_sub(steps);
                first..first + width.min(step + 1).min(steps - step)
            }
            _ => 0..width,
        }
    }

    /// The points of step `step - 1` that `point` of step `step` waits for, in order, each once.
    pub(super) fn waits_for(
        self,
        point: usize,
        step: usize,
        steps: usize,
        width: usize,
    ) -> Vec<usize> {
        if step == 0 {
            return Vec::new();
        }
        let mut all: Vec<usize> = match self {
            Self::Trivial => Vec::new(),
            Self::NoComm => vec![point],
            Self::Stencil => (point.saturating_sub(1)..=point + 1).collect(),
            Self::Nearest => near(point).collect(),
            Self::Spread => (0..RADIX)
                .map(|i| {
                    let moved = if i > 0 { step % PERIOD } else { 0 };
                    (point + i * width / RADIX + moved) % width
                })
                .collect(),
            Self::Fft => {
                let sets = width.next_power_of_two().trailing_zeros().max(1) as usize;
                let far = 1 << ((step + sets - 1) % sets);
                let below = point.checked_sub(far);
                below.into_iter().chain([point, point + far]).collect()
            }
            Self::Tree => vec![point / 2],
            Self::Dom => (point.saturating_sub(1)..=point).collect(),
            Self::RandomNearest => near(point)
                .filter(|&other| other == point || chance(step % PERIOD, other, point) < CONNECTED)
                .collect(),
        };
        let before = self.points(step - 1, steps, width);
        all.retain(|other| before.contains(other));
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn near(point: usize) -> impl Iterator<Item = usize> {
    point.saturating_sub(RADIX / 2)..=point + (RADIX - 1) / 2
}

/// From 0 to 1, always the same for the same numbers.
fn chance(set: usize, from: usize, to: usize) -> f64 {
    let mut bits = ((set as u64) << 40 | (from as u64) << 20 | to as u64) + 1;
    for _ in 0..2 {
        bits = (bits ^ bits >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Step 4 of 100 of width 8, but for what is said otherwise.
    fn waits(pattern: Pattern, point: usize) -> Vec<usize> {
        pattern.waits_for(point, 4, 100, 8)
    }

    #[test]
    fn nothing_waits_in_the_first_step() {
        for pattern in Pattern::ALL {
            for point in pattern.points(0, 100, 8) {
                assert_eq!(pattern.waits_for(point, 0, 100, 8), [0; 0], "{}", pattern.name());
            }
        }
    }

    #[test]
    fn patterns_without_neighbours() {
        assert_eq!(waits(Pattern::Trivial, 3), [0; 0]);
        assert_eq!(waits(Pattern::NoComm, 3), [3]);
    }

    #[test]
    fn a_stencil_ends_at_the_borders() {
        assert_eq!(waits(Pattern::Stencil, 3), [2, 3, 4]);
        assert_eq!(waits(Pattern::Stencil, 0), [0, 1]);
        assert_eq!(waits(Pattern::Stencil, 7), [6, 7]);
    }

    #[test]
    fn nearest_are_five() {
        assert_eq!(waits(Pattern::Nearest, 3), [1, 2, 3, 4, 5]);
        assert_eq!(waits(Pattern::Nearest, 0), [0, 1, 2]);
        assert_eq!(waits(Pattern::Nearest, 7), [5, 6, 7]);
    }

    /// D(t, i) = i and i + k W / radix, moved by the number of the set.
    #[test]
    fn spread_is_spread_and_moves() {
        let at = |step| Pattern::Spread.waits_for(0, step, 100, 20);
        assert_eq!(at(3), [0, 4, 8, 12, 16]);
        assert_eq!(at(1), [0, 5, 9, 13, 17]);
        assert_eq!(at(2), [0, 6, 10, 14, 18]);
        assert_eq!(at(4), at(1));
    }

    /// D(t, i) = i, i - 2^t, i + 2^t; t modulo the logarithm of the width.
    #[test]
    fn fft_doubles_its_distance() {
        let at = |step| Pattern::Fft.waits_for(5, step, 100, 16);
        assert_eq!(at(1), [4, 5, 6]);
        assert_eq!(at(2), [3, 5, 7]);
        assert_eq!(at(3), [1, 5, 9]);
        assert_eq!(at(4), [5, 13]);
        assert_eq!(at(5), at(1));
        assert_eq!(Pattern::Fft.waits_for(0, 1, 9, 1), [0]);
    }

    #[test]
    fn a_tree_doubles_its_width() {
        let widths: Vec<_> = (0..5).map(|step| Pattern::Tree.points(step, 100, 8).len()).collect();
        assert_eq!(widths, [1, 2, 4, 8, 8]);
        assert_eq!(Pattern::Tree.waits_for(3, 2, 100, 8), [1]);
        assert_eq!(waits(Pattern::Tree, 7), [3]);
    }

    #[test]
    fn dom_is_a_wave_from_corner_to_corner() {
        let points = |step| Pattern::Dom.points(step, 6, 3);
        let all: Vec<_> = (0..6).map(points).collect();
        assert_eq!(all, [0..1, 0..2, 0..3, 0..3, 1..3, 2..3]);
        let waits = |point, step| Pattern::Dom.waits_for(point, step, 6, 3);
        assert_eq!(waits(2, 3), [1, 2]);
        assert_eq!(waits(0, 3), [0]);
        assert_eq!(waits(1, 1), [0]);
    }

    #[test]
    fn random_nearest_is_a_part_of_nearest_and_repeats() {
        let (mut some, mut all) = (0, 0);
        for step in 1..=PERIOD {
            for point in 0..64 {
                let of = |pattern: Pattern| pattern.waits_for(point, step, 100, 64);
                let (random, nearest) = (of(Pattern::RandomNearest), of(Pattern::Nearest));
                assert!(random.contains(&point));
                assert!(random.iter().all(|other| nearest.contains(other)));
                let later = Pattern::RandomNearest.waits_for(point, step + PERIOD, 100, 64);
                assert_eq!(random, later);
                some += random.len() - 1;
                all += nearest.len() - 1;
            }
        }
        let share = f64::from(some as u32) / f64::from(all as u32);
        assert!((0.4..0.6).contains(&share), "{share}");
    }
}
