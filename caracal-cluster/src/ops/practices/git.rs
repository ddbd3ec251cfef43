//! Whether git would see a folder: without starting git, from its own files.

use std::path::{Path, PathBuf};

/// How a folder stands to git.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::ops) enum Standing {
    /// In no work tree.
    Outside,
    /// In a work tree that ignores it.
    Ignored,
    /// In a work tree that would take it.
    Seen,
    /// In a work tree whose index has files of it, whatever is ignored.
    Tracked,
}

pub(in crate::ops) fn standing(folder: &Path) -> Standing {
    // The true place: a link must not hide that it lies in a work tree.
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let Some(tree) = folder.ancestors().find(|dir| dir.join(".git").exists()) else {
        return Standing::Outside;
    };
    let Ok(inner) = folder.strip_prefix(tree) else { return Standing::Outside };
    if is_tracked(&tree.join(".git"), inner) {
        Standing::Tracked
    } else if ignores_itself(&folder) || is_ignored(tree, inner) {
        Standing::Ignored
    } else {
        Standing::Seen
    }
}

/// The index names every tracked file by its path in the work tree (gitformat-index); a later version shortens
/// paths by what they share with the one before, but the first of a folder is whole from its last shared part.
fn is_tracked(git: &Path, inner: &Path) -> bool {
    let Some(index) = index_of(git).and_then(|index| std::fs::read(index).ok()) else { return false };
    let mut needle = inner.as_os_str().as_encoded_bytes().to_vec();
    needle.push(b'/');
    needle.len() > 1 && index.windows(needle.len()).any(|window| window == needle)
}

/// `.git` is a folder, or a file that names it (in a second work tree).
fn index_of(git: &Path) -> Option<PathBuf> {
    if git.is_dir() {
        return Some(git.join("index"));
    }
    let text = std::fs::read_to_string(git).ok()?;
    let folder = PathBuf::from(text.strip_prefix("gitdir:")?.trim());
    let folder = if folder.is_absolute() { folder } else { git.parent()?.join(folder) };
    Some(folder.join("index"))
}

/// A folder whose own `.gitignore` takes everything out.
fn ignores_itself(folder: &Path) -> bool {
    lines(&folder.join(".gitignore")).iter().any(|line| line == "*")
}

/// The folder, or one above it, by name in a `.gitignore` of the work tree. Patterns with stars are not judged: they
/// count as not ignoring, which errs on the side of saying so.
fn is_ignored(tree: &Path, inner: &Path) -> bool {
    let parts: Vec<_> = inner.iter().collect();
    (0..parts.len()).any(|depth| {
        let base: PathBuf = parts[..depth].iter().collect();
        let below: PathBuf = parts[depth..].iter().collect();
        let mut rules = lines(&tree.join(base).join(".gitignore"));
        if depth == 0 {
            rules.extend(lines(&tree.join(".git/info/exclude")));
        }
        rules.iter().any(|rule| {
            let anchored = rule.trim_end_matches('/');
            let name = anchored.trim_start_matches('/');
            let path = Path::new(name);
            below.starts_with(path)
                // A name without a slash counts at every depth.
                || (!anchored.contains('/') && below.iter().any(|part| part == path.as_os_str()))
        })
    })
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let rules = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    rules.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use caracal_pki::store;

    use super::*;

    fn put(path: &Path, text: &[u8]) {
        store::create_private_dir(path.parent().unwrap()).unwrap();
        store::write_private(path, text).unwrap();
    }

    #[test]
    fn a_folder_is_outside_ignored_seen_or_tracked() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("tree");
        let state = tree.join("sub/.caracal");
        put(&state.join("x"), b"");
        assert_eq!(standing(&state), Standing::Outside);
        put(&tree.join(".git/index"), b"DIRC....src/main.rs\0");
        assert_eq!(standing(&state), Standing::Seen);
        for rule in [".caracal", ".caracal/", "sub/.caracal", "/sub", "sub/"] {
            put(&tree.join(".gitignore"), format!("# secrets\n{rule}\n").as_bytes());
            assert_eq!(standing(&state), Standing::Ignored, "{rule}");
        }
        for rule in ["/.caracal", "#.caracal", "!.caracal", "other"] {
            put(&tree.join(".gitignore"), format!("{rule}\n").as_bytes());
            assert_eq!(standing(&state), Standing::Seen, "{rule}");
        }
        put(&state.join(".gitignore"), b"*\n");
        assert_eq!(standing(&state), Standing::Ignored);
        put(&tree.join(".git/index"), b"DIRC....sub/.caracal/clusters/caracal/passwords/admin\0");
        assert_eq!(standing(&state), Standing::Tracked, "ignored too late");
    }

    #[test]
    fn a_second_work_tree_names_its_index_in_a_file() {
        let scratch = tempfile::tempdir().unwrap();
        let (tree, state) = (scratch.path().join("second"), scratch.path().join("second/.caracal"));
        put(&state.join(".gitignore"), b"*\n");
        put(&scratch.path().join("main/.git/worktrees/second/index"), b"DIRC .caracal/x\0");
        put(&tree.join(".git"), b"gitdir: ../main/.git/worktrees/second\n");
        assert_eq!(standing(&state), Standing::Tracked);
    }
}
