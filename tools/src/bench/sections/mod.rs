//! The sections of the bench: each file says what it measures, and how.

mod alloc;
mod c;
mod deaths;
mod engine;
mod floor;
mod flow;
mod groups;
mod growth;
mod idle;
mod lifecycle;
mod loads;
mod replay;
mod storage;
mod tasks;
mod typed;
mod wake;
mod workers;

use super::section::Section;

/// In the order of the report.
pub(super) const ALL: &[&Section] = &[
    &floor::SECTION,
    &tasks::SECTION,
    &replay::SECTION,
    &groups::SECTION,
    &wake::SECTION,
    &alloc::SECTION,
    &growth::SECTION,
    &workers::SECTION,
    &storage::SECTION,
    &c::SECTION,
    &typed::SECTION,
    &flow::SECTION,
    &deaths::SECTION,
    &lifecycle::SECTION,
    &idle::SECTION,
    &super::taskbench::SECTION,
];

#[cfg(test)]
mod tests {
    use super::super::section::Source;
    use super::*;

    #[test]
    fn keys_are_unique_and_ratios_are_of_figures_of_the_section() {
        let mut all = Vec::new();
        for section in ALL {
            let keys: Vec<_> = section.figures.iter().map(|figure| figure.key).collect();
            for figure in section.figures {
                let known = |key| assert!(keys.contains(&key), "{}: {key}", figure.key);
                match figure.source {
                    Source::Measured => assert!(!figure.meaning.is_empty(), "{}", figure.key),
                    Source::Ratio(over, under) => [over, under].into_iter().for_each(known),
                    Source::Rate(of) => known(of),
                }
            }
            all.extend(keys);
        }
        for (at, key) in all.iter().enumerate() {
            assert!(!all[..at].contains(key), "{key} twice");
        }
    }

    /// The time that `--quick` and a run without options have been promised to take.
    #[test]
    fn the_sections_fit_into_the_time() {
        let sum = |effort: usize| ALL.iter().map(|section| section.seconds[effort]).sum::<f64>();
        assert!(sum(0) <= 27.0, "quick: {} s", sum(0));
        assert!((50.0..=110.0).contains(&sum(1)), "usually: {} s", sum(1));
    }
}
