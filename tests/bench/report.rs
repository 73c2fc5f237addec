//! Lines of a report: what, how much, the goal, whether it is reached.

#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
    /// Median seconds of a native jail, as root, once measured.
    pub(crate) jail: Option<f64>,
    /// Median seconds of a raw append and `fdatasync`, once measured.
    pub(crate) fdatasync: Option<f64>,
}

struct Line {
    what: String,
    value: String,
    goal: Option<(String, bool)>,
}

impl Report {
    /// A figure without a goal of its own.
    pub(crate) fn note(&mut self, what: &str, value: String) {
        self.lines.push(Line {
            what: what.into(),
            value,
            goal: None,
        });
    }

    /// A ratio that must not be above `most`.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, most: f64, unit: &str) {
        let goal = Some((format!("<= {most}{unit}"), value <= most));
        self.lines.push(Line {
            what: what.into(),
            value: format!("{value:.2}{unit}"),
            goal,
        });
    }

    /// A ratio that must not be below `least`.
    pub(crate) fn at_least(&mut self, what: &str, value: f64, least: f64, unit: &str) {
        let goal = Some((format!(">= {least}{unit}"), value >= least));
        self.lines.push(Line {
            what: what.into(),
            value: format!("{value:.2}{unit}"),
            goal,
        });
    }

    /// A ratio that must be below `bound`.
    pub(crate) fn below(&mut self, what: &str, value: f64, bound: f64, unit: &str) {
        let goal = Some((format!("< {bound}{unit}"), value < bound));
        self.lines.push(Line {
            what: what.into(),
            value: format!("{value:.2}{unit}"),
            goal,
        });
    }

    /// Something that must not be: each finding is one.
    pub(crate) fn check(&mut self, what: &str, findings: &[String]) {
        let value = match findings {
            [] => "nothing".into(),
            _ => findings.join(", "),
        };
        self.lines.push(Line {
            what: what.into(),
            value,
            goal: Some(("nothing".into(), findings.is_empty())),
        });
    }

    /// Prints all lines.
    pub(crate) fn print(&self) {
        for Line { what, value, goal } in &self.lines {
            let (goal, verdict) = match goal {
                None => ("", ""),
                Some((goal, true)) => (goal.as_str(), "reached"),
                Some((goal, false)) => (goal.as_str(), "MISSED"),
            };
            println!("{what:<58} {value:>16} {goal:>14} {verdict}");
        }
    }
}

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
