//! What is made from the definition of the command line: completions and manual pages.

use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;

use super::exit::Exit;
use super::print::Screen;
use crate::error::{Context, Result};
use crate::sys::file::replace;
use crate::wire::text::escaped;

pub(super) fn completions(screen: &Screen, shell: Shell) -> Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "keepgate", &mut text);
    screen.raw(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn manual(screen: &Screen, out: Option<&Path>) -> Result<Exit> {
    // Names of all commands become `keepgate-log-tail`, and global options reach all of them.
    let mut command = super::command();
    command.build();
    let Some(out) = out else {
        screen.raw(&page(command)?)?;
        return Ok(Exit::Ok);
    };
    std::fs::create_dir_all(out)
        .context(|| format!("make directory `{}`", escaped(&out.to_string_lossy())))?;
    let mut names = Vec::new();
    write(&command, out, &mut names)?;
    let value = serde_json::json!({ "pages": names });
    screen.answer(&value, |_| {
        format!(
            "{} pages in {}",
            names.len(),
            escaped(&out.to_string_lossy())
        )
    })?;
    Ok(Exit::Ok)
}

fn page(command: clap::Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(command)
        .manual("Keepgate")
        .render(&mut text)
        .context(|| "write the manual".into())?;
    Ok(text)
}

fn write(command: &clap::Command, out: &Path, names: &mut Vec<String>) -> Result<()> {
    let full = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let name = format!("{full}.1");
    let path = out.join(&name);
    replace(&path, &page(command.clone())?, 0o644)
        .context(|| format!("write `{}`", escaped(&path.to_string_lossy())))?;
    names.push(name);
    command
        .get_subcommands()
        .try_for_each(|below| write(below, out, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_the_first_names_exit_codes() {
        let directory = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        let mut command = super::super::command();
        command.build();
        write(&command, directory.path(), &mut names).unwrap();
        assert!(
            names.contains(&"keepgate-log-tail.1".to_owned()),
            "{names:?}"
        );
        let page = std::fs::read_to_string(directory.path().join("keepgate.1")).unwrap();
        assert!(
            page.contains("tampered") && page.contains("diverged"),
            "{page}"
        );
    }
}
