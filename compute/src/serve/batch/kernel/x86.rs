//! Sixteen numbers in the registers of x86-64.
//!
//! Every intrinsic here needs instructions that a processor may lack. They are reached by
//! [`with_avx512`] and [`with_avx2`] alone, which ask it first; everything between is inlined into them. A
//! closure would be a function of its own without these instructions, so there is none.
#![expect(clippy::needless_range_loop, reason = "iterators over several would take closures")]
#![expect(unsafe_code, reason = "intrinsics need instructions that were asked for at run time")]

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

use super::lanes::{BIAS, BLOCK, Block, Halves, LANES, Lanes, Numbers, Panel, Task};

/// Whether this processor has what [`Avx512`] needs.
pub(super) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && has_avx2()
}

/// Whether this processor has what [`Avx2`] needs.
pub(super) fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// Does work with AVX-512.
///
/// # Panics
/// If the processor has none.
#[inline]
pub(super) fn with_avx512<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
    fn inner<T: Task>(task: T) -> T::Output {
        task.run::<Avx512>()
    }
    assert!(has_avx512(), "kernels are chosen by what the processor has");
    // SAFETY: the processor has all of these.
    unsafe { inner(task) }
}

/// Does work with AVX2.
///
/// # Panics
/// If the processor has none.
#[inline]
pub(super) fn with_avx2<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma,f16c")]
    fn inner<T: Task>(task: T) -> T::Output {
        task.run::<Avx2>()
    }
    assert!(has_avx2(), "kernels are chosen by what the processor has");
    // SAFETY: the processor has all of these.
    unsafe { inner(task) }
}

/// One register of AVX-512.
#[derive(Clone, Copy)]
struct Avx512(__m512);

// SAFETY of all below: only what runs inside `with_avx512` has a value of this type or names it; loads and
// stores are of whole arrays, whose addresses need no alignment.
impl Lanes for Avx512 {
    const ROWS: usize = 8;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    fn load(from: &Numbers) -> Self {
        Self(unsafe { _mm512_loadu_ps(from.as_ptr()) })
    }

    #[inline(always)]
    fn store(self, to: &mut Numbers) {
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self.0) }
    }

    #[inline(always)]
    fn from_halves(from: &Halves) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) })
    }

    #[inline(always)]
    fn to_halves(self) -> Halves {
        let mut to = [0; LANES];
        unsafe {
            let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), halves);
        }
        to
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn fma(self, factor: Self, sum: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, sum.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn abs(self) -> Self {
        Self(unsafe { _mm512_abs_ps(self.0) })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        unsafe {
            let n = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(n)))
        }
    }

    #[inline(always)]
    fn to_bytes(self) -> ([u8; LANES], i32) {
        let mut to = [0; LANES];
        unsafe {
            let least = _mm512_max_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(-127));
            let whole = _mm512_min_epi32(least, _mm512_set1_epi32(127));
            _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(whole));
            (to, _mm512_reduce_add_epi32(whole))
        }
    }

    #[inline(always)]
    fn products<const R: usize>(panel: Panel<'_>, rows: [&[Block]; R]) -> [Self; R] {
        let width = checked(panel, &rows);
        let mut sums = [Self::splat(0.0); R];
        for at in 0..width {
            // SAFETY: every row has as many blocks as the panel, which was checked above.
            unsafe {
                let tile = panel.tiles.get_unchecked(at);
                let scales = Self::from_halves(panel.scales.get_unchecked(at)).0;
                let mut weights = [_mm512_setzero_si512(); BLOCK / 4];
                for four in 0..BLOCK / 4 {
                    weights[four] = _mm512_loadu_si512(tile[four].as_ptr().cast());
                }
                for row in 0..R {
                    let block = rows[row].get_unchecked(at);
                    let quants = block.quants.as_ptr().cast::<i32>();
                    // Two sums, since each step waits for the one before.
                    let mut even = _mm512_set1_epi32(block.offset);
                    let mut odd = _mm512_setzero_si512();
                    for pair in 0..BLOCK / 8 {
                        let four = _mm512_set1_epi32(quants.add(2 * pair).read_unaligned());
                        even = _mm512_dpbusd_epi32(even, weights[2 * pair], four);
                        let four = _mm512_set1_epi32(quants.add(2 * pair + 1).read_unaligned());
                        odd = _mm512_dpbusd_epi32(odd, weights[2 * pair + 1], four);
                    }
                    let dot = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
                    let scale = _mm512_mul_ps(scales, _mm512_set1_ps(block.scale));
                    sums[row].0 = _mm512_fmadd_ps(dot, scale, sums[row].0);
                }
            }
        }
        sums
    }
}

/// Two registers of AVX2.
#[derive(Clone, Copy)]
struct Avx2(__m256, __m256);

// SAFETY of all below: as above, of what runs inside `with_avx2`.
impl Lanes for Avx2 {
    const ROWS: usize = 4;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        let value = unsafe { _mm256_set1_ps(value) };
        Self(value, value)
    }

    #[inline(always)]
    fn load(from: &Numbers) -> Self {
        let [a, b] = halved(from);
        unsafe { Self(_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr())) }
    }

    #[inline(always)]
    fn store(self, to: &mut Numbers) {
        let [a, b] = to.as_chunks_mut::<{ LANES / 2 }>().0 else {
            unreachable!("sixteen are two times eight")
        };
        unsafe {
            _mm256_storeu_ps(a.as_mut_ptr(), self.0);
            _mm256_storeu_ps(b.as_mut_ptr(), self.1);
        }
    }

    #[inline(always)]
    fn from_halves(from: &Halves) -> Self {
        let [a, b] = halved(from);
        unsafe {
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(a.as_ptr().cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(b.as_ptr().cast())),
            )
        }
    }

    #[inline(always)]
    fn to_halves(self) -> Halves {
        let mut to = [0; LANES];
        unsafe {
            let a = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0);
            let b = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.1);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_set_m128i(b, a));
        }
        to
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        unsafe { Self(_mm256_div_ps(self.0, other.0), _mm256_div_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn fma(self, factor: Self, sum: Self) -> Self {
        unsafe {
            Self(_mm256_fmadd_ps(self.0, factor.0, sum.0), _mm256_fmadd_ps(self.1, factor.1, sum.1))
        }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }

    #[inline(always)]
    fn abs(self) -> Self {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            Self(_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1))
        }
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        let mut powers = [self.0, self.1];
        for power in &mut powers {
            unsafe {
                let n = _mm256_add_epi32(_mm256_cvtps_epi32(*power), _mm256_set1_epi32(127));
                *power = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n));
            }
        }
        Self(powers[0], powers[1])
    }

    #[inline(always)]
    fn to_bytes(self) -> ([u8; LANES], i32) {
        let mut whole = [[0i32; LANES / 2]; 2];
        for (values, whole) in [self.0, self.1].into_iter().zip(&mut whole) {
            unsafe {
                let least = _mm256_max_epi32(_mm256_cvtps_epi32(values), _mm256_set1_epi32(-127));
                let most = _mm256_min_epi32(least, _mm256_set1_epi32(127));
                _mm256_storeu_si256(whole.as_mut_ptr().cast(), most);
            }
        }
        let (mut bytes, mut sum) = ([0; LANES], 0);
        for (lane, whole) in whole.as_flattened().iter().enumerate() {
            bytes[lane] = *whole as i8 as u8;
            sum += whole;
        }
        (bytes, sum)
    }

    #[inline(always)]
    fn products<const R: usize>(panel: Panel<'_>, rows: [&[Block]; R]) -> [Self; R] {
        let width = checked(panel, &rows);
        let mut sums = [Self::splat(0.0); R];
        for at in 0..width {
            // SAFETY: every row has as many blocks as the panel, which was checked above.
            unsafe {
                let (bias, ones) = (_mm256_set1_epi8(BIAS as i8), _mm256_set1_epi16(1));
                let tile = panel.tiles.get_unchecked(at);
                let mut dots = [[_mm256_setzero_si256(); 2]; R];
                for four in 0..BLOCK / 4 {
                    for half in 0..2 {
                        let weights = tile[four].as_ptr().cast::<__m256i>().add(half);
                        let weights = _mm256_xor_si256(_mm256_loadu_si256(weights), bias);
                        let sizes = _mm256_abs_epi8(weights);
                        for row in 0..R {
                            let quants = rows[row].get_unchecked(at).quants.as_ptr().cast::<i32>();
                            let quants = _mm256_set1_epi32(quants.add(four).read_unaligned());
                            // One factor must be unsigned; two products of 127 · 127 fit 16 bits.
                            let signed = _mm256_sign_epi8(quants, weights);
                            let pairs = _mm256_maddubs_epi16(sizes, signed);
                            let dot = _mm256_madd_epi16(pairs, ones);
                            dots[row][half] = _mm256_add_epi32(dots[row][half], dot);
                        }
                    }
                }
                let scales = Self::from_halves(panel.scales.get_unchecked(at));
                for row in 0..R {
                    let [a, b] = dots[row];
                    let dot = Self(_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b));
                    let scale = Self::splat(rows[row].get_unchecked(at).scale);
                    sums[row] = dot.fma(scales.mul(scale), sums[row]);
                }
            }
        }
        sums
    }
}

/// Blocks of a panel, of which every row must have as many.
#[inline(always)]
fn checked<const R: usize>(panel: Panel<'_>, rows: &[&[Block]; R]) -> usize {
    let width = panel.tiles.len();
    assert!(panel.scales.len() == width, "each tile has scales");
    for row in rows {
        assert!(row.len() == width, "a row has as many blocks as the panel");
    }
    width
}

#[inline(always)]
fn halved<T>(all: &[T; LANES]) -> [&[T; LANES / 2]; 2] {
    let [a, b] = all.as_chunks::<{ LANES / 2 }>().0 else {
        unreachable!("sixteen are two times eight")
    };
    [a, b]
}
