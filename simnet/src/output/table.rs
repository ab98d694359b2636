//! Tables of results: named columns, written as CSV and as Parquet from one definition.
//!
//! Names carry their unit (`_s`, `_ms`, `_bytes`, `_open`). A missing value is an empty field in
//! CSV and a null in Parquet. Parquet is Snappy-compressed, one row group, every column optional.

use std::{fmt::Write as _, io, sync::Arc};

use parquet::{
    basic::{Compression, ConvertedType, Repetition, Type as Physical},
    data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::Type,
};

/// Rows of equal shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
}

/// A column and its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name, with the unit.
    pub name: String,
    /// One value a row.
    pub values: Values,
}

/// The values of a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Whole numbers below 2⁶³.
    Int(Vec<Option<i64>>),
    /// Numbers with a fraction, some missing.
    Float(Vec<Option<f64>>),
    /// Yes or no.
    Bool(Vec<Option<bool>>),
    /// Text, and integers beyond 64 bits.
    Text(Vec<Option<String>>),
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::Int(values) => values.len(),
            Self::Float(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    fn cell(&self, row: usize) -> String {
        match self {
            Self::Int(values) => values[row].map_or(String::new(), |value| value.to_string()),
            Self::Float(values) => values[row].map_or(String::new(), |value| value.to_string()),
            Self::Bool(values) => values[row].map_or(String::new(), |value| value.to_string()),
            Self::Text(values) => values[row].as_deref().map_or(String::new(), quoted),
        }
    }
}

/// A field as RFC 4180 asks.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

impl Table {
    /// A table without columns.
    pub const fn new() -> Self {
        Self { columns: Vec::new() }
    }

    /// The columns, in the order of files.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of a name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.values.len())
    }

    /// Adds whole numbers; one from 2⁶³ on becomes 2⁶³ − 1.
    #[must_use]
    pub fn int<T: Into<Option<u64>>>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        let saturated = |value| i64::try_from(value).unwrap_or(i64::MAX);
        let values = values.map(|value| value.into().map(saturated)).collect();
        self.with(name, Values::Int(values))
    }

    /// The table with a column of numbers more.
    #[must_use]
    pub(crate) fn float<T: Into<Option<f64>>>(
        self,
        name: &str,
        values: impl Iterator<Item = T>,
    ) -> Self {
        self.with(name, Values::Float(values.map(Into::into).collect()))
    }

    /// Adds yes or no.
    #[must_use]
    pub fn flag(self, name: &str, values: impl Iterator<Item = bool>) -> Self {
        self.with(name, Values::Bool(values.map(Some).collect()))
    }

    /// The table with a column of text more.
    #[must_use]
    pub fn text<T: ToString>(self, name: &str, values: impl Iterator<Item = T>) -> Self {
        self.with(name, Values::Text(values.map(|value| Some(value.to_string())).collect()))
    }

    /// Adds a column.
    ///
    /// # Panics
    /// When it has not as many values as the others: a bug of who makes the table.
    #[must_use]
    pub fn with(mut self, name: &str, values: Values) -> Self {
        assert!(
            self.columns.is_empty() || values.len() == self.rows(),
            "column {name} has {} values for {} rows",
            values.len(),
            self.rows()
        );
        self.columns.push(Column { name: name.to_owned(), values });
        self
    }

    /// The table as CSV with a header.
    pub(crate) fn csv(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let mut text = names.join(",");
        text.push('\n');
        for row in 0..self.rows() {
            let cells: Vec<_> = self.columns.iter().map(|c| c.values.cell(row)).collect();
            writeln!(text, "{}", cells.join(",")).expect("a string takes what memory has");
        }
        text
    }

    /// The table as a Parquet file.
    ///
    /// # Errors
    /// [`io::Error`] when a column is beyond what the format holds.
    pub(crate) fn parquet(&self) -> io::Result<Vec<u8>> {
        self.try_parquet().map_err(io::Error::other)
    }

    fn try_parquet(&self) -> Result<Vec<u8>, ParquetError> {
        let fields = self.columns.iter().map(field).collect::<Result<_, _>>()?;
        let schema = Type::group_type_builder("simnet").with_fields(fields).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("openledger-simnet ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let mut file = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut file, Arc::new(schema), Arc::new(properties))?;
        let mut group = writer.next_row_group()?;
        for column in &self.columns {
            let mut place = group.next_column()?.expect("the schema has as many columns");
            write(&mut place, &column.values)?;
            place.close()?;
        }
        group.close()?;
        writer.close()?;
        Ok(file)
    }
}

fn field(column: &Column) -> Result<Arc<Type>, ParquetError> {
    let (physical, converted) = match &column.values {
        Values::Int(_) => (Physical::INT64, ConvertedType::NONE),
        Values::Float(_) => (Physical::DOUBLE, ConvertedType::NONE),
        Values::Bool(_) => (Physical::BOOLEAN, ConvertedType::NONE),
        Values::Text(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
    };
    let field = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_converted_type(converted);
    Ok(Arc::new(field.build()?))
}

fn write(place: &mut SerializedColumnWriter<'_>, values: &Values) -> Result<(), ParquetError> {
    match values {
        Values::Int(values) => {
            let (levels, present) = levels(values);
            place.typed::<Int64Type>().write_batch(&present, Some(&levels), None)?;
        }
        Values::Float(values) => {
            let (levels, present) = levels(values);
            place.typed::<DoubleType>().write_batch(&present, Some(&levels), None)?;
        }
        Values::Bool(values) => {
            let (levels, present) = levels(values);
            place.typed::<BoolType>().write_batch(&present, Some(&levels), None)?;
        }
        Values::Text(values) => {
            let (levels, present) = levels(values);
            let present: Vec<_> =
                present.iter().map(|text| ByteArray::from(text.as_str())).collect();
            place.typed::<ByteArrayType>().write_batch(&present, Some(&levels), None)?;
        }
    }
    Ok(())
}

/// Parquet's definition levels (1 where there is a value), and the values that there are.
fn levels<T: Clone>(values: &[Option<T>]) -> (Vec<i16>, Vec<T>) {
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (levels, values.iter().flatten().cloned().collect())
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader as _, SerializedFileReader},
        record::Field,
    };

    use super::*;

    fn sample() -> Table {
        Table::new()
            .int("epoch", [2, u64::MAX].into_iter())
            .int("final_block", [None, Some(9)].into_iter())
            .float("delay_s", [0.25, -1.0].into_iter())
            .flag("online", [true, false].into_iter())
            .text("kind", ["a, \"b\"", "ö"].into_iter())
    }

    #[test]
    fn csv_quotes_what_has_to_be_and_leaves_missing_values_empty() {
        assert_eq!(
            sample().csv(),
            "epoch,final_block,delay_s,online,kind\n2,,0.25,true,\"a, \"\"b\"\"\"\n\
             9223372036854775807,9,-1,false,ö\n"
        );
    }

    #[test]
    fn parquet_reads_back_with_its_nulls() {
        let bytes = bytes::Bytes::from(sample().parquet().unwrap());
        let reader = SerializedFileReader::new(bytes).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        let field = |row: usize, name: &str| {
            let mut columns = rows[row].get_column_iter();
            columns.find(|(known, _)| *known == name).unwrap().1.clone()
        };
        assert_eq!(rows.len(), 2);
        assert_eq!(field(0, "epoch"), Field::Long(2));
        assert_eq!(field(0, "final_block"), Field::Null);
        assert_eq!(field(1, "final_block"), Field::Long(9));
        assert_eq!(field(0, "delay_s"), Field::Double(0.25));
        assert_eq!(field(1, "online"), Field::Bool(false));
        assert_eq!(field(1, "kind"), Field::Str("ö".to_owned()));
    }

    #[test]
    fn a_table_without_rows_is_a_file_too() {
        let empty = Table::new().int("epoch", std::iter::empty::<u64>());
        let reader = SerializedFileReader::new(bytes::Bytes::from(empty.parquet().unwrap()));
        assert_eq!(reader.unwrap().metadata().file_metadata().num_rows(), 0);
    }
}
