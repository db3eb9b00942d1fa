//! How much of the app has to run.
//!
//! Invariant: a threshold that was missed says which, by how much, and which file to look at.

use std::str::FromStr;

use super::files::{FileCoverage, Files, Share, Shares};

/// In percent of all files together.
#[derive(Clone, Debug, Default)]
pub struct Thresholds {
    lines: Option<f64>,
    branches: Option<f64>,
    functions: Option<f64>,
}

/// Its name, what it has to be, what it is of all files, and how it is found of one.
type Metric = (&'static str, Option<f64>, Share, fn(Shares) -> Share);

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut thresholds = Thresholds::default();
        for part in text.split(',') {
            let wrong = || format!("`{part}`: write it as in `lines=90,functions=80,branches=70`");
            let (name, percent) = part.split_once('=').ok_or_else(wrong)?;
            let percent: f64 = percent.trim_end_matches('%').parse().map_err(|_| wrong())?;
            if !(0.0..=100.0).contains(&percent) {
                return Err(format!("`{part}`: a percentage is from 0 to 100"));
            }
            let place = match name.trim() {
                "lines" | "statements" => &mut thresholds.lines,
                "branches" => &mut thresholds.branches,
                "functions" => &mut thresholds.functions,
                _ => return Err(wrong()),
            };
            *place = Some(percent);
        }
        Ok(thresholds)
    }
}

impl Thresholds {
    /// A sentence for each one that was missed.
    pub fn missed(&self, files: &Files) -> Vec<String> {
        if files.is_empty() {
            return vec!["--coverage-threshold: no script of the app was loaded".to_owned()];
        }
        let all = Shares::of_all(files);
        let metrics: [Metric; 3] = [
            ("lines", self.lines, all.lines, |shares| shares.lines),
            ("branches", self.branches, all.branches, |shares| shares.branches),
            ("functions", self.functions, all.functions, |shares| shares.functions),
        ];
        let told = |(name, least, share, of): Metric| {
            let least = least.filter(|least| share.percent() < *least)?;
            let worst = files.iter().map(|(file, each)| (file, of(FileCoverage::shares(each))));
            let (file, lowest) = worst.min_by(|a, b| a.1.percent().total_cmp(&b.1.percent()))?;
            let (percent, lowest) = (share.percent(), lowest.percent());
            Some(format!(
                "coverage: {percent:.2} % of {name} ran, less than the {least} % of \
                 --coverage-threshold; the least in {file}: {lowest:.2} %"
            ))
        };
        metrics.into_iter().filter_map(told).collect()
    }
}
