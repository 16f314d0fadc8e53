//! `cargo xtask docs`: guides, Python reference and Rust reference as one site.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use crate::command::{appended, cargo, run as run_command, target_directory};
use crate::python;

const SITE: &str = "docs/_build/html";

/// Builds the whole site and prints where it begins.
pub(crate) fn run() -> ExitCode {
    match build() {
        Ok(first_page) => {
            println!("{first_page}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<String, String> {
    // The reference of the Python package is read from the installed package.
    python::install().map_err(|reason| reason.to_string())?;
    pages()?;
    rust_reference()?;
    let site = Path::new(SITE);
    replace(&target_directory()?.join("doc"), &site.join("rust"))?;
    check_links(Path::new("docs/rust.md"), site)?;
    let first_page = site.join("index.html");
    let first_page = first_page
        .canonicalize()
        .map_err(|error| format!("expected `{}`: {error}", first_page.display()))?;
    Ok(first_page.display().to_string())
}

/// The pages: guides and Python reference. Every page is in it and every link leads somewhere.
///
/// # Errors
///
/// The first warnings are on stderr; the text says which command failed.
pub(crate) fn pages() -> Result<(), String> {
    run_command(&mut python::interpreter([
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        // What a page warned about last time it warns about again, changed or not.
        "--fresh-env",
        "--write-all",
        "--builder",
        "html",
        "docs",
        SITE,
    ]))
}

/// The Rust API documentation. Every link in it leads somewhere.
///
/// # Errors
///
/// The warnings are on stderr; the text says which command failed.
pub(crate) fn rust_reference() -> Result<(), String> {
    let mut command = cargo(["doc", "--workspace", "--no-deps"]);
    command.env("RUSTDOCFLAGS", appended("RUSTDOCFLAGS", "-D warnings"));
    run_command(&mut command)
}

/// The links of a page into the Rust reference, which Sphinx knows nothing of, lead somewhere.
fn check_links(page: &Path, site: &Path) -> Result<(), String> {
    let text = fs::read_to_string(page)
        .map_err(|error| format!("cannot read `{}`: {error}", page.display()))?;
    let targets = text
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    for target in targets {
        if !site.join(target).is_file() {
            return Err(format!(
                "{}: the link to `{target}` leads nowhere in `{}`",
                page.display(),
                site.display()
            ));
        }
    }
    Ok(())
}

/// Makes the folder `to` a copy of the folder `from`.
fn replace(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error| {
        format!(
            "cannot copy `{}` to `{}`: {error}",
            from.display(),
            to.display()
        )
    };
    if to.exists() {
        fs::remove_dir_all(to).map_err(failed)?;
    }
    copy_folder(from, to).map_err(failed)
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let root = std::env::temp_dir().join(format!("xtask-links-{}", std::process::id()));
        fs::create_dir_all(root.join("rust")).unwrap();
        fs::write(root.join("rust/there.html"), "").unwrap();
        let page = root.join("page.md");
        fs::write(&page, "<a href=\"rust/there.html\">there</a>").unwrap();
        assert_eq!(check_links(&page, &root), Ok(()));
        fs::write(&page, "<a href=\"rust/gone.html\">gone</a>").unwrap();
        let failure = check_links(&page, &root).unwrap_err();
        assert!(
            failure.contains("the link to `rust/gone.html`"),
            "{failure}"
        );
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_copied_folder_holds_what_its_source_holds_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("xtask-docs-{}", std::process::id()));
        let (from, to) = (root.join("from"), root.join("to"));
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("deep/er/page.html"), "new").unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join("stale.html"), "old").unwrap();

        replace(&from, &to).unwrap();
        let copied = fs::read_to_string(to.join("deep/er/page.html")).unwrap();
        assert_eq!(copied, "new");
        assert!(!to.join("stale.html").exists());

        let failure = replace(&root.join("absent"), &to).unwrap_err();
        assert!(failure.starts_with("cannot copy `"), "{failure}");
        fs::remove_dir_all(&root).unwrap();
    }
}
