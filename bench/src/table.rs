//! Tables for people: Markdown, with columns that line up on a terminal too. And the median.

use std::fmt;

/// Rows of cells under a heading; the first column is text, the others are figures.
#[derive(Debug, Default)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// With its heading.
    pub fn new<'a>(heading: impl IntoIterator<Item = &'a str>) -> Self {
        Self(vec![heading.into_iter().map(str::to_owned).collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.0
                .iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        for (n, row) in self.0.iter().enumerate() {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 { write!(f, "| {cell:<width$} ")? } else { write!(f, "| {cell:>width$} ")? }
            }
            writeln!(f, "|")?;
            if n == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width - usize::from(column > 0));
                    write!(f, "| {dashes}{} ", if column > 0 { ":" } else { "" })?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// The middle one.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}

/// A figure with three digits that matter.
pub fn short(figure: f64) -> String {
    match figure.abs() {
        f if f.is_nan() => "-".to_owned(),
        f if f >= 1e6 => format!("{:.2} M", figure / 1e6),
        f if f >= 1e4 => format!("{:.0} k", figure / 1e3),
        f if f >= 99.95 => format!("{figure:.0}"),
        f if f >= 9.995 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
