//! A Chromium without a window, driven by its DevTools protocol over two pipes: no port, no other
//! program, no crate.

use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::SOON;

/// What keeps it from everything but the page. It reads commands from descriptor 3 and answers on
/// 4.
const COMMAND: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-background-networking \
    --disable-component-update --disable-sync --disable-default-apps --no-first-run --hide-scrollbars --no-proxy-server \
    --remote-debugging-pipe --user-data-dir=\"$0\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>\"$0/log\"";

/// A browser with one page; ended when it is dropped.
pub(crate) struct Browser {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    events: Vec<Value>,
    /// What it types when it is asked for a password.
    password: Option<String>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one with a new profile and an empty page of this size.
    pub(crate) async fn start(width: u32, height: u32) -> Self {
        let profile = TempDir::new().expect("a directory");
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(COMMAND)
            .arg(profile.path())
            .env("HOME", profile.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("a shell");
        let (commands, answers) = (
            child.stdin.take().expect("a pipe"),
            child.stdout.take().expect("a pipe"),
        );
        let (answers, events, password) = (BufReader::new(answers), Vec::new(), None);
        let mut browser = Self {
            child,
            commands,
            answers,
            session: None,
            sent: 0,
            events,
            password,
            _profile: profile,
        };
        let page = browser
            .call("Target.createTarget", json!({"url": "about:blank"}))
            .await;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser.resize(width, height).await;
        browser
    }

    /// Makes the page so large.
    pub(crate) async fn resize(&mut self, width: u32, height: u32) {
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Sends a command and waits for its result.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        loop {
            let message = self.next().await;
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.attend(&message).await;
            self.events.push(message);
        }
    }

    async fn send(&mut self, method: &str, params: Value) -> u64 {
        self.sent += 1;
        let mut command = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{command}\0").as_bytes())
            .await
            .expect("Chromium listens");
        self.sent
    }

    /// From now on, types this password whenever it is asked for one.
    pub(crate) async fn types(&mut self, password: &str) {
        self.password = Some(password.to_owned());
        self.call("Fetch.enable", json!({"handleAuthRequests": true}))
            .await;
    }

    /// How often it was asked for a password.
    pub(crate) fn was_asked(&self) -> usize {
        self.events
            .iter()
            .filter(|event| event["method"] == "Fetch.authRequired")
            .count()
    }

    /// Does with a request what somebody in front of the browser would.
    async fn attend(&mut self, message: &Value) {
        let request = &message["params"]["requestId"];
        match (message["method"].as_str(), &self.password) {
            (Some("Fetch.requestPaused"), _) => {
                self.send("Fetch.continueRequest", json!({"requestId": request}))
                    .await;
            }
            (Some("Fetch.authRequired"), Some(password)) => {
                let typed = json!({"response": "ProvideCredentials", "username": "me", "password": password});
                let answer = json!({"requestId": request, "authChallengeResponse": typed});
                self.send("Fetch.continueWithAuth", answer).await;
            }
            _ => {}
        }
    }

    async fn next(&mut self) -> Value {
        let mut message = Vec::new();
        let read = tokio::time::timeout(SOON, self.answers.read_until(0, &mut message)).await;
        let read = read.expect("Chromium answers soon").expect("a pipe");
        assert!(
            read > 1 && message.pop() == Some(0),
            "no Chromium to test with: run .ci/run, or install Debian's package chromium"
        );
        serde_json::from_slice(&message).expect("JSON")
    }

    /// Opens a page.
    pub(crate) async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url})).await;
        assert!(opened["errorText"].is_null(), "{opened}");
    }

    /// The value of a JavaScript expression, or of what it promises.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let result = self.call("Runtime.evaluate", params).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + SOON;
        while self.evaluate(expression).await != Value::Bool(true) {
            let text = "document.body.innerText";
            assert!(
                Instant::now() < deadline,
                "not soon: {expression}\n{}",
                self.evaluate(text).await
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Presses and releases a key: its name, and what it types, if anything.
    pub(crate) async fn press(&mut self, key: &str, text: &str) {
        let down = json!({"type": "keyDown", "key": key, "code": key, "text": text, "windowsVirtualKeyCode": code(key)});
        self.call("Input.dispatchKeyEvent", down).await;
        let up =
            json!({"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code(key)});
        self.call("Input.dispatchKeyEvent", up).await;
    }

    /// Prefers `light` or `dark` colours from now on.
    pub(crate) async fn prefers(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}))
            .await;
    }

    /// Pictures what is to be seen, into the directory that `SEALPOST_TEST_SCREENSHOTS` names; not
    /// without it.
    pub(crate) async fn screenshot(&mut self, name: &str) {
        let Ok(directory) = std::env::var("SEALPOST_TEST_SCREENSHOTS") else {
            return;
        };
        let picture = self
            .call("Page.captureScreenshot", json!({"format": "png"}))
            .await;
        let bytes = STANDARD
            .decode(picture["data"].as_str().expect("a picture"))
            .expect("base64");
        std::fs::write(Path::new(&directory).join(format!("{name}.png")), bytes).expect("written");
    }

    /// Role and name of everything that a screen reader gets to know.
    pub(crate) async fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let text = |node: &Value, field: &str| {
            node[field]["value"].as_str().unwrap_or_default().to_owned()
        };
        let nodes = tree["nodes"]
            .as_array()
            .expect("nodes")
            .iter()
            .filter(|node| node["ignored"] == false);
        nodes
            .map(|node| (text(node, "role"), text(node, "name")))
            .collect()
    }

    /// Every URL that was asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        let sent = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.map(|event| {
            event["params"]["request"]["url"]
                .as_str()
                .expect("a URL")
                .to_owned()
        })
        .collect()
    }

    /// Everything that it complained about: exceptions, messages on the console, what a policy has
    /// forbidden.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let methods = [
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
        ];
        let found = self
            .events
            .iter()
            .filter(|event| methods.iter().any(|method| event["method"] == *method));
        found.map(|event| event["params"].to_string()).collect()
    }

    /// Ends it.
    pub(crate) async fn close(mut self) {
        self.session = None;
        self.call("Browser.close", json!({})).await;
        tokio::time::timeout(SOON, self.child.wait())
            .await
            .expect("it ends soon")
            .expect("a child");
    }
}

fn code(key: &str) -> u32 {
    match key {
        "Tab" => 9,
        "Enter" => 13,
        "Escape" => 27,
        "ArrowLeft" => 37,
        "ArrowRight" => 39,
        _ => 0,
    }
}
