//! `population.preset`: what a file does not say itself, its preset says.

use toml::{Table, Value};

use crate::scenario::Preset;

/// Puts the values of the preset that a table names under those that the table has. A name that is
/// none is refused with its line when the table is read.
pub(super) fn under(table: &mut Table) {
    let named = table.get("population").and_then(|population| population.get("preset"));
    let named = named.and_then(Value::as_str);
    let Some(preset) = Preset::ALL.into_iter().find(|preset| Some(preset.name()) == named) else {
        return;
    };
    for given in preset.values() {
        let (section, key) = given.key.split_once('.').expect("a preset's keys have a section");
        let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Some(section) = section.as_table_mut() {
            section.entry(key).or_insert(given.value);
        }
    }
}
