//! What belongs to one session and to no other.

use rustls::ConnectionCommon;

/// 32 bytes that both ends of this session know, and that belong to no other one (RFC 9266).
pub(crate) fn channel_binding<Side>(connection: &ConnectionCommon<Side>) -> Option<[u8; 32]> {
    let secret = connection.export_keying_material(
        [0; 32],
        b"EXPORTER-Channel-Binding",
        // In TLS 1.2 none would be something else than an empty one.
        Some(b""),
    );
    secret.ok()
}
