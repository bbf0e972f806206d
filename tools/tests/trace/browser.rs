//! A headless Chromium, driven over its debugging protocol through two pipes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// How to get one; also part of CI.
pub(crate) const INSTALL: &str = "bash tools/browser/install.sh";

pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    session: Option<String>,
    next: u64,
    /// Exceptions and messages of the page.
    pub(crate) complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

fn program() -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let wanted = std::env::var("CHROMIUM").ok();
    let mut names = wanted.iter().map(String::as_str).chain(names);
    let found = names.find(|name| {
        let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    });
    found.map(str::to_owned)
}

impl Browser {
    /// Opens a page in a window of this size, or says that there is no browser.
    pub(crate) fn open(page: &Path, width: u32, height: u32) -> Option<Self> {
        let Some(program) = program() else {
            assert!(
                std::env::var_os("MAILRING_NEEDS_BROWSER").is_none(),
                "no Chromium here: `{INSTALL}` installs it"
            );
            eprintln!("SKIPPED: no Chromium here; `{INSTALL}` installs it");
            return None;
        };
        let profile = tempfile::tempdir().expect("a folder for the browser");
        // The protocol goes over descriptors 3 and 4. The sandbox needs what containers do not have.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh", &program])
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-dev-shm-usage", "--disable-crash-reporter"])
            .args(["--disable-breakpad", "--disable-extensions", "--disable-background-networking"])
            .args([
                "--hide-scrollbars",
                "--force-color-profile=srgb",
                "--force-device-scale-factor=1",
            ])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // What it keeps beside its profile goes there too.
            .env("HOME", profile.path())
            .env("TMPDIR", profile.path())
            .env("XDG_CONFIG_HOME", profile.path())
            .env("XDG_CACHE_HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut browser = Self {
            child,
            input,
            output,
            session: None,
            next: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({ "targetId": target["targetId"], "flatten": true }),
        );
        browser.session = Some(attached["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        browser.call("Emulation.setDeviceMetricsOverride", size);
        browser.call("Page.navigate", json!({ "url": format!("file://{}", page.display()) }));
        browser.until("document.readyState === 'complete' && !!window.mailringTrace");
        Some(browser)
    }

    fn send(&mut self, method: &str, params: &Value) -> u64 {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser lives");
        self.next
    }

    fn receive(&mut self) -> Value {
        let mut bytes = Vec::new();
        let read = self.output.read_until(0, &mut bytes).expect("the browser lives");
        assert!(read > 0, "the browser has ended");
        bytes.pop();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, &params);
        loop {
            let mut message = self.receive();
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method} {params}: {message}");
                return message["result"].take();
            }
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.complaints.push(message["params"].to_string());
                }
                Some("Network.requestWillBeSent") => {
                    let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                    if !url.starts_with("file:///") {
                        self.complaints.push(format!("the page asks for {url}"));
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn eval(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{script}: {answer}");
        answer["result"]["value"].take()
    }

    pub(crate) fn number(&mut self, script: &str) -> f64 {
        self.eval(script).as_f64().unwrap_or_else(|| panic!("{script} is no number"))
    }

    pub(crate) fn text(&mut self, script: &str) -> String {
        self.eval(script).as_str().unwrap_or_else(|| panic!("{script} is no text")).to_owned()
    }

    /// What the page says of itself.
    pub(crate) fn state(&mut self) -> Value {
        // After what is drawn next.
        self.eval(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))",
        );
        self.eval("window.mailringTrace.state()")
    }

    pub(crate) fn until(&mut self, script: &str) {
        for _ in 0..400 {
            if self.eval(script) == json!(true) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("never: {script}; {:?}", self.complaints);
    }

    fn mouse(&mut self, kind: &str, x: f64, y: f64, more: Value) {
        let mut params = json!({ "type": kind, "x": x, "y": y, "button": "none" });
        for (key, value) in more.as_object().into_iter().flatten() {
            params[key] = value.clone();
        }
        self.call("Input.dispatchMouseEvent", params);
    }

    pub(crate) fn hover(&mut self, x: f64, y: f64) {
        self.mouse("mouseMoved", x, y, json!({}));
    }

    pub(crate) fn click(&mut self, x: f64, y: f64) {
        self.hover(x, y);
        let left = json!({ "button": "left", "clickCount": 1 });
        self.mouse("mousePressed", x, y, left.clone());
        self.mouse("mouseReleased", x, y, left);
    }

    pub(crate) fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        self.hover(from.0, from.1);
        let left = json!({ "button": "left", "buttons": 1, "clickCount": 1 });
        self.mouse("mousePressed", from.0, from.1, left.clone());
        for part in 1..=4 {
            let part = f64::from(part) / 4.0;
            let (x, y) = (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part);
            self.mouse("mouseMoved", x, y, json!({ "button": "left", "buttons": 1 }));
        }
        self.mouse("mouseReleased", to.0, to.1, left);
    }

    /// `modifiers`: 2 is Ctrl, 8 is Shift.
    pub(crate) fn wheel(&mut self, x: f64, y: f64, by: f64, modifiers: u32) {
        let more = json!({ "deltaX": 0, "deltaY": by, "modifiers": modifiers });
        self.mouse("mouseWheel", x, y, more);
    }

    /// A control, in the middle.
    pub(crate) fn press(&mut self, selector: &str) {
        let place = self.eval(&format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'nearest'}}); \
             const b = e.getBoundingClientRect(); return [b.left + b.width / 2, b.top + b.height / 2]; }})()"
        ));
        let at = |which: usize| place[which].as_f64().expect("a place");
        self.click(at(0), at(1));
    }

    pub(crate) fn key(&mut self, key: &str) {
        let mut down = json!({ "type": "keyDown", "key": key });
        match key {
            "Enter" => down["text"] = json!("\r"),
            _ if key.chars().count() == 1 => down["text"] = json!(key),
            _ => {}
        }
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        down["windowsVirtualKeyCode"] = json!(code);
        self.call("Input.dispatchKeyEvent", down);
        self.call(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key,
                                                    "windowsVirtualKeyCode": code }),
        );
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// A picture of the window, or of the whole page, as PNG, if `MAILRING_PICTURES` names a folder where
    /// somebody will look at it.
    pub(crate) fn picture(&mut self, name: &str, whole: bool) {
        self.state();
        self.take(name, whole);
    }

    /// The same of what is not a page of ours.
    pub(crate) fn bare_picture(&mut self, name: &str) {
        self.take(name, false);
    }

    fn take(&mut self, name: &str, whole: bool) {
        let folder = std::env::var_os("MAILRING_PICTURES");
        // One that is always taken, since it could fail.
        if folder.is_none() && !name.ends_with("-light") {
            return;
        }
        let params = json!({ "format": "png", "captureBeyondViewport": whole });
        let picture =
            decode(self.call("Page.captureScreenshot", params)["data"].as_str().expect("data"));
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 5_000, "{name} is a picture");
        if let Some(folder) = folder {
            std::fs::write(Path::new(&folder).join(format!("{name}.png")), &picture)
                .expect("written");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Asked first, since it has processes of its own.
        self.session = None;
        let closed = json!({ "id": u32::MAX, "method": "Browser.close" }).to_string() + "\0";
        let asked = self.input.write_all(closed.as_bytes()).is_ok();
        for _ in 0..200 {
            if !asked || matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn decode(base64: &str) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in base64.bytes().filter(|letter| *letter != b'=') {
        let value = LETTERS.iter().position(|known| *known == letter).expect("base64");
        bits = bits << 6 | value as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}
