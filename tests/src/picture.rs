//! A picture of a terminal as SVG: text stays text, so it is sharp at every size and small. Blocks
//! and lines are drawn as shapes, as terminals do it, because their glyphs differ from font to
//! font.

use std::fmt::Write;

use vt100::{Cell, Color, Screen};

/// The size of a cell, in units of the picture.
const CELL: (f64, f64) = (8.4, 18.0);
/// From the top of a cell to the line on which its text stands.
const BASE: f64 = 13.5;
const FONT_SIZE: f64 = 14.0;
/// Between the text and the edge of the window.
const MARGIN: f64 = 16.0;
/// The height of the bar with the title.
const BAR: f64 = 34.0;

const FONTS: &str = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

const PAPER: Rgb = (0x0d, 0x11, 0x17);
const INK: Rgb = (0xd1, 0xd7, 0xe0);
const FRAME: &str = "#30363d";
const TITLE: &str = "#9198a1";

/// The first sixteen colours of the terminal, which its owner chooses.
const PALETTE: [Rgb; 16] = [
    (0x48, 0x4f, 0x58),
    (0xff, 0x7b, 0x72),
    (0x3f, 0xb9, 0x50),
    (0xd2, 0x99, 0x22),
    (0x58, 0xa6, 0xff),
    (0xbc, 0x8c, 0xff),
    (0x39, 0xc5, 0xcf),
    (0xb1, 0xba, 0xc4),
    (0x7d, 0x85, 0x90),
    (0xff, 0xa1, 0x98),
    (0x56, 0xd3, 0x64),
    (0xe3, 0xb3, 0x41),
    (0x79, 0xc0, 0xff),
    (0xd2, 0xa8, 0xff),
    (0x56, 0xd4, 0xdd),
    (0xf0, 0xf6, 0xfc),
];

type Rgb = (u8, u8, u8);

/// How a cell looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style {
    ink: Rgb,
    paper: Rgb,
    bold: bool,
    italic: bool,
    underline: bool,
}

impl Style {
    fn of(cell: &Cell) -> Self {
        let mut ink = rgb(cell.fgcolor(), INK);
        let mut paper = rgb(cell.bgcolor(), PAPER);
        if cell.inverse() {
            (ink, paper) = (paper, ink);
        }
        if cell.dim() {
            let half = |a: u8, b: u8| u8::try_from((u16::from(a) * 3 + u16::from(b) * 2) / 5);
            let mixed = |a, b| half(a, b).expect("a mean of bytes is a byte");
            ink = (mixed(ink.0, paper.0), mixed(ink.1, paper.1), mixed(ink.2, paper.2));
        }
        let (bold, italic) = (cell.bold(), cell.italic());
        Self { ink, paper, bold, italic, underline: cell.underline() }
    }
}

/// The first `lines` lines of the screen in a window with this title.
pub fn svg(screen: &Screen, lines: u16, title: &str) -> String {
    let columns = screen.size().1.get();
    let width = f64::from(columns).mul_add(CELL.0, 2.0 * MARGIN);
    let height = f64::from(lines).mul_add(CELL.1, BAR + MARGIN);
    let mut text = String::new();
    let size = format!("width=\"{width:.0}\" height=\"{height:.0}\"");
    let paper = hex(PAPER);
    // Writing into a String cannot fail, here and below.
    let _ = writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {size} viewBox=\"0 0 {width:.0} {height:.0}\" \
         role=\"img\">\n<title>{}</title>\n\
         <rect x=\".5\" y=\".5\" width=\"{:.0}\" height=\"{:.0}\" rx=\"9\" fill=\"{paper}\" \
         stroke=\"{FRAME}\"/>\n<path d=\"M0 {BAR}h{width:.0}\" stroke=\"{FRAME}\"/>",
        escaped(title),
        width - 1.0,
        height - 1.0,
    );
    for button in 0..3 {
        let x = f64::from(button).mul_add(18.0, 20.0);
        let _ = writeln!(text, "<circle cx=\"{x}\" cy=\"17\" r=\"5.5\" fill=\"{FRAME}\"/>");
    }
    let _ = writeln!(
        text,
        "<g font-family=\"{FONTS}\" font-size=\"{FONT_SIZE}\">\n\
         <text x=\"{:.0}\" y=\"22\" text-anchor=\"middle\" font-size=\"13\" fill=\"{TITLE}\">{}\
         </text>",
        width / 2.0,
        escaped(title),
    );
    for line in 0..lines {
        for run in runs(screen, line, columns) {
            run.draw(&mut text);
        }
    }
    text.push_str("</g>\n</svg>\n");
    text
}

/// Cells of a line that look alike.
struct Run {
    style: Style,
    line: u16,
    first: u16,
    cells: Vec<String>,
}

fn runs(screen: &Screen, line: u16, columns: u16) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..columns {
        let Some(cell) = screen.cell(line, column) else { continue };
        let style = Style::of(cell);
        let content = if cell.has_contents() { cell.contents() } else { " " };
        match runs.last_mut() {
            Some(run) if run.style == style => run.cells.push(content.to_owned()),
            _ => runs.push(Run { style, line, first: column, cells: vec![content.to_owned()] }),
        }
    }
    runs
}

impl Run {
    fn x(&self, at: usize) -> f64 {
        let at = u16::try_from(at).expect("a column");
        f64::from(self.first + at).mul_add(CELL.0, MARGIN)
    }

    fn y(&self) -> f64 {
        f64::from(self.line).mul_add(CELL.1, BAR + MARGIN / 2.0)
    }

    fn draw(&self, text: &mut String) {
        let (count, y) = (self.cells.len(), self.y());
        if self.style.paper != PAPER {
            let (x, width) = (self.x(0), self.x(count) - self.x(0));
            let _ = writeln!(
                text,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>",
                CELL.1,
                hex(self.style.paper)
            );
        }
        let (mut filled, mut stroked) = (String::new(), String::new());
        let mut words: Vec<(usize, String)> = Vec::new();
        let mut word: Option<(usize, String)> = None;
        for (at, content) in self.cells.iter().enumerate() {
            let shape = content.chars().next().filter(|_| content != " ");
            let (x, y) = (self.x(at), self.y());
            if let Some(eighths) = shape.and_then(block) {
                let high = CELL.1 * eighths / 8.0;
                let top = y + CELL.1 - high;
                let _ = write!(filled, "M{x:.1} {top:.2}h{}v{high:.2}h-{}z", CELL.0, CELL.0);
            } else if let Some(arms) = shape.and_then(arms) {
                stroke(&mut stroked, x, y, arms);
            } else if content.is_ascii() && content != " " {
                let (_, letters) = word.get_or_insert_with(|| (at, String::new()));
                letters.push_str(content);
                continue;
            } else if content != " " {
                words.push((at, content.clone()));
            } else if let Some((_, letters)) = &mut word
                && self.cells.get(at + 1).is_some_and(|next| next != " " && next.is_ascii())
            {
                letters.push(' ');
                continue;
            }
            words.extend(word.take());
        }
        words.extend(word);
        let ink = hex(self.style.ink);
        if !filled.is_empty() {
            let _ = writeln!(text, "<path d=\"{filled}\" fill=\"{ink}\"/>");
        }
        if !stroked.is_empty() {
            let _ = writeln!(text, "<path d=\"{stroked}\" stroke=\"{ink}\" fill=\"none\"/>");
        }
        words.iter().for_each(|(at, word)| self.write(text, *at, word));
    }

    /// Writes letters so that they take exactly their cells, in whatever font.
    fn write(&self, text: &mut String, at: usize, letters: &str) {
        let mut style = format!("fill=\"{}\"", hex(self.style.ink));
        for (is, attribute) in [
            (self.style.bold, " font-weight=\"bold\""),
            (self.style.italic, " font-style=\"italic\""),
            (self.style.underline, " text-decoration=\"underline\""),
        ] {
            style.push_str(if is { attribute } else { "" });
        }
        let (x, y) = (self.x(at), self.y() + BASE);
        let count = letters.chars().count();
        let place = if count == 1 {
            format!("x=\"{:.1}\" text-anchor=\"middle\"", x + CELL.0 / 2.0)
        } else {
            format!("x=\"{x:.1}\" textLength=\"{:.1}\"", self.x(at + count) - x)
        };
        let letters = escaped(letters);
        let _ = writeln!(text, "<text {place} y=\"{y:.1}\" {style}>{letters}</text>");
    }
}

/// How many eighths of its cell a block fills, from the bottom.
fn block(shape: char) -> Option<f64> {
    let eighths = u32::from(shape).checked_sub(0x2580)?;
    (1..=8).contains(&eighths).then_some(f64::from(eighths))
}

/// The arms of a line from the middle of its cell (up, down, left, right), and how wide it is.
fn arms(shape: char) -> Option<([bool; 4], f64)> {
    let (arms, wide) = match shape {
        '─' | '╌' => ("lr", 1.0),
        '│' => ("ud", 1.0),
        '┃' => ("ud", 2.5),
        '┌' | '╭' => ("dr", 1.0),
        '┐' | '╮' => ("dl", 1.0),
        '└' | '╰' => ("ur", 1.0),
        '┘' | '╯' => ("ul", 1.0),
        '├' => ("udr", 1.0),
        '┤' => ("udl", 1.0),
        '┬' => ("dlr", 1.0),
        '┴' => ("ulr", 1.0),
        '┼' => ("udlr", 1.0),
        _ => return None,
    };
    Some((['u', 'd', 'l', 'r'].map(|arm| arms.contains(arm)), wide))
}

/// Draws the arms as thin rectangles, which look the same at every size.
fn stroke(path: &mut String, x: f64, y: f64, ([up, down, left, right], wide): ([bool; 4], f64)) {
    let (middle_x, middle_y) = (x + CELL.0 / 2.0, y + CELL.1 / 2.0);
    for (is, to) in [
        (up, format!("V{y:.1}")),
        (down, format!("V{:.1}", y + CELL.1)),
        (left, format!("H{x:.1}")),
        (right, format!("H{:.1}", x + CELL.0)),
    ] {
        if is {
            let _ = write!(path, "M{middle_x:.1} {middle_y:.1}{to}");
            // A wide line is several beside each other.
            if wide > 1.0 {
                let _ = write!(path, "M{:.1} {middle_y:.1}{to}", middle_x + 1.0);
            }
        }
    }
}

fn rgb(color: Color, default: Rgb) -> Rgb {
    match color {
        Color::Default => default,
        Color::Rgb(red, green, blue) => (red, green, blue),
        Color::Idx(index @ 0..16) => PALETTE[usize::from(index)],
        Color::Idx(index @ 16..232) => {
            let step = |value: u8| if value == 0 { 0 } else { value * 40 + 55 };
            let index = index - 16;
            (step(index / 36), step(index / 6 % 6), step(index % 6))
        }
        Color::Idx(index) => {
            let grey = (index - 232) * 10 + 8;
            (grey, grey, grey)
        }
    }
}

fn hex((red, green, blue): Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_blocks_and_lines_stand_in_their_cells() {
        let size = |count| std::num::NonZero::new(count).unwrap();
        let mut parser = vt100::Parser::new(size(2), size(20), 0);
        parser.process("\x1b[1;31mno <db>\x1b[0m  two\r\n\x1b[7m▄\x1b[0m│●".as_bytes());
        let text = svg(parser.screen(), 2, "a & b");
        for part in [
            "viewBox=\"0 0 200 86\"",
            "<title>a &amp; b</title>",
            // Seven letters of 8.4 units, in bold and red.
            "<text x=\"16.0\" textLength=\"58.8\" y=\"55.5\" fill=\"#ff7b72\" \
             font-weight=\"bold\">no &lt;db&gt;</text>",
            "<text x=\"91.6\" textLength=\"25.2\" y=\"55.5\" fill=\"#d1d7e0\">two</text>",
            // An inverse half block: dark below, on light.
            "<rect x=\"16.0\" y=\"60.0\" width=\"8.4\" height=\"18\" fill=\"#d1d7e0\"/>",
            "<path d=\"M16.0 69.00h8.4v9.00h-8.4z\" fill=\"#0d1117\"/>",
            "<path d=\"M28.6 69.0V60.0M28.6 69.0V78.0\" stroke=\"#d1d7e0\" fill=\"none\"/>",
            "text-anchor=\"middle\" y=\"73.5\" fill=\"#d1d7e0\">●</text>",
        ] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }
}
