use encoding_rs::{EncoderResult, GBK};

/// What stands for a character that GBK lacks, as Python's `encode("gbk", "replace")` has it.
const LACKING: u8 = b'?';

/// Appends `text` in GBK; a character that GBK lacks becomes `?`.
///
/// ```
/// let mut out = Vec::new();
/// onepoll::wire::encode_gbk("你好 👋", &mut out);
/// assert_eq!(out, b"\xc4\xe3\xba\xc3 ?");
/// ```
pub fn encode_gbk(mut text: &str, out: &mut Vec<u8>) {
    let mut encoder = GBK.new_encoder();
    while !text.is_empty() {
        let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len());
        out.reserve(room.unwrap_or(2 * text.len()));
        let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(text, out, true);
        text = &text[read..];
        match result {
            EncoderResult::InputEmpty => return,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(_) => out.push(LACKING),
        }
    }
}
