//! The table on a screen: drawing, keys, and looks in between.

use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState};
use ratatui::{DefaultTerminal, Frame};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use super::super::admin::AdminClient;
use super::rows::{TopRow, TopSnapshot};
use super::sorting::TopOrder;
use super::state::StateLevel;
use super::view::summary;
use crate::cli::{TopColumn, TopOptions};

/// Longest wait for a key, after which the wait begins anew: what ends the program ends it then.
const KEY_WAIT: Duration = Duration::from_millis(250);
/// Width in columns from which the last error is shown, too, and from which destinations are.
const WIDE: u16 = 100;
const VERY_WIDE: u16 = 130;
/// Digits of a number that have room.
const DIGITS: usize = 5;
/// Rows of a page.
const PAGE: usize = 10;
/// Lines for the reasons of the chosen row.
const REASON_LINES: u16 = 3;
/// Most lines for them, where the screen has room.
const MOST_REASON_LINES: u16 = 9;
/// Lines of a screen from which on it has.
const TALL: u16 = 40;

/// What is shown, and how.
pub(super) struct TopScreen {
    snapshot: TopSnapshot,
    order: TopOrder,
    table: TableState,
    /// Why the last look failed; what is shown is older then.
    failure: Option<String>,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyAction {
    Nothing,
    Look,
    Quit,
}

impl TopScreen {
    pub(super) fn new(sort: TopColumn, first: TopSnapshot) -> Self {
        let mut screen = Self {
            snapshot: first,
            order: TopOrder::new(sort),
            table: TableState::default().with_selected(0),
            failure: None,
        };
        screen.order.sort(&mut screen.snapshot.rows);
        screen
    }

    /// Shows the table until a key or a signal ends it. The terminal is as it was before then.
    pub(super) async fn run(
        mut self,
        options: &TopOptions,
        dispatcher: &AdminClient,
    ) -> anyhow::Result<()> {
        let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
        let ended = self.show(&mut terminal, options, dispatcher).await;
        ratatui::try_restore().context("the terminal is not as it was: type reset")?;
        ended
    }

    async fn show(
        &mut self,
        terminal: &mut DefaultTerminal,
        options: &TopOptions,
        dispatcher: &AdminClient,
    ) -> anyhow::Result<()> {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut period =
            tokio::time::interval_at(Instant::now() + options.interval, options.interval);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // A wait that is not over goes on: its key would be lost with it.
        let mut next = Box::pin(next_key());
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            let action = tokio::select! {
                key = &mut next => {
                    next = Box::pin(next_key());
                    self.press(key?)
                }
                _ = period.tick() => KeyAction::Look,
                _ = terminated.recv() => KeyAction::Quit,
            };
            match action {
                KeyAction::Quit => return Ok(()),
                KeyAction::Look => self.look(options, dispatcher).await,
                KeyAction::Nothing => {}
            }
        }
    }

    /// Looks at the dispatcher again; a look that fails leaves what was seen before.
    async fn look(&mut self, options: &TopOptions, dispatcher: &AdminClient) {
        match super::look(options, dispatcher).await {
            Ok(snapshot) => {
                let chosen = self.chosen().map(|row| row.name.clone());
                self.snapshot = snapshot.after(&self.snapshot);
                self.failure = None;
                self.sort(chosen.as_deref());
            }
            Err(error) => self.failure = Some(super::super::printable(&format!("{error:#}"))),
        }
    }

    fn chosen(&self) -> Option<&TopRow> {
        self.snapshot.rows.get(self.table.selected()?)
    }

    /// Sorts the rows; the chosen one stays so, wherever it goes.
    fn sort(&mut self, chosen: Option<&str>) {
        self.order.sort(&mut self.snapshot.rows);
        let rows = &self.snapshot.rows;
        // The first row stays chosen until another one is: it is what is broken.
        if self.table.selected().is_some_and(|at| at > 0) {
            let at = rows.iter().position(|row| Some(&*row.name) == chosen);
            self.table.select(at.or(Some(0)));
        }
    }

    fn press(&mut self, key: Option<KeyEvent>) -> KeyAction {
        let Some(key) = key.filter(|key| key.kind == KeyEventKind::Press) else {
            return KeyAction::Nothing;
        };
        let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL);
        let last = self.snapshot.rows.len().saturating_sub(1);
        let at = self.table.selected().unwrap_or(0);
        match key.code {
            KeyCode::Char('c') if is_interrupt => return KeyAction::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return KeyAction::Quit,
            KeyCode::Char(' ') => return KeyAction::Look,
            KeyCode::Up => self.table.select(Some(at.saturating_sub(1))),
            KeyCode::Down => self.table.select(Some((at + 1).min(last))),
            KeyCode::PageUp => self.table.select(Some(at.saturating_sub(PAGE))),
            KeyCode::PageDown => self.table.select(Some((at + PAGE).min(last))),
            KeyCode::Home => self.table.select(Some(0)),
            KeyCode::End => self.table.select(Some(last)),
            KeyCode::Left => self.set_order(self.order.moved(-1)),
            KeyCode::Right => self.set_order(self.order.moved(1)),
            KeyCode::Char('r') => self.set_order(self.order.turned()),
            _ => {}
        }
        KeyAction::Nothing
    }

    fn set_order(&mut self, order: TopOrder) {
        let chosen = self.chosen().map(|row| row.name.clone());
        self.order = order;
        self.sort(chosen.as_deref());
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let reason_lines = if frame.area().height >= TALL {
            MOST_REASON_LINES
        } else {
            REASON_LINES
        };
        let [head, table, reasons, keys] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(3),
            Constraint::Length(reason_lines),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.head(), head);
        self.draw_table(frame, table);
        frame.render_widget(self.reasons(), reasons);
        let help = "q quit  Up/Down choose  Left/Right sort  r reverse  Space look now";
        let dim = Style::new().add_modifier(Modifier::DIM);
        frame.render_widget(Paragraph::new(help).style(dim), keys);
    }

    fn head(&self) -> Paragraph<'_> {
        let snapshot = &self.snapshot;
        let state = match (&self.failure, snapshot.is_ready, snapshot.is_disk_full) {
            (Some(failure), ..) => Span::styled(failure.as_str(), bad()),
            (None, true, true) => Span::styled("no room on the disk: events are refused", bad()),
            (None, true, false) => Span::styled("ready", Style::new().fg(Color::Green)),
            (None, false, _) => Span::styled("not ready", bad()),
        };
        let first = Line::from(vec![
            state,
            Span::raw(format!("  {}  {}", snapshot.time, snapshot.process)),
        ]);
        Paragraph::new(Text::from(vec![first, Line::raw(summary(snapshot))]))
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let columns = shown_columns(area.width);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let titles = columns.iter().map(|(column, _)| {
            let mut title = column.title().to_owned();
            if *column == self.order.column {
                title.push(if self.order.is_reversed { '^' } else { 'v' });
            }
            cell(*column, title)
        });
        let rows = self.snapshot.rows.iter().map(|row| {
            let cells = columns.iter().map(|(column, _)| {
                let style = match column {
                    TopColumn::State => style_of(row.level()),
                    _ => Style::new(),
                };
                cell(*column, shortened(*column, row)).style(style)
            });
            Row::new(cells)
        });
        let is_stale = self.failure.is_some();
        let style = if is_stale {
            Style::new().add_modifier(Modifier::DIM)
        } else {
            Style::new()
        };
        let table = Table::new(rows, columns.iter().map(|(_, width)| *width))
            .header(Row::new(titles).style(bold))
            .column_spacing(1)
            .style(style)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        frame.render_stateful_widget(table, area, &mut self.table);
    }

    /// What is to say about the chosen row.
    fn reasons(&self) -> Paragraph<'_> {
        let Some(row) = self.chosen() else {
            return Paragraph::new("No subscription is served: see sealpost get channels");
        };
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let name = format!(
            "{} {} of {}  {}",
            row.kind, row.name, row.group, row.destination
        );
        let mut lines = vec![Line::styled(name, bold)];
        lines.extend(row.told().map(|reason| {
            let word = Span::styled(reason.word.as_str(), style_of(reason.level));
            Line::from(vec![word, Span::raw(format!(": {}", reason.text))])
        }));
        if lines.len() == 1 {
            lines.push(Line::raw("Nothing is wrong with it."));
        }
        let unfinished = row.oldest_unfinished.iter();
        lines.extend(unfinished.map(|event| Line::raw(format!("Unfinished: {event}"))));
        Paragraph::new(Text::from(lines))
    }
}

/// Waits a while for a key, or for another event of the terminal, after which it is drawn anew.
async fn next_key() -> anyhow::Result<Option<KeyEvent>> {
    let read = || -> std::io::Result<Option<Event>> {
        if event::poll(KEY_WAIT)? {
            event::read().map(Some)
        } else {
            Ok(None)
        }
    };
    let event = tokio::task::spawn_blocking(read).await??;
    Ok(event.as_ref().and_then(Event::as_key_event))
}

/// The columns that have room, each with its width.
fn shown_columns(width: u16) -> Vec<(TopColumn, Constraint)> {
    let all = TopColumn::ALL.into_iter();
    let shown = all.filter(|column| match column {
        TopColumn::Destination => width >= VERY_WIDE,
        TopColumn::Error => width >= WIDE,
        _ => true,
    });
    shown
        .map(|column| {
            let width = match column {
                TopColumn::State => Constraint::Length(13),
                TopColumn::Name => Constraint::Fill(3),
                TopColumn::Destination => Constraint::Fill(4),
                TopColumn::Error => Constraint::Fill(2),
                TopColumn::Rate
                | TopColumn::InFlight
                | TopColumn::Unfinished
                | TopColumn::Retries
                | TopColumn::DeadLetters
                | TopColumn::Lost => Constraint::Length(6),
            };
            (column, width)
        })
        .collect()
}

/// The cell of a row, in which a number has room: of a long one thousands or millions are shown.
fn shortened(column: TopColumn, row: &TopRow) -> String {
    let text = column.cell(row);
    match text.parse::<u64>() {
        Ok(count) if column.is_number() && text.len() > DIGITS => {
            let (thousands, millions) = (count / 1000, count / 1_000_000);
            if millions > 0 {
                format!("{millions}M")
            } else {
                format!("{thousands}k")
            }
        }
        _ => text,
    }
}

fn cell(column: TopColumn, text: String) -> Cell<'static> {
    let alignment = if column.is_number() {
        Alignment::Right
    } else {
        Alignment::Left
    };
    Cell::from(Text::from(text).alignment(alignment))
}

fn bad() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

fn style_of(level: StateLevel) -> Style {
    match level {
        StateLevel::Fine => Style::new(),
        StateLevel::Doubtful => Style::new().fg(Color::Yellow),
        StateLevel::Broken => bad(),
    }
}
