//! The dashboard as a browser shows it: Chromium without a window, wide and as narrow as a phone.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Test;
use crate::chromium::Browser;
use crate::cluster::TestCluster;
use crate::dashboard::with_dashboard;
use crate::tools;

pub(crate) const TESTS: &[Test] = &[
    ("browser::the_dashboard_shows_the_cluster_on_a_desk", desk),
    ("browser::the_dashboard_can_be_read_on_a_phone", phone),
];

fn desk() -> Result<()> {
    shown("desk", 1280, 900, false)
}

fn phone() -> Result<()> {
    shown("phone", 390, 844, true)
}

fn shown(name: &str, width: u32, height: u32, is_phone: bool) -> Result<()> {
    with_dashboard(|cluster, _, address| {
        let mut browser = Browser::start(&cluster.home().join("browser"), width, height, is_phone)?;
        let looked = looked_at(&mut browser, cluster, address, name, width);
        browser.close()?;
        looked
    })
}

fn looked_at(
    browser: &mut Browser,
    cluster: &TestCluster,
    address: &str,
    name: &str,
    width: u32,
) -> Result<()> {
    browser.go(address)?;
    tools::await_until("the page's first look", Duration::from_secs(90), || {
        let verdict = browser.text("verdict").map_err(|error| error.to_string())?;
        if verdict == "healthy" { Ok(Some(())) } else { Err(verdict) }
    })?;
    for (id, parts) in [
        ("title", &[cluster.name()][..]),
        ("time", &[" UTC"]),
        ("zookeeper", &["zookeeper-1", "zookeeper-3", "running", "leader"]),
        ("broker", &["kafka-1", "kafka-3", "controller", "EXTERNAL\u{a0}:", "certificate "]),
        ("schema-registry", &["schema-registry", "running"]),
        ("troubles", &["none"]),
        ("partitions", &["under min ISR", "under-replicated"]),
        ("topics", &["caracal.metering.events", "caracal.dlq"]),
        ("certificates", &["client."]),
    ] {
        let text = browser.text(id)?;
        for part in parts {
            ensure!(text.contains(part), "`{id}` does not show `{part}` but:\n{text}");
        }
    }
    let count =
        |browser: &mut Browser, of: &str| browser.value(&format!("document.querySelectorAll('{of}').length"));
    ensure!(count(browser, ".node.running")? == 7, "not 7 nodes are shown as running");
    ensure!(count(browser, ".bad")? == 0, "something is shown as bad");
    // KRaft's controllers are not there, so neither is their heading.
    let hidden = browser.value("document.getElementById('controller').parentElement.hidden")?;
    ensure!(hidden == true, "controllers are shown, which a cluster with ZooKeeper has not");
    // Nothing is wider than the page: only tables may be, inside of their own frame.
    let wide = browser.value("document.documentElement.scrollWidth")?;
    ensure!(wide.as_u64() <= Some(u64::from(width)), "the page is {wide} wide, the screen {width}");
    let cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length";
    ensure!(browser.value(cut)? == 0, "a table is wider than its frame");
    let small = browser.value(
        "[...document.querySelectorAll('body *')].filter(e => e.innerText && parseFloat(getComputedStyle(e).fontSize) < 11).length",
    )?;
    ensure!(small == 0, "{small} elements have letters below 11 pixels");
    let before = browser.text("time")?;
    tools::await_until("the page to go on by itself", Duration::from_secs(60), || {
        let now = browser.text("time").map_err(|error| error.to_string())?;
        if now == before { Err(now) } else { Ok(Some(())) }
    })?;
    let png = browser.picture()?;
    if let Some(keep) = std::env::var_os("CARACAL_LIVE_PICTURES") {
        std::fs::create_dir_all(&keep)?;
        caracal_pki::store::write_public(&Path::new(&keep).join(format!("{name}.png")), &png)?;
    }
    looks_like_something(&read(&png)?, width)
}

/// A picture as rows of pixels.
struct Picture {
    rows: Vec<Vec<[u8; 3]>>,
}

fn read(bytes: &[u8]) -> Result<Picture> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
    let mut pixels = vec![0; reader.output_buffer_size().context("a picture beyond all bounds")?];
    let frame = reader.next_frame(&mut pixels)?;
    let each = frame.color_type.samples();
    ensure!(each >= 3 && frame.bit_depth == png::BitDepth::Eight, "{:?}", frame.color_type);
    let row = |line: &[u8]| line.chunks_exact(each).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
    Ok(Picture { rows: pixels[..frame.buffer_size()].chunks_exact(frame.line_size).map(row).collect() })
}

/// Not blank, in colour, and with the page's margin at its right edge, where what is too wide would be cut off.
fn looks_like_something(picture: &Picture, width: u32) -> Result<()> {
    let mut colours: BTreeMap<[u8; 3], usize> = BTreeMap::new();
    picture.rows.iter().flatten().for_each(|pixel| *colours.entry(*pixel).or_default() += 1);
    let wide = picture.rows.first().map_or(0, Vec::len);
    ensure!(wide == usize::try_from(width)? && picture.rows.len() > 600, "{wide} x {}", picture.rows.len());
    let all = wide * picture.rows.len();
    let (back, most) = colours.iter().max_by_key(|(_, count)| **count).context("no pixel")?;
    ensure!(colours.len() > 50, "only {} colours", colours.len());
    ensure!(*most < all / 100 * 97, "{most} of {all} pixels are {back:?}");
    let green =
        |[red, green, blue]: &[u8; 3]| *green > red.saturating_add(40) && *green > blue.saturating_add(20);
    let good: usize = colours.iter().filter(|(pixel, _)| green(pixel)).map(|(_, count)| count).sum();
    ensure!(good > 200, "{good} pixels are green, with all nodes running");
    let edge = |row: &Vec<[u8; 3]>| row.iter().rev().take(4).copied().collect::<Vec<_>>();
    let first = picture.rows.first().map(edge).unwrap_or_default();
    let cut = picture.rows.iter().position(|row| edge(row) != first);
    ensure!(cut.is_none(), "something reaches the right edge at line {cut:?}");
    Ok(())
}
