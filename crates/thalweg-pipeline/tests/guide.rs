//! The tables of the guide are those of the program. With `THALWEG_BLESS=1` in the environment they
//! are rewritten instead of checked.

use std::fs;
use std::path::Path;

use thalweg_pipeline::config::reference_tables;

#[test]
fn the_guide_has_the_tables_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/configuration.md");
    let guide = fs::read_to_string(&path).expect("the guide");
    let mut written = guide.clone();
    for (title, table) in reference_tables() {
        let mark = format!("<!-- table: {title} -->\n");
        let (before, after) = written
            .split_once(&mark)
            .unwrap_or_else(|| panic!("the guide has no place for the table of {title}"));
        // An old table goes on until the first line that is none.
        let is_table = |line: &&str| line.is_empty() || line.starts_with('|');
        let rest: Vec<&str> = after.split('\n').skip_while(is_table).collect();
        written = format!("{before}{mark}\n{table}\n{}", rest.join("\n"));
    }
    written = written.trim_end().to_owned() + "\n";
    if std::env::var_os("THALWEG_BLESS").is_some() {
        fs::write(&path, written).expect("the guide is writable");
    } else {
        assert!(
            guide == written,
            "the tables of {} are old: run this test with THALWEG_BLESS=1",
            path.display()
        );
    }
}
