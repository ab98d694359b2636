//! Proof of Holding: commit to one chunk of every cell, then open a sample drawn later.
//!
//! A *cell* is `cell_bytes` of one pack; cells are numbered over the packs of a node sorted by hash.
//! On seed S1 the node reads one 1 KiB chunk of each cell and publishes the root of *rows*
//! `keccak(K ‖ chunk)` with `K = keccak("openledger/row/v1" ‖ S1 ‖ account)`. It must touch every
//! cell before it knows the sample, and another node's answer is useless to it. Seed S2 picks the
//! cells that are opened, each with its BLAKE3 slice. `1 - (1 - f)^k` of those who lost a fraction f
//! are caught each epoch.

use alloc::vec::Vec;

use crate::{
    blob::BlobRef,
    codec::{DecodeError, Reader, Wire, encode_list},
    hash::{keccak, leading_u64},
    ids::{AccountId, Digest, Hash},
    limits::MAX_OPENINGS,
    merkle::{self, Path, SumNode, SumTree, Tree},
    params::Holding,
    record::StorageCommitBody,
    slice::{self, CHUNK_BYTES, Slice},
};

/// The key that makes a node's rows its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKey(Digest);

impl RowKey {
    /// Derives the key of an account from the epoch's first seed.
    pub fn new(s1: &Digest, account: AccountId) -> Self {
        Self(keccak(&[b"openledger/row/v1", &s1.0, &account.0.to_be_bytes()]))
    }

    /// The row of a cell whose chosen chunk is `chunk`.
    pub fn row(&self, chunk: &[u8]) -> Digest {
        keccak(&[&self.0.0, chunk])
    }

    fn chosen_chunk(&self, cell: u32, chunks_in_cell: u64) -> u64 {
        let draw = leading_u64(&keccak(&[&self.0.0, b"cell", &cell.to_be_bytes()]));
        draw.checked_rem(chunks_in_cell).unwrap_or(0)
    }
}

/// One cell of an inventory and the chunk of it that is committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Its place among all cells of the inventory, from 0.
    pub number: u32,
    /// The pack it lies in.
    pub pack: Hash,
    /// Length of that pack.
    pub pack_length: u64,
    /// Index of the chosen chunk in the pack.
    pub chunk: u64,
}

/// The packs that a node is committed to, in order, and their cells.
#[derive(Debug, Clone)]
pub struct Inventory {
    packs: Vec<BlobRef>,
    cell_bytes: u64,
}

impl Inventory {
    /// The inventory of some packs; sorts them.
    pub fn new(mut packs: Vec<BlobRef>, cell_bytes: u64) -> Self {
        packs.sort_unstable();
        Self { packs, cell_bytes: cell_bytes.max(CHUNK_BYTES) }
    }

    /// What an account owes by assignment, without the packs it declared absent.
    pub fn owed(assigned: &[BlobRef], absent: &[Hash], cell_bytes: u64) -> Self {
        let present = assigned.iter().filter(|pack| !absent.contains(&pack.hash)).copied();
        Self::new(present.collect(), cell_bytes)
    }

    /// The packs, sorted by hash.
    pub fn packs(&self) -> &[BlobRef] {
        &self.packs
    }

    /// Bytes of all packs.
    pub fn bytes(&self) -> u64 {
        BlobRef::total(&self.packs)
    }

    fn cells_of(&self, length: u64) -> u64 {
        length.max(1).div_ceil(self.cell_bytes)
    }

    /// Number of cells.
    pub fn cells(&self) -> u32 {
        let cells = self.packs.iter().map(|pack| self.cells_of(pack.length));
        let sum = cells.fold(0, u64::saturating_add);
        u32::try_from(sum).unwrap_or(u32::MAX)
    }

    /// The Merkle-sum tree over (pack ‖ u64 length) with cells as sums.
    pub fn tree(&self) -> SumTree {
        let leaves: Vec<_> = self
            .packs
            .iter()
            .map(|pack| (pack.to_bytes(), self.cells_of(pack.length).into()))
            .collect();
        SumTree::new(&leaves)
    }

    /// Every cell with its chosen chunk.
    pub fn chosen(&self, key: &RowKey) -> Vec<Cell> {
        let mut cells = Vec::new();
        let mut number = 0u32;
        for pack in &self.packs {
            for within in 0..self.cells_of(pack.length) {
                cells.push(self.choose(key, pack, within, number));
                number = number.saturating_add(1);
            }
        }
        cells
    }

    /// One cell with its chosen chunk; `None` beyond the last. A step for each pack, however long.
    pub fn cell(&self, key: &RowKey, number: u32) -> Option<Cell> {
        let mut within = u64::from(number);
        for pack in &self.packs {
            let cells = self.cells_of(pack.length);
            match within.checked_sub(cells) {
                None => return Some(self.choose(key, pack, within, number)),
                Some(rest) => within = rest,
            }
        }
        None
    }

    fn choose(&self, key: &RowKey, pack: &BlobRef, within: u64, number: u32) -> Cell {
        let start = within.saturating_mul(self.cell_bytes);
        let size = pack.length.saturating_sub(start).min(self.cell_bytes);
        let first = start.checked_div(CHUNK_BYTES).unwrap_or(0);
        let chunk = first.saturating_add(key.chosen_chunk(number, slice::chunks(size)));
        Cell { number, pack: pack.hash, pack_length: pack.length, chunk }
    }

    /// The commitment over the rows of all cells, in order of their numbers, on the first seed of the
    /// epoch.
    pub fn commit(&self, s1: &Digest, rows: &[Digest], absent: Vec<Hash>) -> StorageCommitBody {
        StorageCommitBody {
            inventory: self.tree().root(),
            rows: rows_tree(rows).root(),
            bytes: self.bytes(),
            cells: self.cells(),
            seed: leading_u64(s1),
            absent,
        }
    }

    /// Whether a commitment is over these packs, whatever its rows are.
    pub fn is_of(&self, commit: &StorageCommitBody) -> bool {
        (self.tree().root(), self.bytes(), self.cells())
            == (commit.inventory, commit.bytes, commit.cells)
    }

    /// The opening of one cell, which needs nothing but what was committed to. `rows` are all rows, and
    /// `slice` is of the cell's chunk. `None` where there is no such cell.
    pub fn open_cell(&self, rows: &[Digest], cell: &Cell, slice: Slice) -> Option<CellOpening> {
        let index = self.packs.iter().position(|pack| pack.hash == cell.pack)?;
        let (place, count) = (index as u64, self.packs.len() as u64);
        let siblings = rows_tree(rows).prove(u64::from(cell.number))?;
        Some(CellOpening {
            pack: *self.packs.get(index)?,
            inventory: (place, count, self.tree().prove(place)?),
            row: Path { index: u64::from(cell.number), count: rows.len() as u64, siblings },
            slice,
        })
    }
}

fn rows_tree(rows: &[Digest]) -> Tree {
    let payloads: Vec<_> = rows.iter().map(|row| row.0).collect();
    Tree::new(&payloads)
}

/// One part in this many of a node's room is not filled with packs: proofs, logs and checkpoints are
/// blobs too, and a node that cannot keep them earns nothing for its packs.
const WORK_SHARE: u64 = 8;

/// Whether a node that gives `room` bytes, of which `used` are taken, takes one more assigned pack:
/// only if that leaves room for the work on those that it has.
pub const fn takes_pack(room: u64, used: u64, pack: u64) -> bool {
    used.saturating_add(pack) <= room.saturating_sub(room / WORK_SHARE)
}

/// The numbers of the cells that S2 picks: `k` draws, or all cells when there are no more than `k`.
pub fn sample(s2: &Digest, account: AccountId, cells: u32, k: u32) -> Vec<u32> {
    if cells <= k {
        return (0..cells).collect();
    }
    let mut picked: Vec<u32> = (0..k)
        .map(|j| {
            let draw = keccak(&[&s2.0, &account.0.to_be_bytes(), &j.to_be_bytes()]);
            let cell = leading_u64(&draw).checked_rem(u64::from(cells)).unwrap_or(0);
            u32::try_from(cell).unwrap_or(0)
        })
        .collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

/// A cell opened by itself, for whoever has nothing but the two roots of a commitment: a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellOpening {
    /// The pack that contains the cell.
    pub pack: BlobRef,
    /// The pack's place in the inventory: index, count, siblings.
    pub inventory: (u64, u64, Vec<SumNode>),
    /// The row's place under the rows root; its index is the number of the cell.
    pub row: Path,
    /// The chunk and its BLAKE3 path.
    pub slice: Slice,
}

impl CellOpening {
    /// Whether it opens a cell of a commitment, as the contract decides it.
    pub fn opens(&self, commit: &StorageCommitBody, key: &RowKey, cell_bytes: u64) -> bool {
        let Ok(number) = u32::try_from(self.row.index) else { return false };
        let (index, count, siblings) = &self.inventory;
        let alone = Inventory::new(alloc::vec![self.pack], cell_bytes);
        let (root, payload) = (&commit.inventory, self.pack.to_bytes());
        let cells = u128::from(alone.cells());
        let placed = merkle::verify_sum(root, *count, *index, &payload, cells, siblings);
        let within = placed.and_then(|(first, _)| u128::from(number).checked_sub(first));
        let Some(within) = within.filter(|within| *within < cells) else { return false };
        let Ok(within) = u64::try_from(within) else { return false };
        let chosen = alone.choose(key, &self.pack, within, number);
        let row = key.row(&self.slice.chunk);
        self.slice.index == chosen.chunk
            && slice::verify(&self.pack.hash, self.pack.length, &self.slice)
            && self.row.count == u64::from(commit.cells)
            && merkle::verify(
                &commit.rows,
                self.row.count,
                self.row.index,
                &row.0,
                &self.row.siblings,
            )
    }
}

/// One opened cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// Number of the cell.
    pub cell: u32,
    /// Place of its row under the committed rows root.
    pub row: Path,
    /// The chosen chunk and its way up to the pack's address.
    pub slice: Slice,
}

impl Wire for Opening {
    fn encode(&self, out: &mut Vec<u8>) {
        self.cell.encode(out);
        self.row.encode(out);
        self.slice.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            cell: Wire::decode(input)?,
            row: Wire::decode(input)?,
            slice: Wire::decode(input)?,
        })
    }
}

/// The blob that a storage proof names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Openings(pub Vec<Opening>);

impl Openings {
    /// Opens the sampled cells. `rows` are all rows, as committed; `prove` gives the slice of a
    /// chunk, or `None` for a cell that cannot be opened, which is then left out.
    pub fn open(
        rows: &[Digest],
        cells: &[Cell],
        sample: &[u32],
        mut prove: impl FnMut(&Cell) -> Option<Slice>,
    ) -> Self {
        let tree = rows_tree(rows);
        let count = rows.len() as u64;
        let openings = sample
            .iter()
            .filter_map(|number| {
                let cell = cells.iter().find(|cell| cell.number == *number)?;
                let siblings = tree.prove(u64::from(*number))?;
                let row = Path { index: u64::from(*number), count, siblings };
                Some(Opening { cell: *number, row, slice: prove(cell)? })
            })
            .collect();
        Self(openings)
    }
}

impl Wire for Openings {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_list(&self.0, out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.list(MAX_OPENINGS).map(Self)
    }
}

/// Everything an opening is judged by; all of it public.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The holder whose proof is judged.
    pub account: AccountId,
    /// What it committed to before the sample was drawn.
    pub commit: &'a StorageCommitBody,
    /// The packs assigned to it in this epoch.
    pub assigned: &'a [BlobRef],
    /// The first seed of the epoch.
    pub s1: Digest,
    /// The second seed, which draws the sample.
    pub s2: Digest,
    /// Cell size and sample size.
    pub params: Holding,
}

/// Why a storage proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldingFault {
    /// The commitment is not over the assigned packs.
    #[error("the commitment is not over the packs that were assigned")]
    Inventory,
    /// A sampled cell is not opened.
    #[error("cell {0} is not opened")]
    NotOpened(u32),
    /// An opened chunk is not the data of its pack.
    #[error("the chunk opened for cell {0} is not the data of its pack")]
    WrongData(u32),
    /// An opened row is not the one committed to.
    #[error("the row opened for cell {0} is not the one committed to")]
    WrongRow(u32),
}

impl Claim<'_> {
    /// Judges a proof: every sampled cell opened, with the right chunk of the right pack, under the
    /// rows committed to before the sample was known.
    ///
    /// # Errors
    /// The first [`HoldingFault`] found, in order of cells.
    pub fn verify(&self, openings: &Openings) -> Result<(), HoldingFault> {
        let inventory = Inventory::owed(self.assigned, &self.commit.absent, self.params.cell_bytes);
        let cells = inventory.cells();
        if !inventory.is_of(self.commit) {
            return Err(HoldingFault::Inventory);
        }
        let key = RowKey::new(&self.s1, self.account);
        for number in sample(&self.s2, self.account, cells, self.params.opened_cells) {
            let opened = openings.0.iter().find(|opening| opening.cell == number);
            let opening = opened.ok_or(HoldingFault::NotOpened(number))?;
            let cell = inventory.cell(&key, number).ok_or(HoldingFault::NotOpened(number))?;
            let is_data = opening.slice.index == cell.chunk
                && slice::verify(&cell.pack, cell.pack_length, &opening.slice);
            if !is_data {
                return Err(HoldingFault::WrongData(number));
            }
            let row = key.row(&opening.slice.chunk);
            let is_row = opening.row.index == u64::from(number)
                && opening.row.count == u64::from(cells)
                && merkle::verify(
                    &self.commit.rows,
                    opening.row.count,
                    opening.row.index,
                    &row.0,
                    &opening.row.siblings,
                );
            if !is_row {
                return Err(HoldingFault::WrongRow(number));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec};

    use super::*;

    struct Holder {
        packs: BTreeMap<Hash, Vec<u8>>,
        assigned: Vec<BlobRef>,
    }

    #[test]
    fn an_eighth_of_the_room_stays_free_of_packs() {
        assert!(takes_pack(800, 600, 100) && !takes_pack(800, 600, 101));
        assert!(!takes_pack(800, u64::MAX, 1) && !takes_pack(0, 0, 1));
    }

    const S1: Digest = Digest([1; 32]);
    const S2: Digest = Digest([2; 32]);
    const ME: AccountId = AccountId(5);

    fn params() -> Holding {
        Holding { cell_bytes: 4096, opened_cells: 8, ..crate::params::Params::minimal().holding }
    }

    fn holder() -> Holder {
        let mut packs = BTreeMap::new();
        let mut assigned = vec![];
        for (index, length) in [10_000usize, 4096, 700, 20_001].into_iter().enumerate() {
            let bytes: Vec<u8> = (0..length).map(|i| (i * 7 + index) as u8).collect();
            let hash = crate::hash::blake3(&bytes);
            assigned.push(BlobRef::new(hash, length as u64));
            packs.insert(hash, bytes);
        }
        Holder { packs, assigned }
    }

    fn prove(
        holder: &Holder,
        absent: Vec<Hash>,
        lie: impl Fn(&Hash) -> bool,
    ) -> (StorageCommitBody, Openings) {
        let inventory = Inventory::owed(&holder.assigned, &absent, params().cell_bytes);
        let key = RowKey::new(&S1, ME);
        let cells = inventory.chosen(&key);
        let take = |cell: &Cell| slice::prove(&holder.packs[&cell.pack], cell.chunk).unwrap();
        let rows: Vec<_> = cells
            .iter()
            .map(
                |cell| {
                    if lie(&cell.pack) { key.row(b"made up") } else { key.row(&take(cell).chunk) }
                },
            )
            .collect();
        let commit = inventory.commit(&S1, &rows, absent);
        let picked = sample(&S2, ME, commit.cells, params().opened_cells);
        let openings = Openings::open(&rows, &cells, &picked, |cell| Some(take(cell)));
        (commit, openings)
    }

    fn judge(
        holder: &Holder,
        commit: &StorageCommitBody,
        openings: &Openings,
    ) -> Result<(), HoldingFault> {
        let claim = Claim {
            account: ME,
            commit,
            assigned: &holder.assigned,
            s1: S1,
            s2: S2,
            params: params(),
        };
        claim.verify(openings)
    }

    #[test]
    fn an_honest_holder_passes_also_with_a_declared_absence() {
        let holder = holder();
        let (commit, openings) = prove(&holder, vec![], |_| false);
        assert_eq!(commit.cells, 3 + 1 + 1 + 5);
        assert_eq!(judge(&holder, &commit, &openings), Ok(()));
        assert_eq!(Openings::from_bytes(&openings.to_bytes()), Ok(openings));
        let absent = vec![holder.assigned[3].hash];
        let (commit, openings) = prove(&holder, absent, |_| false);
        assert_eq!(commit.cells, 5);
        assert_eq!(judge(&holder, &commit, &openings), Ok(()));
    }

    #[test]
    fn a_claimed_length_costs_an_auditor_nothing() {
        // 2⁴⁸ cells, of which an auditor looks at those that are drawn.
        let endless = Holder {
            packs: BTreeMap::new(),
            assigned: vec![BlobRef::new(Hash([7; 32]), u64::MAX), BlobRef::new(Hash([8; 32]), 1)],
        };
        let inventory = Inventory::owed(&endless.assigned, &[], params().cell_bytes);
        let commit = StorageCommitBody {
            inventory: inventory.tree().root(),
            rows: Digest([9; 32]),
            bytes: inventory.bytes(),
            cells: inventory.cells(),
            seed: 0,
            absent: vec![],
        };
        let fault = judge(&endless, &commit, &Openings::default());
        assert!(matches!(fault, Err(HoldingFault::NotOpened(_))), "{fault:?}");
        let key = RowKey::new(&S1, ME);
        let honest = Inventory::owed(&holder().assigned, &[], params().cell_bytes);
        let all: Vec<_> = (0..honest.cells()).filter_map(|n| honest.cell(&key, n)).collect();
        assert_eq!(all, honest.chosen(&key));
        assert_eq!(honest.cell(&key, honest.cells()), None);
    }

    #[test]
    fn every_cell_opens_by_itself_and_nothing_else_does() {
        let holder = holder();
        let (commit, _) = prove(&holder, vec![], |_| false);
        let inventory = Inventory::owed(&holder.assigned, &[], params().cell_bytes);
        let key = RowKey::new(&S1, ME);
        let cells = inventory.chosen(&key);
        let take = |cell: &Cell| slice::prove(&holder.packs[&cell.pack], cell.chunk).unwrap();
        let rows: Vec<_> = cells.iter().map(|cell| key.row(&take(cell).chunk)).collect();
        for cell in &cells {
            let opening = inventory.open_cell(&rows, cell, take(cell)).unwrap();
            assert!(opening.opens(&commit, &key, params().cell_bytes), "{cell:?}");
            let other = RowKey::new(&S1, AccountId(6));
            assert!(!opening.opens(&commit, &other, params().cell_bytes));
            let mut moved = opening.clone();
            moved.row.index ^= 1;
            assert!(!moved.opens(&commit, &key, params().cell_bytes));
            let mut longer = opening;
            longer.pack.length += 1;
            assert!(!longer.opens(&commit, &key, params().cell_bytes));
        }
        let beyond = Cell { number: inventory.cells(), ..cells[0] };
        assert_eq!(inventory.open_cell(&rows, &beyond, take(&cells[0])), None);
    }

    #[test]
    fn every_way_to_cheat_has_its_fault() {
        let holder = holder();
        let (commit, openings) = prove(&holder, vec![], |_| false);
        let first = openings.0[0].cell;
        // A chunk of the right pack, committed to as something else.
        let (lied, opened) = prove(&holder, vec![], |_| true);
        assert_eq!(judge(&holder, &lied, &opened), Err(HoldingFault::WrongRow(first)));
        let mut missing = openings.clone();
        missing.0.remove(0);
        assert_eq!(judge(&holder, &commit, &missing), Err(HoldingFault::NotOpened(first)));
        let mut wrong = openings.clone();
        wrong.0[0].slice.chunk[0] ^= 1;
        assert_eq!(judge(&holder, &commit, &wrong), Err(HoldingFault::WrongData(first)));
        // Leaving a pack out without declaring it.
        let mut short = commit.clone();
        short.absent = vec![holder.assigned[0].hash];
        assert_eq!(judge(&holder, &short, &openings), Err(HoldingFault::Inventory));
        // Another account's proof is useless.
        let claim = Claim {
            account: AccountId(6),
            commit: &commit,
            assigned: &holder.assigned,
            s1: S1,
            s2: S2,
            params: params(),
        };
        assert!(claim.verify(&openings).is_err());
    }

    #[test]
    fn the_sample_is_all_cells_or_k_draws() {
        assert_eq!(sample(&S2, ME, 3, 8), [0, 1, 2]);
        let drawn = sample(&S2, ME, 1000, 8);
        assert!(drawn.len() <= 8 && drawn.iter().all(|cell| *cell < 1000));
        assert_ne!(drawn, sample(&S1, ME, 1000, 8));
    }
}
