//! Holds README's table of environment variables to the one in the code.

use caracal_kafka_contract::profile::VARIABLES;

#[test]
fn readme_lists_every_variable() {
    let readme = include_str!("../README.md");
    let expected: String = VARIABLES
        .iter()
        .map(|variable| {
            let key = variable.key.map_or_else(|| "(which file)".to_owned(), |key| format!("`{key}`"));
            format!("| `{}` | {key} | {} |\n", variable.name, variable.meaning)
        })
        .collect();
    assert!(readme.contains(&expected), "README.md needs this table:\n{expected}");
    let listed = readme.lines().filter(|line| line.starts_with("| `CARACAL_")).count();
    assert_eq!(listed, VARIABLES.len(), "README.md lists a variable that does not exist");
}
