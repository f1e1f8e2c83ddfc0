//! A report as an HTML file: opened before the run, so that a run is not wasted on a file that cannot be written.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::cli::{Failure, complain, is_quiet};

/// A file that can be written; what was there stays until there is something better.
#[derive(Debug)]
pub(super) struct HtmlFile {
    path: PathBuf,
    file: File,
    /// Where it is written first; a pipe or a device is written at once.
    part: Option<PathBuf>,
}

impl HtmlFile {
    /// Wrong usage where it cannot be written.
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        let is_special = fs::metadata(&path).is_ok_and(|about| !about.is_file());
        let part = (!is_special).then(|| {
            let mut name = path.clone().into_os_string();
            name.push(".part");
            PathBuf::from(name)
        });
        let tried = match &part {
            Some(part) => File::create(part),
            None => OpenOptions::new().write(true).open(&path),
        };
        let file = tried.map_err(|error| {
            Failure::Usage(format!(
                "--html {}: cannot be written: {error}",
                path.display()
            ))
        })?;
        Ok(Self { path, file, part })
    }

    /// Writes a page, and says where it is.
    pub(super) fn write(mut self, page: &str) -> Result<(), Failure> {
        let shown = self.path.display().to_string();
        self.file
            .write_all(page.as_bytes())
            .with_context(|| format!("--html {shown}"))?;
        if let Some(part) = self.part.take() {
            fs::rename(&part, &self.path).with_context(|| format!("--html {shown}"))?;
        }
        if !is_quiet() {
            complain(format_args!("the charts are in {shown}"));
        }
        Ok(())
    }
}

impl Drop for HtmlFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(part);
        }
    }
}
