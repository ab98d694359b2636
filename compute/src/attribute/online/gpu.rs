//! The integer products of [`Rows`] on a GPU, equal bit for bit to those on the CPU.
//!
//! Rows are packed and uploaded once; a query then costs one small upload, one dispatch per page and
//! the reading of one 32-bit sum per row and chunk. A kernel is not handed out before it has repeated
//! the CPU's products on this very device.

use std::fmt;
use std::sync::mpsc;

use super::kernel::{CHUNK, Rows};
use super::query::{Query, ScoreError};
use crate::device::adapters::{self, ready};
use crate::device::{DeviceFault, GpuInfo, guarded};

/// Invocations of a workgroup, as the shader says.
const GROUP: usize = 64;
/// Most bytes of rows in one buffer: half of what every device can bind.
const PAGE_BYTES: usize = 64 << 20;
/// Most rows of a page: workgroups of one dispatch are counted by 16 bits.
const PAGE_ROWS: usize = GROUP * 65_535;

/// The scoring kernel, compiled for one GPU.
pub struct GpuKernel {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
}

/// Rows that lie in a GPU's memory, ready for queries.
pub struct GpuRows<'a> {
    kernel: &'a GpuKernel,
    layout: Layout,
    query: wgpu::Buffer,
    pages: Vec<Page>,
}

/// Why a GPU does not compute scores.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// The device is no longer there.
    #[error("{0} was not found")]
    NotFound(GpuInfo),
    /// The driver does not open the device.
    #[error("the driver refuses the device: {0}")]
    Refused(String),
    /// The device computes other integers than the CPU.
    #[error("{0} computes other integers than the CPU")]
    Differs(GpuInfo),
    /// Rows and query don't fit together.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// How values lie in words: every block in `chunks` chunks of `words` words, padded with zeros.
#[derive(Clone, Copy, Debug)]
struct Layout {
    blocks: usize,
    block: usize,
    chunks: usize,
    words: usize,
}

struct Page {
    rows: usize,
    bindings: wgpu::BindGroup,
    sums: wgpu::Buffer,
    readback: wgpu::Buffer,
}

impl fmt::Debug for GpuKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuKernel").finish_non_exhaustive()
    }
}

impl GpuKernel {
    /// Compiles the kernel for a GPU and has it prove itself against the CPU.
    pub fn open(gpu: &GpuInfo) -> Result<Self, KernelError> {
        let adapter = adapters::of(gpu).ok_or_else(|| KernelError::NotFound(gpu.clone()))?;
        let descriptor = wgpu::DeviceDescriptor {
            required_limits: wgpu::Limits::downlevel_defaults(),
            ..Default::default()
        };
        let (device, queue) = ready(adapter.request_device(&descriptor))
            .ok_or_else(|| KernelError::Refused("no answer".to_owned()))?
            .map_err(|error| KernelError::Refused(error.to_string()))?;
        let pipeline = guarded(|| {
            let shader = device.create_shader_module(wgpu::include_wgsl!("kernel.wgsl"));
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: None,
                layout: None,
                module: &shader,
                entry_point: Some("products"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        })?;
        let kernel = Self { device, queue, pipeline };
        match kernel.agrees()? {
            true => Ok(kernel),
            false => Err(KernelError::Differs(gpu.clone())),
        }
    }

    /// Uploads rows, so that queries against them need not.
    pub fn load(&self, rows: &Rows<'_>) -> Result<GpuRows<'_>, KernelError> {
        self.load_in_pages(rows, PAGE_BYTES)
    }

    fn load_in_pages(
        &self,
        rows: &Rows<'_>,
        page_bytes: usize,
    ) -> Result<GpuRows<'_>, KernelError> {
        let layout = Layout::new(rows.blocks(), rows.block());
        let page = (page_bytes / (layout.row_words() * 4).max(1)).clamp(1, PAGE_ROWS);
        Ok(guarded(|| {
            let query = self.buffer(
                layout.row_words() * 8,
                wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            );
            let pages =
                rows.rows().chunks(page).map(|rows| self.page(&layout, rows, &query)).collect();
            GpuRows { kernel: self, layout, query, pages }
        })?)
    }

    fn page(&self, layout: &Layout, rows: &[&[i8]], query: &wgpu::Buffer) -> Page {
        use wgpu::BufferUsages as Usage;
        let packed = layout.pack_rows(rows);
        let values = self.buffer(packed.len(), Usage::STORAGE | Usage::COPY_DST);
        self.queue.write_buffer(&values, 0, &packed);
        let shape = self.buffer(8, Usage::UNIFORM | Usage::COPY_DST);
        let sizes = [rows.len() as u32, layout.words as u32].map(u32::to_le_bytes).concat();
        self.queue.write_buffer(&shape, 0, &sizes);
        let bytes = rows.len() * layout.all_chunks() * 4;
        let sums = self.buffer(bytes, Usage::STORAGE | Usage::COPY_SRC);
        let readback = self.buffer(bytes, Usage::MAP_READ | Usage::COPY_DST);
        let buffers = [&shape, &values, query, &sums];
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        Page { rows: rows.len(), bindings, sums, readback }
    }

    fn buffer(&self, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let size = (bytes as u64).max(4);
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size,
            usage,
            mapped_at_creation: false,
        })
    }

    /// Whether the products of the largest and of mixed values are those of the CPU.
    fn agrees(&self) -> Result<bool, KernelError> {
        let (blocks, block) = (2, 300);
        let mixed = |step: usize| (0..blocks * block).map(move |i| (i * step % 251) as u8 as i8);
        let rows: Vec<Vec<i8>> =
            vec![vec![i8::MIN; blocks * block], mixed(37).collect(), mixed(91).collect()];
        let rows = Rows::raw(rows.iter().map(|row| &row[..]).collect(), blocks, block);
        let queries = [
            vec![i16::MIN; blocks * block],
            (0..blocks * block).map(|i| (i * 7919 % 65_521) as u16 as i16).collect(),
        ];
        let mut loaded = self.load(&rows)?;
        for values in queries {
            let query = Query { spec: protocol::Hash::ZERO, exponents: vec![0; blocks], values };
            if loaded.products(&query)? != rows.products(&query)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl GpuRows<'_> {
    /// The exact products with the query's values: row by row, one per block. Equal to
    /// [`Rows::products`].
    pub fn products(&mut self, query: &Query) -> Result<Vec<i64>, KernelError> {
        if query.values.len() != self.layout.blocks * self.layout.block {
            return Err(ScoreError::Shape.into());
        }
        Ok(guarded(|| self.run(&query.values))?)
    }

    fn run(&self, query: &[i16]) -> Vec<i64> {
        let GpuKernel { device, queue, pipeline } = self.kernel;
        queue.write_buffer(&self.query, 0, &self.layout.pack_query(query));
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for page in &self.pages {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &page.bindings, &[]);
            let groups = page.rows.div_ceil(GROUP) as u32;
            pass.dispatch_workgroups(groups, self.layout.all_chunks() as u32, 1);
            drop(pass);
            encoder.copy_buffer_to_buffer(&page.sums, 0, &page.readback, 0, None);
        }
        let submission = queue.submit([encoder.finish()]);
        let (done, finished) = mpsc::channel();
        for page in &self.pages {
            let done = done.clone();
            page.readback.map_async(wgpu::MapMode::Read, .., move |result| {
                // The receiver outlives the wait below, in which this is called.
                let _ = done.send(result);
            });
        }
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
        device.poll(wait).expect("a device that is lost is caught by the caller");
        for _ in &self.pages {
            let mapped = finished.recv().expect("this function holds a sender");
            mapped.expect("a buffer that can't be read is caught by the caller");
        }
        let mut products = Vec::new();
        for page in &self.pages {
            let bytes =
                page.readback.get_mapped_range(..).expect("the buffer was mapped just before");
            self.layout.unpack(&bytes, page.rows, &mut products);
            drop(bytes);
            page.readback.unmap();
        }
        products
    }
}

impl Layout {
    fn new(blocks: usize, block: usize) -> Self {
        let chunks = block.div_ceil(CHUNK).max(1);
        let words = block.div_ceil(chunks).div_ceil(4);
        Self { blocks, block, chunks, words }
    }

    fn all_chunks(&self) -> usize {
        self.blocks * self.chunks
    }

    fn row_words(&self) -> usize {
        self.all_chunks() * self.words
    }

    /// Of each word of a row, in order, the indices of its first value and of the value behind its
    /// last one.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let width = self.words * 4;
        (0..self.blocks).flat_map(move |block| {
            (0..self.chunks * self.words).map(move |word| {
                let (chunk, word) = (word / self.words, word % self.words);
                let end = ((chunk + 1) * width).min(self.block);
                let from = (chunk * width + word * 4).min(end);
                (block * self.block + from, block * self.block + (from + 4).min(end))
            })
        })
    }

    /// Rows as the shader reads them: `[chunk][word][row]`, little-endian.
    fn pack_rows(&self, rows: &[&[i8]]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.row_words() * rows.len() * 4);
        for (from, to) in self.spans() {
            for row in rows {
                let mut word = [0u8; 4];
                word.iter_mut().zip(&row[from..to]).for_each(|(byte, &v)| *byte = v as u8);
                out.extend(word);
            }
        }
        out
    }

    /// A query as the shader reads it: `[chunk][word][4]`, little-endian.
    fn pack_query(&self, values: &[i16]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.row_words() * 8);
        for (from, to) in self.spans() {
            let mut word = [0i16; 4];
            word[..to - from].copy_from_slice(&values[from..to]);
            out.extend(word.iter().flat_map(|value| value.to_le_bytes()));
        }
        out
    }

    /// Adds up the chunks of every block, from `[chunk][row]` to row by row.
    fn unpack(&self, bytes: &[u8], rows: usize, products: &mut Vec<i64>) {
        let sums: Vec<i32> =
            bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        for row in 0..rows {
            for block in 0..self.blocks {
                let chunks = block * self.chunks..(block + 1) * self.chunks;
                products.push(chunks.map(|chunk| i64::from(sums[chunk * rows + row])).sum());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::list_gpus;

    #[test]
    fn every_value_lies_in_one_word_and_chunks_are_short() {
        for block in [1, 3, 4, 16, 255, 256, 257, 400, 961, 1024, 4096] {
            let layout = Layout::new(3, block);
            let spans: Vec<_> = layout.spans().collect();
            assert_eq!(spans.len(), layout.row_words());
            let covered: Vec<usize> = spans.iter().flat_map(|&(from, to)| from..to).collect();
            assert_eq!(covered, (0..3 * block).collect::<Vec<_>>(), "{block}");
            assert!(layout.words * 4 <= CHUNK);
        }
    }

    #[test]
    fn rows_in_many_pages_give_the_same_products() {
        let Some(gpu) = list_gpus().into_iter().next() else {
            println!("skipped: no Vulkan, Metal or DirectX 12 device was found");
            return;
        };
        let kernel = GpuKernel::open(&gpu).unwrap();
        let values: Vec<i8> = (0..130 * 32).map(|i| (i * 31 % 256) as u8 as i8).collect();
        let rows = Rows::raw(values.chunks(32).collect(), 2, 16);
        let values = (0..32).map(|i| i * 1000 - 16_000).collect();
        let query = Query { spec: protocol::Hash::ZERO, exponents: vec![0; 2], values };
        // 130 rows of 32 bytes in pages of 3 rows.
        let mut paged = kernel.load_in_pages(&rows, 100).unwrap();
        assert_eq!(paged.pages.len(), 44);
        assert_eq!(paged.products(&query).unwrap(), rows.products(&query).unwrap());
    }
}
