//! The figures of a run, as Markdown.

use super::case::{Case, Pace};
use super::measure::{Measured, Program, Sample};

/// All that has been measured.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

pub(crate) struct Row {
    name: String,
    program: Program,
    /// The line of one channel and one subscription by the same wire, if this one can be compared
    /// with it.
    basis: Option<String>,
    samples: Vec<Sample>,
}

impl Row {
    fn of(&self, field: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.samples.iter().map(field).collect())
    }
}

/// Least, median and most of the rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of one figure at least.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_unstable_by(f64::total_cmp);
        let (count, last) = (figures.len(), figures.len() - 1);
        Self {
            least: figures[0],
            median: f64::midpoint(figures[last / 2], figures[count / 2]),
            most: figures[last],
        }
    }

    pub(crate) fn text(self, decimals: usize) -> String {
        let Self {
            least,
            median,
            most,
        } = self;
        format!("{median:.decimals$} [{least:.decimals$}..{most:.decimals$}]")
    }
}

/// The line for the first event of each channel.
pub(crate) fn first(name: &str) -> String {
    format!("{name}, first events")
}

impl Table {
    pub(crate) fn add(&mut self, case: &Case, program: Program, measured: Measured) {
        let basis = (case.pace == Pace::Closed).then(|| format!("{} 1x1", case.wire.name()));
        if let Some(sample) = measured.first {
            self.row(first(case.name), program, basis.clone())
                .samples
                .push(sample);
        }
        self.row(case.name.to_owned(), program, basis)
            .samples
            .push(measured.warm);
    }

    fn row(&mut self, name: String, program: Program, basis: Option<String>) -> &mut Row {
        let at = self
            .0
            .iter()
            .position(|row| row.name == name && row.program == program)
            .unwrap_or_else(|| {
                self.0.push(Row {
                    name,
                    program,
                    basis,
                    samples: Vec::new(),
                });
                self.0.len() - 1
            });
        &mut self.0[at]
    }

    /// The median of this in that line, if it has been measured.
    pub(crate) fn median(
        &self,
        name: &str,
        program: Program,
        field: impl Fn(&Sample) -> f64,
    ) -> Option<f64> {
        let row = self
            .0
            .iter()
            .find(|row| row.name == name && row.program == program)?;
        Some(row.of(field).median)
    }

    /// How many times the processor time of nginx a line of sealpost takes.
    pub(crate) fn to_nginx(&self, name: &str, nginx: &str) -> Option<f64> {
        Some(self.median(name, Program::Sealpost, cpu)? / self.median(nginx, Program::Nginx, cpu)?)
    }

    /// How many times the processor time of one line of sealpost another one takes.
    pub(crate) fn to_own(&self, name: &str, other: &str) -> Option<f64> {
        Some(
            self.median(name, Program::Sealpost, cpu)?
                / self.median(other, Program::Sealpost, cpu)?,
        )
    }

    pub(crate) fn print_head() {
        println!(
            "| case | program | CPU µs per delivery | deliveries/s | p50 ms | p99 ms | ready ms | idle MiB | peak MiB | \
             CPU ÷ nginx | CPU ÷ own 1x1 |\n|---|---|---|---|---|---|---|---|---|---|---|"
        );
    }

    /// The lines of this case.
    pub(crate) fn print(&self, case: &Case) {
        let first = first(case.name);
        for row in self
            .0
            .iter()
            .filter(|row| row.name == case.name || row.name == first)
        {
            println!(
                "| {} | {} | {} | {} | {} | {} | {:.0} | {:.1} | {} | {} | {} |",
                row.name,
                row.program.name(),
                row.of(cpu).text(1),
                row.of(|sample| sample.rate).text(0),
                row.of(|sample| sample.p50).text(2),
                row.of(|sample| sample.p99).text(2),
                row.of(|sample| sample.ready).median,
                row.of(|sample| sample.idle).median,
                row.of(|sample| sample.peak).text(1),
                ratio(self.ratio_to_nginx(row)),
                ratio(self.ratio_to_own(row)),
            );
        }
    }

    /// How much the first processor did for others, in percent: then the figures are of little
    /// worth.
    pub(crate) fn print_others(&self) {
        let parts: Vec<f64> = self
            .0
            .iter()
            .flat_map(|row| &row.samples)
            .map(|sample| sample.others * 100.0)
            .collect();
        if !parts.is_empty() {
            println!(
                "\nWhile it was measured, other processes had {} % of the first processor.",
                Spread::of(parts).text(0)
            );
        }
    }

    /// By nginx's line of the same case, else by that of one channel and one subscription.
    fn ratio_to_nginx(&self, row: &Row) -> Option<f64> {
        let same = self.median(&row.name, Program::Nginx, cpu);
        let basis = || self.median(row.basis.as_deref()?, Program::Nginx, cpu);
        (row.program == Program::Sealpost).then_some(row.of(cpu).median / same.or_else(basis)?)
    }

    fn ratio_to_own(&self, row: &Row) -> Option<f64> {
        let own = self.median(row.basis.as_deref()?, row.program, cpu)?;
        Some(row.of(cpu).median / own)
    }
}

pub(crate) fn cpu(sample: &Sample) -> f64 {
    sample.cpu
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
}
