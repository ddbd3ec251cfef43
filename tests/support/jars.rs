//! Jars for a judge in Java. Tests of several crates have this file as a module, by its path: a crate for it would be
//! one more to publish before them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A directory with an artifact (`group:name:version`) and what it needs: the one that an environment variable
/// names, else one that Maven fills, once.
pub(crate) fn jars(artifact: &str, variable: &str) -> PathBuf {
    // Two tests of this process may come at once.
    static ONE: Mutex<()> = Mutex::new(());
    if let Some(given) = std::env::var_os(variable) {
        return PathBuf::from(given);
    }
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, name) = artifact.split_once(':').expect("group:name:version");
    let name = name.replace(':', "-");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let jars = target.join(&name);
    if jars.is_dir() {
        return jars;
    }
    // Filled aside, then renamed, so that a directory of that name is a whole one.
    let filling = target.join(format!("{name}.{}", std::process::id()));
    fs::create_dir_all(&filling).expect("a directory");
    fetch(artifact, &filling, variable);
    // Another process may have been faster; its directory is as good.
    if fs::rename(&filling, &jars).is_err() {
        drop(fs::remove_dir_all(&filling));
    }
    assert!(jars.is_dir(), "{} was not made", jars.display());
    jars
}

fn fetch(artifact: &str, into: &Path, variable: &str) {
    let [group, name, version] = artifact.split(':').collect::<Vec<_>>()[..] else { panic!("{artifact}") };
    let pom = into.join("pom.xml");
    let text = format!(
        "<project><modelVersion>4.0.0</modelVersion>\
         <groupId>caracal</groupId><artifactId>judge</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies><dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>\
         <version>{version}</version></dependency></dependencies></project>\n"
    );
    let mut file = fs::OpenOptions::new().create(true).write(true).truncate(true).open(&pom).expect("a file");
    std::io::Write::write_all(&mut file, text.as_bytes()).expect("written");
    let output = command(Path::new("mvn"))
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", into.display()))
        .arg("-f")
        .arg(&pom)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("mvn does not start: {error}; install Maven or set {variable}"));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "mvn cannot fetch {artifact}:\n{said}");
}

/// A program that is a judge, or brings one.
#[expect(clippy::disallowed_methods, reason = "the one place where these tests start the outside judge")]
pub(crate) fn command(program: &Path) -> Command {
    Command::new(program)
}
