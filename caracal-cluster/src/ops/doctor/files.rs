//! Whether what is secret is private, and kept out of git.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Finding;
use crate::lifecycle::commands::Selection;
use crate::ops::practices::git::{Standing, standing};

/// Names shown in one line.
const MOST: usize = 3;

pub(super) fn findings(selection: &Selection) -> Vec<Finding> {
    let root =
        std::path::absolute(selection.root.path()).unwrap_or_else(|_| selection.root.path().to_owned());
    vec![permissions(&root), git(&root)]
}

/// Everything below the state root belongs to its owner alone, certificates for reading apart.
fn permissions(root: &Path) -> Finding {
    if !root.exists() {
        return Finding::ok(
            "permissions",
            format!("{} is not there yet; it will be private from creation", root.display()),
        );
    }
    let us = rustix::process::geteuid().as_raw();
    let mut open = Vec::new();
    let mut foreign = Vec::new();
    let mut looked = 0;
    for path in walk(root) {
        let Ok(about) = std::fs::symlink_metadata(&path) else { continue };
        looked += 1;
        if about.uid() != us {
            foreign.push(path.clone());
        }
        // A folder that only its owner may enter keeps everything in it private.
        let secret = about.is_dir() && path.parent() == Some(root) || path == root || is_secret(&path);
        if secret && !about.file_type().is_symlink() && about.permissions().mode() & 0o077 != 0 {
            open.push(path);
        }
    }
    if !open.is_empty() {
        let next =
            format!("chmod go-rwx {}", open.iter().map(|path| quoted(path)).collect::<Vec<_>>().join(" "));
        return Finding::fail("permissions", format!("open to other users: {}", some(&open)), next);
    }
    if !foreign.is_empty() {
        let next = format!("chown -R {us} {}", quoted(root));
        return Finding::fail("permissions", format!("owned by another user: {}", some(&foreign)), next);
    }
    Finding::ok(
        "permissions",
        format!("{looked} files and folders below {} are yours, what is secret is private", root.display()),
    )
}

/// By what it holds, as its name tells.
fn is_secret(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let in_folder = |folder: &str| path.parent().is_some_and(|parent| parent.ends_with(folder));
    name.ends_with(".key")
        || name.ends_with(".p12")
        || name.contains("password")
        || name == ".env.kafka"
        || in_folder("passwords")
        || in_folder("secrets")
}

fn walk(root: &Path) -> Vec<PathBuf> {
    /// Log segments are many; what is secret lies above them.
    const MOST_FILES: usize = 20_000;
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while at < found.len() && found.len() < MOST_FILES {
        let dir = found[at].clone();
        at += 1;
        let is_dir = std::fs::symlink_metadata(&dir).is_ok_and(|about| about.is_dir());
        if is_dir
            && !dir.ends_with("data")
            && let Ok(entries) = std::fs::read_dir(&dir)
        {
            found.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    found
}

/// Whether git would take the state root.
fn git(root: &Path) -> Finding {
    match standing(root) {
        Standing::Outside => Finding::ok("gitignore", format!("{} lies in no git work tree", root.display())),
        Standing::Ignored => Finding::ok("gitignore", format!("{} is ignored by git", root.display())),
        Standing::Seen => {
            let tree = root.ancestors().find(|path| path.join(".git").exists()).unwrap_or(root);
            let rest = root.strip_prefix(tree).unwrap_or(root);
            let next =
                format!("add the line `/{}/` to {}", rest.display(), tree.join(".gitignore").display());
            let seen = format!("{} holds keys and passwords, and git would take it", root.display());
            Finding::fail("gitignore", seen, next)
        }
        Standing::Tracked => Finding::fail(
            "gitignore",
            format!("{} holds keys and passwords, and files of it are in git's index", root.display()),
            "`git rm -r --cached` it and renew all of it: who has the repository has them",
        ),
    }
}

fn some(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().take(MOST).map(|path| path.display().to_string()).collect();
    let more = if paths.len() > MOST { format!(" and {} more", paths.len() - MOST) } else { String::new() };
    shown.join(", ") + &more
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_secret_that_others_may_read_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).unwrap();
        caracal_pki::store::write_private(&root.join("client.key"), b"x").unwrap();
        caracal_pki::store::write_public(&root.join("ca.pem"), b"x").unwrap();
        assert_eq!(permissions(root).level, Level::Ok, "{:?}", permissions(root));
        caracal_pki::store::write_public(&root.join("other.key"), b"x").unwrap();
        let open = permissions(root);
        assert_eq!(open.level, Level::Fail);
        assert!(open.seen.contains("other.key") && !open.seen.contains("client.key"), "{}", open.seen);
        assert!(open.next.unwrap().starts_with("chmod go-rwx '"));
    }

    #[test]
    fn git_takes_what_no_line_ignores() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, root) = (folder.path(), folder.path().join("a/.caracal"));
        assert_eq!(git(&root).level, Level::Ok, "no work tree");
        std::fs::create_dir(tree.join(".git")).unwrap();
        let taken = git(&root);
        assert_eq!(taken.level, Level::Fail);
        assert!(taken.next.unwrap().contains("`/a/.caracal/`"));
        for line in ["/a/.caracal", "a/.caracal/", ".caracal", "/a/"] {
            caracal_pki::store::write_public(&tree.join(".gitignore"), format!("x\n{line}\n").as_bytes())
                .unwrap();
            assert_eq!(git(&root).level, Level::Ok, "{line}");
        }
        for line in ["# .caracal", "/.caracal", "b/.caracal", "!.caracal"] {
            caracal_pki::store::write_public(&tree.join(".gitignore"), format!("{line}\n").as_bytes())
                .unwrap();
            assert_eq!(git(&root).level, Level::Fail, "{line}");
        }
    }
}
