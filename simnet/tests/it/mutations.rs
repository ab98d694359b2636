//! That the mutations are of rules that there are.

use std::{fs, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
struct Rules {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
struct Mutation {
    name: String,
    file: String,
    old: String,
    new: String,
}

#[test]
fn every_mutation_changes_one_place_of_a_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rules = fs::read_to_string(root.join("simnet/mutations/rules.toml")).unwrap();
    let rules: Rules = toml::from_str(&rules).unwrap();
    assert!(rules.mutation.len() >= 15);
    for Mutation { name, file, old, new } in rules.mutation {
        let source = fs::read_to_string(root.join(file)).unwrap();
        assert_eq!(source.matches(&old).count(), 1, "{name}");
        assert_ne!(old, new, "{name}");
    }
}
