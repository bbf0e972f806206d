//! Any bytes as the log of a profile, made into everything that `mailring trace` makes.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tools/src/words.rs"]
#[allow(dead_code)]
mod words;

/// What the modules below use of the command.
mod cli {
    #[allow(dead_code)]
    #[derive(Debug)]
    pub(crate) enum Failure {
        Usage(String),
        Failed(String),
    }
}

#[path = "../../tools/src/trace"]
#[allow(dead_code)]
mod trace {
    mod builder;
    mod html;
    mod lanes;
    mod model;
    mod path;
    mod perfetto;
    mod reader;
    mod summary;
    mod svg;
    mod table;

    use reader::{Log, Which};

    pub(super) fn show(log: &[u8]) {
        let Ok(log) = Log::parse(std::path::Path::new("run.log"), log, 600.0) else { return };
        let Ok(mut runs) = log.choose(Which::All) else { return };
        let _ = html::data(&runs, &[]); // the rest of the page is always the same
        let _ = table::csv(&table::rows(&runs, &[]));
        for run in &mut runs {
            let _ = summary::Summary::of(run).json(run);
            let picture = svg::svg(run, None);
            assert!(!picture.contains("NaN"), "{picture}");
            let _ = perfetto::trace(run);
            let functions: Vec<_> = run.functions.iter().take(1).cloned().collect();
            run.keep(&functions);
        }
    }
}

fuzz_target!(|data: &[u8]| trace::show(data));
