use encoding_rs::{EncoderResult, GBK};
use serde::{Deserialize, Serialize};

/// What stands for a character that GBK lacks, as Python's `encode("gbk", "replace")` has it.
const LACKING: u8 = b'?';

/// What the text of an endpoint's clients is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// UTF-8.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// GBK.
    Gbk,
}

/// Appends text in GBK; a character that it lacks becomes `?`.
pub(super) fn to_gbk(mut text: &str, out: &mut Vec<u8>) {
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
