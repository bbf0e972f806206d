//! The minimum effective task granularity: the smallest average time of a task, wall time times
//! processors over tasks, at which the processors do at least half of what the bare kernel does on
//! them. Found by a sweep over the iterations of the kernel; between its points, logarithms are
//! interpolated.

/// Share of the best rate that is asked for.
const SHARE: f64 = 0.5;
/// From one place of the sweep to the next.
const FACTOR: f64 = 1.2;
/// Places of the sweep; tasks of the last take half a millisecond.
const PLACES: usize = 60;

/// A place of the sweep.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Point {
    /// Wall time times processors over tasks, in nanoseconds.
    pub(super) granularity: f64,
    /// Of the best rate.
    pub(super) efficiency: f64,
}

impl Point {
    /// `work_ns` is what the bare kernel takes for a task, `ns` the wall time of all `tasks`.
    pub(super) fn of(work_ns: f64, ns: f64, processors: usize, tasks: usize) -> Self {
        let granularity = ns * processors as f64 / tasks as f64;
        Self { granularity, efficiency: work_ns / granularity }
    }

    fn is_enough(self) -> bool {
        self.efficiency >= SHARE
    }
}

/// Iterations at place `at` of a sweep.
pub(super) fn iterations(at: usize) -> u64 {
    // From 8 on no two places are the same.
    (8.0 * FACTOR.powi(at as i32)).round() as u64
}

/// What a search has found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Found {
    /// In nanoseconds.
    pub(super) metg: f64,
    /// The place of the sweep just above it: where the next search may begin.
    pub(super) at: usize,
}

/// Looks for the place where the efficiency falls below the share, from `start` on: in steps that
/// double until it has been passed, then by halves. `Err` is one of `measure`. If no place is
/// efficient enough, the largest task is the answer: a lower bound.
pub(super) fn search<E>(
    start: usize,
    mut measure: impl FnMut(u64) -> Result<Point, E>,
) -> Result<Found, E> {
    let mut point = |at: usize| measure(iterations(at));
    let start = start.min(PLACES - 1);
    let first = point(start)?;
    let (mut below, mut above) = (None, None);
    if first.is_enough() {
        above = Some((start, first))
    } else {
        below = Some((start, first))
    }
    let (mut at, mut step) = (start, 1);
    while below.is_none() || above.is_none() {
        let next =
            if below.is_none() { at.saturating_sub(step) } else { (at + step).min(PLACES - 1) };
        if next == at {
            break; // the end of the sweep
        }
        let found = point(next)?;
        if found.is_enough() {
            above = Some((next, found))
        } else {
            below = Some((next, found))
        }
        (at, step) = (next, 2 * step);
    }
    let Some((mut high, mut enough)) = above else {
        return Ok(Found { metg: below.map_or(f64::NAN, |(_, point)| point.granularity), at });
    };
    // Even the smallest task is large enough: the figure is an upper bound.
    let Some((mut low, mut little)) = below else {
        return Ok(Found { metg: enough.granularity, at: high });
    };
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        let found = point(middle)?;
        if found.is_enough() {
            (high, enough) = (middle, found)
        } else {
            (low, little) = (middle, found)
        }
    }
    Ok(Found { metg: between(little, enough), at: high })
}

/// The granularity at the share, on the straight line between two points in logarithms.
fn between(little: Point, enough: Point) -> f64 {
    let (from, to) = (little.efficiency.ln(), enough.efficiency.ln());
    let share = if to > from { (SHARE.ln() - from) / (to - from) } else { 1.0 };
    let (from, to) = (little.granularity.ln(), enough.granularity.ln());
    (from + share * (to - from)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system that adds `overhead` nanoseconds to each task; an iteration takes 2.
    fn system(overhead: f64, iterations: u64) -> Point {
        let work = 2.0 * iterations as f64;
        Point::of(work, 1000.0 * (work + overhead) / 2.0, 2, 1000)
    }

    #[test]
    fn granularity_is_processor_time_of_a_task() {
        let point = Point::of(300.0, 6e6, 2, 20_000);
        assert_eq!(point, Point { granularity: 600.0, efficiency: 0.5 });
    }

    /// At half the rate a task takes twice its overhead.
    #[test]
    fn twice_the_overhead_is_found_from_anywhere() {
        for overhead in [100.0, 250.0, 3e3, 166e3] {
            for start in [0, 10, 25, 60, 200] {
                let mut measured = 0;
                let found = search(start, |iterations| {
                    measured += 1;
                    Ok::<_, ()>(system(overhead, iterations))
                });
                let found = found.expect("no error");
                let right = found.metg / (2.0 * overhead);
                assert!((0.99..1.01).contains(&right), "{overhead} from {start}: {found:?}");
                assert!(system(overhead, iterations(found.at)).is_enough());
                assert!(measured <= 16, "{measured} points from {start}");
                let again = search(found.at, |n| Ok::<_, ()>(system(overhead, n)));
                assert_eq!(again, Ok(found));
            }
        }
    }

    #[test]
    fn points_are_interpolated_in_logarithms() {
        let point = |granularity, efficiency| Point { granularity, efficiency };
        let middle = between(point(100.0, 0.25), point(400.0, 1.0));
        assert!((middle - 200.0).abs() < 1e-9, "{middle}");
        assert_eq!(between(point(90.0, 0.5), point(100.0, 0.5)).round(), 100.0);
    }

    #[test]
    fn no_place_and_every_place() {
        let never = |_| Ok::<_, ()>(Point { granularity: 1.0, efficiency: 0.1 });
        assert_eq!(search(5, never), Ok(Found { metg: 1.0, at: PLACES - 1 }));
        let always = |_| Ok::<_, ()>(Point { granularity: 7.0, efficiency: 0.9 });
        assert_eq!(search(5, always), Ok(Found { metg: 7.0, at: 0 }));
        assert_eq!(search(5, |_| Err::<Point, _>("no")), Err("no"));
    }

    #[test]
    fn places_of_the_sweep_differ() {
        for at in 1..PLACES {
            assert!(iterations(at) > iterations(at - 1), "{at}");
        }
    }
}
