//! The cells of the table, and the table as text.

use super::rows::{TopRow, TopSnapshot};
use super::sorting::TopOrder;
use crate::cli::TopColumn;

impl TopColumn {
    /// The title.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::Name => "SUBSCRIPTION",
            Self::Destination => "DESTINATION",
            Self::Rate => "EV/S",
            Self::InFlight => "BUSY",
            Self::Unfinished => "UNFIN",
            Self::Retries => "RETRY",
            Self::DeadLetters => "DEAD",
            Self::Lost => "LOST",
            Self::Error => "LAST ERROR",
        }
    }

    /// True if its cells stand at the right.
    pub(super) fn is_number(self) -> bool {
        !matches!(
            self,
            Self::State | Self::Name | Self::Destination | Self::Error
        )
    }

    /// The cell of a row.
    pub(super) fn cell(self, row: &TopRow) -> String {
        let number = |count: u64| count.to_string();
        match self {
            Self::State => row.word().to_owned(),
            Self::Name => row.name.clone(),
            Self::Destination => row.destination.clone(),
            Self::Rate => row.rate.map_or_else(|| "-".to_owned(), format_rate),
            Self::InFlight => number(row.in_flight),
            Self::Unfinished => row.unfinished.map_or_else(|| "-".to_owned(), number),
            Self::Retries => number(row.retries),
            Self::DeadLetters => number(row.dead_letters),
            Self::Lost => number(row.lost),
            Self::Error => row.last_error.clone(),
        }
    }
}

/// Events in a second, in few characters.
pub(super) fn format_rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else if rate < 0.1 {
        "<0.1".to_owned()
    } else if rate < 10.0 {
        format!("{rate:.1}")
    } else {
        format!("{rate:.0}")
    }
}

/// How many rows need attention, in words.
pub(super) fn summary(snapshot: &TopSnapshot) -> String {
    let [broken, doubtful] = snapshot.attention();
    let rate: f64 = snapshot.rows.iter().filter_map(|row| row.rate).sum();
    let mut told = format!(
        "{} subscriptions, {broken} broken, {doubtful} doubtful  {} delivered/s",
        snapshot.rows.len(),
        format_rate(rate)
    );
    if snapshot.errors > 0 {
        told.push_str(&format!(
            "  {} errors in the configuration",
            snapshot.errors
        ));
    }
    told
}

/// The whole table as text, with the reasons of what needs attention below it.
pub(super) fn render_text(snapshot: &TopSnapshot, order: TopOrder) -> String {
    let mut rows = snapshot.rows.clone();
    order.sort(&mut rows);
    let mut lines = vec![TopColumn::ALL.map(|column| column.title().to_owned())];
    lines.extend(
        rows.iter()
            .map(|row| TopColumn::ALL.map(|column| column.cell(row))),
    );
    let widths = TopColumn::ALL.map(|column| {
        let at = TopColumn::ALL.iter().position(|other| *other == column);
        let cells = lines.iter().filter_map(|line| line.get(at.unwrap_or(0)));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let line = |cells: &[String; 10]| {
        let columns = TopColumn::ALL.into_iter().zip(widths).zip(cells);
        let cells: Vec<String> = columns
            .map(|((column, width), cell)| {
                if column.is_number() {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:width$}")
                }
            })
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = format!(
        "{}  {}\n{}\n",
        snapshot.process,
        snapshot.time,
        summary(snapshot)
    );
    text.extend(lines.iter().map(line));
    for row in &rows {
        for reason in row.told() {
            text.push_str(&format!(
                "{} {}: {}: {}\n",
                row.kind, row.name, reason.word, reason.text
            ));
        }
        for event in &row.oldest_unfinished {
            text.push_str(&format!("{} {}: Unfinished: {event}\n", row.kind, row.name));
        }
    }
    text
}
