//! The result of a trial: for people, for programs, and for documents.

use serde::Serialize;

use super::options::TrialOptions;
use crate::cli::exit::{Exit, Failure};
use crate::cli::session::Session;

/// What a trial found.
pub(crate) trait Report: Serialize {
    /// Whether it went well.
    fn exit(&self) -> Exit;

    /// For people. `width`: that of their terminal.
    fn text(&self, width: Option<u16>) -> String;

    /// For documents.
    fn markdown(&self) -> String;
}

/// Prints it in the form that the options ask for.
pub(crate) fn print(
    report: &impl Report,
    options: &TrialOptions,
    session: &mut Session,
) -> Result<(), Failure> {
    if options.json {
        session.out.json(report)?;
    } else if options.markdown {
        session.out.bytes(report.markdown().as_bytes());
    } else {
        let width = session.out.width();
        session.out.bytes(report.text(width).as_bytes());
    }
    Ok(())
}

/// A line for each sentence.
pub(crate) fn lines(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("{sentence}\n")).collect()
}

/// The same as Markdown.
pub(crate) fn list(sentences: &[String]) -> String {
    sentences.iter().map(|sentence| format!("* {}\n", sentence.replace('|', "\\|"))).collect()
}

/// A table as Markdown. Its first column has names, the last `texts` columns have texts, and all
/// others have figures.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], texts: usize) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let figures = "--:|".repeat(header.len() - 1 - texts);
    let names: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let head = format!("{}|---|{figures}{}\n", line(&names), "---|".repeat(texts));
    rows.iter().fold(head, |table, row| table + &line(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_names_figures_and_texts() {
        let rows = [["a", "1", "well"].map(str::to_owned).to_vec()];
        let wanted = "| setup | p50 | notes |\n|---|--:|---|\n| a | 1 | well |\n";
        assert_eq!(table(&["setup", "p50", "notes"], &rows, 1), wanted);
        assert_eq!(table(&["setup", "p50"], &[], 0), "| setup | p50 |\n|---|--:|\n");
        assert_eq!(list(&["a|b".to_owned()]), "* a\\|b\n");
    }
}
