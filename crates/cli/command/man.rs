//! `nsrouter man`: the manual pages, made from the same description of the command line as `--help`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::output;

/// Write the manual pages.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder for all pages (nsrouter.1, nsrouter-check.1 and so on), created if it is missing. Without
    /// it the page of nsrouter itself goes to standard output.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A page of its own for nsrouter, and for each subcommand that `--help` shows. The program's page ends with
/// `sections`: headings, and text whose lines stay as they are.
pub(crate) fn run(
    args: &Args,
    mut command: clap::Command,
    sections: &[(&str, &str)],
) -> anyhow::Result<ExitCode> {
    command = command.disable_help_subcommand(true);
    // Tells subcommands the program's name, which their pages begin with.
    command.build();
    let Some(dir) = &args.dir else {
        output::write_bytes(&page(&command, sections)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let subcommands = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
    let pages = subcommands.map(|subcommand| (subcommand, &[][..])).chain([(&command, sections)]);
    for (command, sections) in pages {
        let path = dir.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(command, sections)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn page(command: &clap::Command, sections: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let man =
        Man::new(command.clone()).source(format!("nsrouter {}", crate::version::NUMBER)).manual("nsrouter");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|subcommand| !subcommand.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    for (heading, text) in sections {
        let mut roff = Roff::default();
        roff.control("SH", [*heading]).control("nf", []).text([roman(*text)]).control("fi", []);
        roff.to_writer(&mut page)?;
    }
    Ok(page)
}
