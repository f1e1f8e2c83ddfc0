//! A report as an HTML file: opened before the run, so that nobody waits for what cannot be kept.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::cli::{Failure, complain};
use crate::load::comparison::Comparison;
use crate::load::picture;

/// A file that can be written; what was in it stays until it is.
#[derive(Debug)]
pub(super) struct HtmlFile {
    path: PathBuf,
    file: File,
    /// Whether it is to go if the run fails: it was not there before.
    is_new: bool,
}

impl HtmlFile {
    /// Wrong usage where it cannot be written.
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        let mut how = OpenOptions::new();
        how.write(true);
        let (file, is_new) = match how.clone().create_new(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => (how.open(&path), false),
            tried => (tried, true),
        };
        match file {
            Ok(file) => Ok(Self { path, file, is_new }),
            Err(error) => Err(Failure::Usage(format!(
                "--html {}: cannot be written: {error}",
                path.display()
            ))),
        }
    }

    /// Writes the page, and says where it is.
    pub(super) fn write(mut self, comparison: &Comparison) -> Result<(), Failure> {
        let page = picture::page(comparison);
        // A pipe or a device has no length to cut.
        if self.file.metadata().is_ok_and(|about| about.is_file()) {
            self.file.set_len(0).context("--html")?;
        }
        self.file
            .write_all(page.as_bytes())
            .with_context(|| format!("--html {}", self.path.display()))?;
        self.is_new = false;
        complain(format_args!("the pictures are in {}", self.path.display()));
        Ok(())
    }
}

impl Drop for HtmlFile {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}
