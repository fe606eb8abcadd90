//! `sealpost top`: the table of the status page, in a terminal and as text.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::support::dispatcher::Dispatcher;
use crate::support::sender::{plain, send};
use crate::support::subscriber::Subscriber;
use crate::support::{SOON, binary, channel, eventually};

const COLUMNS: usize = 80;
const LINES: usize = 24;

/// What a terminal shows that is sent these bytes, as far as `top` uses one: texts, places of the
/// cursor, and what clears a screen or a line.
#[derive(Default)]
struct Screen {
    cells: Vec<Vec<char>>,
    line: usize,
    column: usize,
}

impl Screen {
    fn of(bytes: &[u8]) -> Self {
        let mut screen = Self::default();
        screen.clear();
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.chars().peekable();
        while let Some(next) = rest.next() {
            match next {
                '\u{1b}' if rest.next_if_eq(&'[').is_some() => {
                    let mut parameters = String::new();
                    let end = loop {
                        match rest.next() {
                            Some(end) if ('@'..='~').contains(&end) => break end,
                            Some(parameter) => parameters.push(parameter),
                            None => return screen,
                        }
                    };
                    screen.control(end, &parameters);
                }
                '\u{1b}' => drop(rest.next()),
                '\r' => screen.column = 0,
                '\n' => screen.line = (screen.line + 1).min(LINES - 1),
                shown if !shown.is_control() => screen.put(shown),
                _ => {}
            }
        }
        screen
    }

    fn clear(&mut self) {
        self.cells = vec![vec![' '; COLUMNS]; LINES];
    }

    fn control(&mut self, end: char, parameters: &str) {
        let mut numbers = parameters.split(';').map(|text| text.parse().unwrap_or(1));
        let mut number = || numbers.next().unwrap_or(1_usize).max(1);
        match end {
            'H' => (self.line, self.column) = (number() - 1, number() - 1),
            'C' => self.column += number(),
            'J' => self.clear(),
            'K' => self.cells[self.line][self.column..].fill(' '),
            _ => {}
        }
    }

    fn put(&mut self, shown: char) {
        assert!(
            self.line < LINES && self.column < COLUMNS,
            "outside of the screen"
        );
        self.cells[self.line][self.column] = shown;
        // The last column is where the cursor stays.
        self.column = (self.column + 1).min(COLUMNS - 1);
    }

    fn lines(&self) -> Vec<String> {
        let lines = self
            .cells
            .iter()
            .map(|cells| cells.iter().collect::<String>());
        lines.map(|line| line.trim_end().to_owned()).collect()
    }
}

/// A `top` in a terminal of 80 columns and 24 lines.
struct Terminal {
    process: Child,
    keys: ChildStdin,
    written: Arc<Mutex<Vec<u8>>>,
    _reading: JoinSet<()>,
}

impl Terminal {
    fn open(dispatcher: &Dispatcher, arguments: &str) -> Self {
        let command = format!(
            "stty rows {LINES} cols {COLUMNS}; exec '{}' top --admin http://{} {arguments}",
            binary().display(),
            dispatcher.admin
        );
        let mut process = Command::new("script")
            .args([
                "--quiet",
                "--flush",
                "--return",
                "--command",
                &command,
                "/dev/null",
            ])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("script(1) of util-linux");
        let mut output = process.stdout.take().expect("stdout");
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut reading, to) = (JoinSet::new(), Arc::clone(&written));
        reading.spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer).await {
                let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
                to.extend_from_slice(&buffer[..length]);
            }
        });
        Self {
            keys: process.stdin.take().expect("stdin"),
            process,
            written,
            _reading: reading,
        }
    }

    fn written(&self) -> Vec<u8> {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.clone()
    }

    fn lines(&self) -> Vec<String> {
        Screen::of(&self.written()).lines()
    }

    /// Waits until the screen is as it should be; gives its lines.
    async fn until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = std::time::Instant::now() + SOON;
        loop {
            let lines = self.lines();
            if is_so(&lines) {
                return lines;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{what}:\n{}",
                lines.join("\n")
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    async fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("pressed");
        self.keys.flush().await.expect("pressed");
    }

    async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(SOON, self.process.wait()).await;
        ended.expect("it ends soon").expect("ended").code()
    }
}

/// The line of the table with this subscription.
fn row<'l>(lines: &'l [String], name: &str) -> Option<(usize, &'l String)> {
    let mut lines = lines.iter().enumerate().skip(2);
    lines.find(|(at, line)| *at < 20 && line.contains(name))
}

/// Three subscriptions of which the last by its name fails.
struct Served {
    dispatcher: Dispatcher,
    _subscribers: [Subscriber; 2],
}

impl Served {
    async fn start() -> Self {
        let subscribers = [Subscriber::ok().await, Subscriber::replying(&[503]).await];
        let [fine, broken] = &subscribers;
        let to = |subscriber: &Subscriber| format!("subscriber: {{uri: '{}'}}", subscriber.url());
        let yaml = channel(&[
            ("a-fine", to(fine)),
            ("b-fine", to(fine)),
            ("z-broken", to(broken)),
        ]);
        let dispatcher = Dispatcher::standalone(&yaml).await;
        assert_eq!(
            send(&plain(), dispatcher.http_url("/default/c"), "1").await,
            500
        );
        Self {
            dispatcher,
            _subscribers: subscribers,
        }
    }
}

/// What is broken stands first, with its reason; it can be sorted otherwise, goes on by itself, and
/// leaves the terminal as it was.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_drawn_sorted_and_drawn_again() {
    let served = Served::start().await;
    let mut top = Terminal::open(&served.dispatcher, "--interval PT0.1S");
    let lines = top
        .until("drawn", |lines| {
            row(lines, "default/z-broken").is_some() && lines[23].contains("q quit")
        })
        .await;
    assert!(lines[0].starts_with("ready  20"), "{lines:?}");
    assert!(
        lines[1].contains("3 subscriptions, 1 broken, 0 doubtful"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("STATEv"), "{lines:?}");
    assert!(
        lines[3].starts_with("Failing") && lines[3].contains("default/z-broken"),
        "{lines:?}"
    );
    assert!(lines[4].contains("default/a-fine"), "{lines:?}");
    // The first row is chosen: what is wrong with it stands below.
    assert!(
        lines[20].contains("Subscription default/z-broken of InMemoryChannel default/c"),
        "{lines:?}"
    );
    assert!(
        lines[21].starts_with("Failing: subscriber: answered 503"),
        "{lines:?}"
    );
    // By name, then the other way round.
    top.press("\u{1b}[C").await;
    top.until("by name", |lines| {
        lines[2].contains("SUBSCRIPTIONv") && lines[3].contains("default/a-fine")
    })
    .await;
    top.press("r").await;
    top.until("turned", |lines| {
        lines[2].contains("SUBSCRIPTION^") && lines[3].contains("default/z-broken")
    })
    .await;
    top.press("\u{1b}[B").await;
    top.until("the next row", |lines| {
        lines[20].contains("default/b-fine") && lines[21].contains("Nothing is wrong")
    })
    .await;
    // It looks again by itself.
    served
        .dispatcher
        .apply(&channel(&[(
            "new",
            "subscriber: {uri: 'http://localhost:1/'}".to_owned(),
        )]))
        .await;
    top.until("the new one", |lines| {
        row(lines, "default/new").is_some() && row(lines, "default/a-fine").is_none()
    })
    .await;
    top.press("q").await;
    assert_eq!(top.ended().await, Some(0));
    let written = String::from_utf8_lossy(&top.written()).into_owned();
    let entered = written.find("\u{1b}[?1049h").expect("another screen");
    let left = written.rfind("\u{1b}[?1049l").expect("the screen before");
    assert!(
        entered < left && written.rfind("\u{1b}[?25h").is_some(),
        "the cursor is shown"
    );
}

/// A dispatcher that goes away is told; what was seen stays. Ctrl-C and SIGTERM end it in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_is_gone_is_told() {
    let mut served = Served::start().await;
    let mut top = Terminal::open(&served.dispatcher, "--interval PT0.1S");
    top.until("drawn", |lines| row(lines, "default/z-broken").is_some())
        .await;
    served.dispatcher.signal(rustix::process::Signal::KILL);
    served.dispatcher.ended().await;
    let lines = top
        .until("told", |lines| lines[0].contains("no dispatcher answers"))
        .await;
    assert!(row(&lines, "default/z-broken").is_some(), "{lines:?}");
    top.press("\u{3}").await;
    assert_eq!(top.ended().await, Some(0));
    let again = Command::new(binary())
        .args(["top", "--admin"])
        .arg(format!("http://{}", served.dispatcher.admin))
        .output();
    let again = again.await.expect("it runs");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("no dispatcher answers"));
}

/// Without a terminal, or with `--once`, the table is text.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_it_is_text() {
    let served = Served::start().await;
    let text = async |arguments: &[&str]| {
        let output = Command::new(binary())
            .arg("top")
            .args(arguments)
            .arg("--admin")
            .arg(format!("http://{}", served.dispatcher.admin))
            .output();
        let output = output.await.expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let lines = text(&[]).await;
    let lines: Vec<&str> = lines.lines().collect();
    assert!(
        lines[0].starts_with("sealpost ") && lines[1].contains("1 broken"),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("STATE") && lines[2].ends_with("LAST ERROR"),
        "{lines:?}"
    );
    assert!(
        lines[3].starts_with("Failing") && lines[3].contains("default/z-broken"),
        "{lines:?}"
    );
    assert!(lines[3].contains("http://localhost"), "{lines:?}");
    assert!(
        lines[6].starts_with("Subscription default/z-broken: Failing: "),
        "{lines:?}"
    );
    let by_name = text(&["--sort", "name"]).await;
    assert!(
        by_name
            .lines()
            .nth(3)
            .is_some_and(|line| line.contains("default/a-fine")),
        "{by_name}"
    );
    let elsewhere = text(&["-n", "elsewhere"]).await;
    assert!(
        elsewhere.contains("0 subscriptions") && !elsewhere.contains("default/"),
        "{elsewhere}"
    );
    let mut top = Terminal::open(&served.dispatcher, "--once");
    assert_eq!(top.ended().await, Some(0));
    eventually("printed", || {
        String::from_utf8_lossy(&top.written()).contains("z-broken")
    })
    .await;
    assert!(!top.written().contains(&0x1b), "nothing but text");
}
