//! The report of a run, as a table.

use std::fmt::{self, Display, Formatter};

use super::judge::{RunVerdict, SubscriptionTally};
use super::record::{EventCopy, NemesisFault, RunHistory, SendTry};
use super::spans::TimeSpan;

impl Display for RunVerdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            accepted, tries, ..
        } = self;
        writeln!(f, "{accepted} events accepted in {tries} requests\n")?;
        writeln!(
            f,
            "| subscription | wanted | delivered | dead letters | parked | excused | lost | again | sent again | of these \
             under way | out of order | attempts |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|---|---|---|")?;
        self.tallies.iter().try_for_each(|tally| row(f, tally))?;
        writeln!(
            f,
            "\nlost: {}; doubled beyond what was under way: {:.2} %",
            self.lost(),
            self.doubled_percent()
        )?;
        let spans = [
            ("no event accepted, two nodes up", self.outage),
            ("no event accepted, around a pause", self.pause_outage),
            (
                "no event delivered to a Trigger, two nodes up",
                self.stillness.0,
            ),
            (
                "no event delivered to a Trigger, around a pause",
                self.pause_stillness.0,
            ),
            ("ready and refusing", self.idle),
        ];
        spans
            .iter()
            .try_for_each(|(what, span)| line(f, what, span))?;
        writeln!(f, "no service due: {:.1} s", self.excused.as_secs_f64())?;
        self.unfinished
            .iter()
            .try_for_each(|(queue, count)| writeln!(f, "left in {queue}: {count}"))
    }
}

fn row(f: &mut Formatter<'_>, tally: &SubscriptionTally) -> fmt::Result {
    let counts = [
        tally.wanted,
        tally.delivered,
        tally.dead_lettered,
        tally.parked,
        tally.excused,
        tally.lost.len(),
        tally.redelivered,
        tally.resent,
        tally.under_way,
        tally.disordered.len(),
        tally.attempts,
    ];
    let cells: String = counts.iter().map(|count| format!(" {count} |")).collect();
    writeln!(f, "| {} |{cells}", tally.name)
}

fn line(f: &mut Formatter<'_>, what: &str, span: &TimeSpan) -> fmt::Result {
    writeln!(
        f,
        "longest {what}: {:.1} s, from {:.1} s",
        span.length().as_secs_f64(),
        span.from.as_secs_f64()
    )
}

impl RunHistory {
    /// What happened, one line each, in seconds.
    pub(super) fn tables(&self) -> [(&'static str, String); 3] {
        let tries = self.tries.iter().map(|tried| {
            let SendTry {
                event,
                number,
                sender,
                replica,
                begun,
                ended,
                status,
            } = tried;
            let (begun, ended) = (begun.as_secs_f64(), ended.as_secs_f64());
            format!(
                "{event},{number},{sender},{},{},{begun:.3},{ended:.3},{status}\n",
                replica.replica, replica.life
            )
        });
        let copies = self.copies.iter().map(|copy| {
            let EventCopy {
                event,
                number,
                subscription,
                place,
                at,
                status,
            } = copy;
            let name = self.wishes[*subscription].name;
            format!(
                "{event},{number},{name},{place:?},{:.3},{status}\n",
                at.as_secs_f64()
            )
        });
        let faults = self.faults.iter().map(|fault| {
            let NemesisFault { strike, until } = fault;
            let [from, made, until] = [strike.from, strike.made, *until].map(|at| at.as_secs_f64());
            format!("{:?},{from:.3},{made:.3},{until:.3}\n", strike.kind)
        });
        [
            ("tries.csv", tries.collect()),
            ("copies.csv", copies.collect()),
            ("faults.csv", faults.collect()),
        ]
    }
}
