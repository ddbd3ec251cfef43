//! Chromium without a window, led over its debugging protocol: two pipes with one JSON message between zero bytes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::program::{Program, Running};
use crate::tools;

/// How long one question may take; a busy machine starts a browser slowly.
const PATIENCE: Duration = Duration::from_secs(90);

/// The names under which distributions install it, the first one Debian's.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// # Errors
/// When there is none, with what to install: a page that nobody looked at must not look like a sound one.
fn installed() -> Result<PathBuf> {
    let missing = tools::need(NAMES[0]);
    NAMES.iter().find_map(|name| tools::need(name).ok()).map_or(missing, Ok)
}

/// A browser with one page.
pub(crate) struct Browser {
    running: Running,
    folder: PathBuf,
    to: File,
    from: Receiver<Value>,
    asked: u64,
    page: Option<String>,
}

impl Browser {
    /// Starts one, with a profile of its own in `folder`, and opens an empty page of a size in it.
    pub(crate) fn start(folder: &Path, width: u32, height: u32, phone: bool) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let (asks, answers) = (folder.join("asks"), folder.join("answers"));
        for pipe in [&asks, &answers] {
            mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        }
        // It reads from its third and writes to its fourth file.
        let script = r#"exec 3<>"$1" 4<>"$2"; shift 2; exec "$@""#;
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let quiet =
            ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage"];
        // Its sandbox refuses root; what it looks at is ours.
        let root: &[&str] = if tools::is_root() { &["--no-sandbox"] } else { &[] };
        let shell =
            Program::at("/bin/sh").args(["-c", script, "sh"]).args([&asks, &answers]).args([installed()?]);
        let program = shell.args(quiet).args(root).args([&profile, "--remote-debugging-pipe"]);
        let running = program.start()?;
        // For both directions, so that opening waits for nobody.
        let open = |pipe: &Path| OpenOptions::new().read(true).write(true).open(pipe);
        let (to, answers) = (open(&asks)?, open(&answers)?);
        let (tell, from) = channel();
        std::thread::spawn(move || {
            for message in BufReader::new(answers).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if tell.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { running, folder: folder.to_owned(), to, from, asked: 0, page: None };
        let target =
            browser.ask("Target.createTarget", &json!({ "url": "about:blank" }))?["targetId"].clone();
        let attached =
            browser.ask("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }))?;
        browser.page = Some(attached["sessionId"].as_str().context("no session")?.to_owned());
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
        browser.ask("Emulation.setDeviceMetricsOverride", &size)?;
        Ok(browser)
    }

    /// Asks it for something and waits for the answer.
    fn ask(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(page) = &self.page {
            message["sessionId"] = page.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes())?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(answer) = self.from.recv_timeout(left) else {
                bail!("the browser did not answer `{method}` within {PATIENCE:?}");
            };
            if answer["id"] == self.asked {
                ensure!(answer["error"].is_null(), "the browser refused `{method}`: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
        }
    }

    /// Goes to an address.
    pub(crate) fn go(&mut self, address: &str) -> Result<()> {
        let gone = self.ask("Page.navigate", &json!({ "url": address }))?;
        ensure!(gone["errorText"].is_null(), "{address} cannot be opened: {gone}");
        Ok(())
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value> {
        let found =
            self.ask("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }))?;
        ensure!(found["exceptionDetails"].is_null(), "`{expression}` fails: {}", found["exceptionDetails"]);
        Ok(found["result"]["value"].clone())
    }

    /// The text of the element with an id, as it is shown.
    pub(crate) fn text(&mut self, id: &str) -> Result<String> {
        let found = self.value(&format!("document.getElementById('{id}').innerText"))?;
        found.as_str().map(str::to_owned).with_context(|| format!("the page has no text in `{id}`"))
    }

    /// A picture of the whole page, as PNG.
    pub(crate) fn picture(&mut self) -> Result<Vec<u8>> {
        let size =
            self.value("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")?;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let shot = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let data = self.ask("Page.captureScreenshot", &shot)?;
        let text = data["data"].as_str().context("no picture")?;
        Ok(base64::engine::general_purpose::STANDARD.decode(text)?)
    }

    /// Ends it, and takes its files away.
    pub(crate) fn close(mut self) -> Result<()> {
        self.page = None;
        self.ask("Browser.close", &json!({}))?;
        self.running.finish(PATIENCE)?;
        std::fs::remove_dir_all(self.folder)?;
        Ok(())
    }
}
