//! The letters by which byte-level BPE writes bytes (GPT-2, Radford et al. 2019).

/// The letter of each byte: printable ones stand for themselves, the others for U+0100 and on, in order.
pub(super) fn letters() -> [char; 256] {
    let mut stand_in = 256;
    std::array::from_fn(|byte| {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if is_printable { byte as u32 } else { stand_in };
        stand_in += u32::from(!is_printable);
        char::from_u32(code).expect("stand-ins lie below U+0200")
    })
}
