//! The dashboard as a browser shows it: Chromium without a window, wide and as narrow as a phone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Test;
use crate::dashboard::with_dashboard;
use crate::program::Program;
use crate::tools;

pub(crate) const TESTS: &[Test] = &[
    ("browser::the_dashboards_script_fills_the_page", page),
    ("browser::it_can_be_looked_at_on_a_desk_and_on_a_phone", pictures),
];

/// How long the page gets for its first look at the cluster.
const SETTLES: Duration = Duration::from_secs(8);

/// The names under which distributions install it, the first one Debian's.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// # Errors
/// When there is none, with what to install: a page that nobody looked at must not look like a sound one.
fn browser() -> Result<PathBuf> {
    let missing = tools::need(NAMES[0]);
    NAMES.iter().find_map(|name| tools::need(name).ok()).map_or(missing, Ok)
}

/// Chromium with a profile of its own, which looks at one address and ends.
fn chromium(home: &Path, words: &[&str], address: &str) -> Result<Program> {
    let profile = format!("--user-data-dir={}", home.join("chromium").display());
    let timeout = format!("--timeout={}", SETTLES.as_millis());
    let quiet = ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--disable-dev-shm-usage"];
    // Its sandbox refuses root; what it looks at is ours.
    let root: &[&str] = if tools::is_root() { &["--no-sandbox"] } else { &[] };
    let program = Program::at(browser()?).args(quiet).args(root).args([&profile, &timeout]).args(words);
    Ok(program.args([address]).within(Duration::from_secs(180)))
}

/// The text inside of the element with an id, tags taken away.
fn inside<'d>(dom: &'d str, id: &str) -> Result<&'d str> {
    let start = dom.find(&format!("id=\"{id}\"")).with_context(|| format!("no `{id}` in\n{dom}"))?;
    let rest = &dom[start..];
    // Up to the next element that has a name of its own.
    let end = rest[1..].find("id=\"").map_or(rest.len(), |end| end + 1);
    Ok(&rest[..end])
}

fn page() -> Result<()> {
    with_dashboard(|cluster, _, address| {
        let seen = chromium(cluster.home(), &["--dump-dom"], address)?.run()?.succeeded()?;
        let dom = String::from_utf8_lossy(&seen.stdout).into_owned();
        for (id, parts) in [
            ("title", &[cluster.name()][..]),
            ("verdict", &["verdict good", ">healthy<"]),
            ("time", &[" UTC"]),
            ("zookeeper", &["zookeeper-1", "zookeeper-3", "node running", "leader"]),
            ("broker", &["kafka-1", "kafka-3", "controller", "EXTERNAL :", "certificate "]),
            ("schema-registry", &["schema-registry", "node running"]),
            ("troubles", &[">none<"]),
            ("partitions", &["under min ISR", "under-replicated", "good"]),
            ("topics", &["caracal.metering.events", "caracal.dlq"]),
            ("certificates", &["client.", "number"]),
        ] {
            let text = inside(&dom, id)?;
            for part in parts {
                ensure!(text.contains(part), "`{id}` does not show `{part}` but {text}");
            }
        }
        ensure!(inside(&dom, "controller")?.trim_end().ends_with('>'), "{dom}");
        ensure!(dom.matches("node running").count() == 7, "not 7 nodes run:\n{dom}");
        ensure!(!dom.contains("no connection to the dashboard"), "{dom}");
        Ok(())
    })
}

/// A picture as rows of pixels.
struct Picture {
    width: usize,
    rows: Vec<Vec<[u8; 3]>>,
}

fn read(path: &Path) -> Result<Picture> {
    let decoder = png::Decoder::new(BufReader::new(File::open(path)?));
    let mut reader = decoder.read_info()?;
    let mut bytes = vec![0; reader.output_buffer_size().context("a picture beyond all bounds")?];
    let frame = reader.next_frame(&mut bytes)?;
    let width = usize::try_from(frame.width)?;
    let each = frame.color_type.samples();
    ensure!(each >= 3 && frame.bit_depth == png::BitDepth::Eight, "{:?}", frame.color_type);
    let row = |line: &[u8]| line.chunks_exact(each).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    let rows = bytes[..frame.buffer_size()].chunks_exact(frame.line_size).map(row).collect();
    Ok(Picture { width, rows })
}

fn pictures() -> Result<()> {
    with_dashboard(|cluster, _, address| {
        for (name, width, height) in [("desk", 1280, 1400), ("phone", 390, 2600)] {
            let path = cluster.home().join(format!("{name}.png"));
            let (size, shot) =
                (format!("--window-size={width},{height}"), format!("--screenshot={}", path.display()));
            chromium(cluster.home(), &[&size, &shot], address)?.run()?.succeeded()?;
            let picture = read(&path)?;
            ensure!(picture.width == width && picture.rows.len() == height, "{name}: another size");
            looks_like_something(&picture).context(name)?;
            if let Some(keep) = std::env::var_os("CARACAL_LIVE_PICTURES") {
                std::fs::create_dir_all(&keep)?;
                std::fs::copy(&path, Path::new(&keep).join(format!("{name}.png")))?;
            }
            std::fs::remove_file(path)?;
        }
        Ok(())
    })
}

/// Not blank, in colour, and inside of its margin: what is wider than the page would be cut off at its right edge.
fn looks_like_something(picture: &Picture) -> Result<()> {
    let mut colours: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    picture.rows.iter().flatten().for_each(|pixel| *colours.entry(*pixel).or_default() += 1);
    let all = picture.width * picture.rows.len();
    let (back, most) = colours.iter().max_by_key(|(_, count)| **count).context("no pixel")?;
    let (back, most) = (*back, *most);
    ensure!(colours.len() > 50, "only {} colours", colours.len());
    ensure!(most < all / 100 * 98, "{most} of {all} pixels are {back:?}");
    let green = |[red, green, blue]: &[u8; 3]| *green > *red + 40 && *green > *blue + 20;
    let good: usize = colours.iter().filter(|(pixel, _)| green(pixel)).map(|(_, count)| count).sum();
    ensure!(good > 200, "{good} pixels are green, with all nodes running");
    let edge = |row: &Vec<[u8; 3]>| row.iter().rev().take(4).copied().collect::<Vec<_>>();
    let first = picture.rows.first().map(edge).unwrap_or_default();
    let cut = picture.rows.iter().position(|row| edge(row) != first);
    ensure!(cut.is_none(), "something reaches the right edge at line {cut:?}");
    Ok(())
}
