// One exact product per row and chunk: the sum of at most 256 products of an eight-bit and a
// sixteen-bit value is below 2^30 in magnitude, so 32-bit integers hold it. Chunks are added up in
// 64 bits on the host, which WGSL lacks.

struct Shape {
    // Rows of this page.
    rows: u32,
    // Words of one chunk; a word is four values of a row.
    words: u32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
// [chunk][word][row]: neighbouring invocations read neighbouring words.
@group(0) @binding(1) var<storage, read> rows: array<u32>;
// [chunk][word][2]: the sixteen-bit values that belong to a word, two and two.
@group(0) @binding(2) var<storage, read> query: array<u32>;
// [chunk][row]
@group(0) @binding(3) var<storage, read_write> sums: array<i32>;

fn value8(word: u32, index: u32) -> i32 {
    return bitcast<i32>(word << (24u - 8u * index)) >> 24u;
}

fn value16(word: u32, index: u32) -> i32 {
    return bitcast<i32>(word << (16u - 16u * index)) >> 16u;
}

@compute @workgroup_size(64)
fn products(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.x;
    let chunk = id.y;
    if row >= shape.rows {
        return;
    }
    var sum = 0;
    for (var index = 0u; index < shape.words; index += 1u) {
        let at = chunk * shape.words + index;
        let left = rows[at * shape.rows + row];
        let low = query[2u * at];
        let high = query[2u * at + 1u];
        sum += value8(left, 0u) * value16(low, 0u);
        sum += value8(left, 1u) * value16(low, 1u);
        sum += value8(left, 2u) * value16(high, 0u);
        sum += value8(left, 3u) * value16(high, 1u);
    }
    sums[chunk * shape.rows + row] = sum;
}
