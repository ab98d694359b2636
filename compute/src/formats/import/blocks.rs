//! Stored forms of weights, and the numbers that they stand for.

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};

/// How the values of a tensor are stored: as numbers, or in one of llama.cpp's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl Form {
    /// The form of that number in GGUF files.
    pub(super) const fn numbered(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// What the field calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        }
    }

    const fn kind(self) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::Bf16 => GgmlDType::BF16,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q5_1 => GgmlDType::Q5_1,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q2K => GgmlDType::Q2K,
            Self::Q3K => GgmlDType::Q3K,
            Self::Q4K => GgmlDType::Q4K,
            Self::Q5K => GgmlDType::Q5K,
            Self::Q6K => GgmlDType::Q6K,
        }
    }

    /// Bytes of `rows` rows of `columns` values; none if a row is not made of whole blocks.
    pub(super) fn bytes(self, rows: usize, columns: usize) -> Option<usize> {
        let (kind, values) = (self.kind(), self.kind().block_size());
        let blocks = columns.is_multiple_of(values).then_some(columns / values)?;
        rows.checked_mul(blocks)?.checked_mul(kind.type_size())
    }

    /// The values that `bytes` stand for.
    ///
    /// # Panics
    /// If `bytes` are not whole blocks; [`bytes`](Self::bytes) says how many are.
    pub(super) fn values(self, bytes: &[u8]) -> Vec<f32> {
        let kind = self.kind();
        let count = bytes.len() / kind.type_size() * kind.block_size();
        if count == 0 {
            return Vec::new();
        }
        // A copy, so that the blocks lie as the processor wants them.
        let storage = QStorage::from_data(bytes.to_vec().into(), &Device::Cpu, kind);
        let tensor = storage.and_then(|storage| QTensor::new(storage, count));
        let values = tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu)?.to_vec1());
        values.expect("whole blocks are always dequantised on the CPU")
    }
}
