//! Rows for a spreadsheet (RFC 4180), which must not take a cell for a formula.

/// One row with its line end.
pub(crate) fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    cells.join(",") + "\r\n"
}

/// A cell: quoted where it has to be, and with an apostrophe before what a spreadsheet would compute.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_never_formulas() {
        let cells =
            ["a", "", "b,c", "d \"e\"", "f\ng", "=1+1", "+1", "-1", "@x", "\tx", "=\"a\",b"];
        let quoted =
            "a,,\"b,c\",\"d \"\"e\"\"\",\"f\ng\",'=1+1,'+1,'-1,'@x,'\tx,\"'=\"\"a\"\",b\"\r\n";
        assert_eq!(row(cells), quoted);
    }
}
