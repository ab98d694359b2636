//! The head of a GGUF file: its metadata and where its tensors lie.
//!
//! (Format: the GGUF specification in ggml's documentation.) Read here and not by a library, since those that were
//! looked at divide by the file's alignment, take the last of two tensors of one name, or make a value
//! of 24 bytes of each byte of an array. Here texts and arrays stay in the file until they are asked for.

use std::collections::BTreeMap;

use super::error::ImportError;

/// The most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Where tensors begin, unless the file says otherwise: at multiples of this many bytes.
const ALIGNMENT: u64 = 32;

/// The head of a file, and its tensors' bytes.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub(super) metadata: BTreeMap<&'a str, Value<'a>>,
    pub(super) tensors: BTreeMap<&'a str, TensorInfo>,
    /// Everything behind the head; tensors lie at their offsets.
    pub(super) data: &'a [u8],
}

/// Where a tensor lies and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorInfo {
    /// Fastest first, as the file has them.
    pub(super) dimensions: Vec<u64>,
    /// The number of the form in which it is stored.
    pub(super) form: u32,
    /// From the beginning of the data.
    pub(super) offset: u64,
}

/// A value of the metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Array(Array<'a>),
}

/// An array of the metadata, unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Array<'a> {
    kind: u32,
    count: u64,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// How many values it has.
    pub(super) const fn count(self) -> u64 {
        self.count
    }

    /// Its values, each read when it is asked for.
    pub(super) fn values(self) -> impl Iterator<Item = Result<Value<'a>, ImportError>> {
        let mut reader = Reader { rest: self.bytes, section: METADATA };
        (0..self.count).map(move |_| reader.value(self.kind))
    }
}

const METADATA: &str = "metadata";
const TENSORS: &str = "list of tensors";
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

impl<'a> Header<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        if !bytes.starts_with(b"GGUF") {
            return Err(ImportError::NotGguf);
        }
        let mut reader = Reader { rest: &bytes[4..], section: "first bytes" };
        if !matches!(reader.u32()?, 2 | 3) {
            return Err(ImportError::NotGguf);
        }
        let (tensors, entries) = (reader.u64()?, reader.u64()?);
        reader.section = METADATA;
        let metadata = reader.metadata(entries)?;
        reader.section = TENSORS;
        let tensors = reader.tensors(tensors)?;
        let alignment = match metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Unsigned(n)) if n.is_power_of_two() && (8..=1 << 16).contains(n) => *n,
            Some(other) => {
                let reason = format!("an alignment of {other:?} is not a power of two from 8 on");
                return Err(ImportError::Malformed { section: METADATA, reason });
            }
        };
        let head = (bytes.len() - reader.rest.len()) as u64;
        let start = head.next_multiple_of(alignment);
        let data = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
        let data = match data {
            Some(data) => data,
            None if tensors.is_empty() => &[],
            None => return Err(ImportError::Truncated { section: "padding before the tensors" }),
        };
        for (name, tensor) in &tensors {
            if !tensor.offset.is_multiple_of(alignment) {
                let reason = format!("tensor {name} does not lie at a multiple of {alignment}");
                return Err(ImportError::Malformed { section: TENSORS, reason });
            }
        }
        Ok(Self { metadata, tensors, data })
    }
}

/// What is left of a file.
struct Reader<'a> {
    rest: &'a [u8],
    section: &'static str,
}

impl<'a> Reader<'a> {
    fn wrong(&self, reason: impl Into<String>) -> ImportError {
        ImportError::Malformed { section: self.section, reason: reason.into() }
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], ImportError> {
        let count = usize::try_from(count).ok().filter(|count| *count <= self.rest.len());
        let count = count.ok_or(ImportError::Truncated { section: self.section })?;
        let (head, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        Ok(self.take(N as u64)?.try_into().expect("as many were taken"))
    }

    fn u32(&mut self) -> Result<u32, ImportError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ImportError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<&'a str, ImportError> {
        let length = self.u64()?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    fn metadata(&mut self, entries: u64) -> Result<BTreeMap<&'a str, Value<'a>>, ImportError> {
        let mut metadata = BTreeMap::new();
        for _ in 0..entries {
            let key = self.text()?;
            let kind = self.u32()?;
            let value = self.value(kind)?;
            if metadata.insert(key, value).is_some() {
                return Err(self.wrong(format!("{} stands there twice", short(key))));
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32) -> Result<Value<'a>, ImportError> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => match self.array::<1>()?[0] {
                bit @ 0..=1 => Value::Bool(bit == 1),
                _ => return Err(self.wrong("a yes or no is neither")),
            },
            TEXT => Value::Text(self.text()?),
            ARRAY => Value::Array(self.values()?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(self.wrong(format!("there is no kind of value {other}"))),
        })
    }

    fn values(&mut self) -> Result<Array<'a>, ImportError> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let start = self.rest;
        match kind {
            TEXT => (0..count).try_for_each(|_| {
                let length = self.u64()?;
                self.take(length).map(|_| ())
            })?,
            ARRAY => return Err(self.wrong("an array of arrays is not read")),
            _ => {
                let width = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    10..=12 => 8,
                    other => return Err(self.wrong(format!("there is no kind of value {other}"))),
                };
                let length = count.checked_mul(width);
                self.take(length.ok_or(ImportError::Truncated { section: self.section })?)?;
            }
        }
        Ok(Array { kind, count, bytes: &start[..start.len() - self.rest.len()] })
    }

    fn tensors(&mut self, count: u64) -> Result<BTreeMap<&'a str, TensorInfo>, ImportError> {
        let mut tensors = BTreeMap::new();
        for _ in 0..count {
            let name = self.text()?;
            let dimensions = self.u32()?;
            if dimensions > MAX_DIMENSIONS {
                return Err(self.wrong(format!("{} has {dimensions} dimensions", short(name))));
            }
            let dimensions = (0..dimensions).map(|_| self.u64()).collect::<Result<_, _>>()?;
            let (form, offset) = (self.u32()?, self.u64()?);
            if tensors.insert(name, TensorInfo { dimensions, form, offset }).is_some() {
                return Err(self.wrong(format!("{} stands there twice", short(name))));
            }
        }
        Ok(tensors)
    }
}

/// A name that strangers chose, cut to what an error can show.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}
