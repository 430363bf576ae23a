//! Captures for tests.

/// A pcap of one link type.
pub(crate) fn pcap(link: u32, packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
        file.extend(word.to_le_bytes());
    }
    for (seconds, micros, octets) in packets {
        let len = octets.len() as u32;
        for word in [*seconds, *micros, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(*octets);
    }
    file
}
