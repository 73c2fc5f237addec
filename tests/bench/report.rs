//! Lines of a report: what, how much, the goal, whether it is reached.

/// Prints each line when it is known: a long run that ends early has told what it found.
#[derive(Default)]
pub(crate) struct Report {
    silent: bool,
    /// Median seconds of a native jail, as root, once measured.
    pub(crate) jail: Option<f64>,
    /// Median seconds of a raw append and `fdatasync`, once measured.
    pub(crate) fdatasync: Option<f64>,
}

impl Report {
    /// One that nobody reads.
    pub(crate) fn silent() -> Self {
        Self {
            silent: true,
            ..Self::default()
        }
    }

    /// A figure without a goal of its own.
    #[expect(clippy::needless_pass_by_value, reason = "what was just made")]
    pub(crate) fn note(&self, what: &str, value: String) {
        self.line(what, &value, "", "");
    }

    /// A ratio that must not be above `most`.
    pub(crate) fn at_most(&self, what: &str, value: f64, most: f64, unit: &str) {
        self.goal(what, value, unit, &format!("<= {most}"), value <= most);
    }

    /// A ratio that must not be below `least`.
    pub(crate) fn at_least(&self, what: &str, value: f64, least: f64, unit: &str) {
        self.goal(what, value, unit, &format!(">= {least}"), value >= least);
    }

    /// A ratio that must be below `bound`.
    pub(crate) fn below(&self, what: &str, value: f64, bound: f64, unit: &str) {
        self.goal(what, value, unit, &format!("< {bound}"), value < bound);
    }

    /// Something that must not be: each finding is one.
    pub(crate) fn nothing(&self, what: &str, findings: &[String]) {
        match findings {
            [] => self.line(what, "nothing", "nothing", REACHED),
            _ => self.line(what, &findings.join(", "), "nothing", MISSED),
        }
    }

    fn goal(&self, what: &str, value: f64, unit: &str, goal: &str, reached: bool) {
        let verdict = if reached { REACHED } else { MISSED };
        let (value, goal) = (format!("{value:.2}{unit}"), format!("{goal}{unit}"));
        self.line(what, &value, &goal, verdict);
    }

    fn line(&self, what: &str, value: &str, goal: &str, verdict: &str) {
        if !self.silent {
            let line = format!("{what:<58} {value:>18} {goal:>14} {verdict}");
            println!("{}", line.trim_end());
        }
    }
}

const REACHED: &str = "reached";
const MISSED: &str = "MISSED";

/// The middle of `values`.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The value below which `share` of `values` lie.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = (share * (values.len() - 1) as f64) as usize;
    values[at]
}
