//! Licences and bans of deny.toml, held without cargo-deny.
//!
//! Installing cargo-deny compiles for minutes; these two of its checks need only what cargo knows. Its
//! third, advisories, needs a database and is left to it.

use std::process::Command;

use crate::{Finding, report, root};

struct Package {
    name: String,
    licence: Option<String>,
    dependants: Vec<String>,
}

#[expect(clippy::disallowed_methods, reason = "this rule is about what cargo says")]
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").expect("cargo runs this test");
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--locked", "--format-version", "1", "--all-features"])
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let list = document["packages"].as_array().expect("cargo lists packages");
    let name_of = |id: &str| -> String {
        let package = list.iter().find(|package| package["id"] == id);
        package.and_then(|package| package["name"].as_str()).unwrap_or(id).to_owned()
    };
    let nodes = document["resolve"]["nodes"].as_array().expect("cargo resolves");
    let mut dependants: std::collections::BTreeMap<&str, Vec<String>> = std::collections::BTreeMap::new();
    for node in nodes {
        let from = name_of(node["id"].as_str().unwrap_or_default());
        for to in node["dependencies"].as_array().into_iter().flatten().filter_map(|id| id.as_str()) {
            dependants.entry(to).or_default().push(from.clone());
        }
    }
    list.iter()
        .map(|package| Package {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            licence: package["license"].as_str().map(str::to_owned),
            dependants: dependants.remove(package["id"].as_str().unwrap_or_default()).unwrap_or_default(),
        })
        .collect()
}

fn deny() -> toml::Table {
    let text = std::fs::read_to_string(root().join("deny.toml")).expect("there is a deny.toml");
    text.parse().expect("deny.toml is TOML")
}

/// Whether an SPDX expression can be met by allowed licences: one of every `OR`, all of every `AND`.
fn allowed(expression: &str, allow: &[&str]) -> bool {
    let expression = expression.replace('/', " OR ");
    let depth_split = |text: &str, word: &str| -> Vec<String> {
        let (mut depth, mut parts) = (0, vec![String::new()]);
        for token in text.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            match token {
                "(" => depth += 1,
                ")" => depth -= 1,
                _ => {}
            }
            if depth == 0 && token == word {
                parts.push(String::new());
            } else if let Some(last) = parts.last_mut() {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.push_str(token);
            }
        }
        parts
    };
    let alternatives = depth_split(&expression, "OR");
    if alternatives.len() > 1 {
        return alternatives.iter().any(|part| allowed(part, allow));
    }
    let demands = depth_split(&expression, "AND");
    if demands.len() > 1 {
        return demands.iter().all(|part| allowed(part, allow));
    }
    let bare = expression.trim();
    match bare.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => allowed(inner, allow),
        None => allow.contains(&bare),
    }
}

#[test]
fn every_licence_is_an_allowed_one() {
    let deny = deny();
    let allow: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let findings: Vec<Finding> = packages()
        .iter()
        .filter(|package| !package.licence.as_deref().is_some_and(|licence| allowed(licence, &allow)))
        .map(|package| {
            Finding::new(
                &package.name,
                format!("has the licence {:?}, which deny.toml does not allow", package.licence),
            )
        })
        .collect();
    report("every dependency's licence is allowed by deny.toml", &findings);
}

#[test]
fn no_banned_crate_is_in_the_tree() {
    let deny = deny();
    let packages = packages();
    let mut findings = Vec::new();
    for ban in deny["bans"]["deny"].as_array().expect("a list") {
        let name = ban["crate"].as_str().expect("a name");
        let wrappers: Vec<&str> = ban
            .get("wrappers")
            .and_then(toml::Value::as_array)
            .map(|list| list.iter().filter_map(toml::Value::as_str).collect())
            .unwrap_or_default();
        for package in packages.iter().filter(|package| package.name == name) {
            let others: Vec<&String> =
                package.dependants.iter().filter(|user| !wrappers.contains(&user.as_str())).collect();
            if wrappers.is_empty() || !others.is_empty() {
                findings.push(Finding::new(
                    name,
                    format!("is used by {:?}: {}", package.dependants, ban["reason"]),
                ));
            }
        }
    }
    report("no crate that deny.toml bans", &findings);
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allow = ["MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"];
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR X",
    ] {
        assert!(allowed(good, &allow), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND (Y OR Z)", ""] {
        assert!(!allowed(bad, &allow), "{bad}");
    }
}
