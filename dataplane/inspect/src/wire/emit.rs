//! Frames that the gateway makes itself: the refusal's text, FIN, RST, duplicate acknowledgements.
//!
//! They look as if the other end had sent them, so what they need beyond numbers is kept per flow in a [`Template`].

use super::{
    Endpoint, Flags, Options, SackBlock, Segment, checksum, ethernet, ipv4, ipv6, pseudo_header, tcp,
};

/// Hops given to frames that the gateway makes, unless the peer it speaks for gives more (RFC 1700: 64).
pub const TTL: u8 = 64;

/// Octets of two VLAN tags.
const TAGS_LEN: usize = ethernet::TAG_LIMIT * ethernet::TAG_LEN;

/// What the frames of a connection have in common. 60 octets, and plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template {
    destination_mac: [u8; 6],
    source_mac: [u8; 6],
    tags: [u8; TAGS_LEN],
    tags_len: u8,
    is_v6: bool,
    ttl: u8,
    source: Endpoint,
    destination: Endpoint,
}

/// To whom a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Toward {
    /// The way the template's frame went.
    Receiver,
    /// Back to who sent the template's frame.
    Sender,
}

/// What a new segment says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outgoing<'a> {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; written as it is, whatever the flags say.
    pub ack: u32,
    /// Flags.
    pub flags: Flags,
    /// Window, not scaled.
    pub window: u16,
    /// MSS, window scale, SACK permitted and timestamps, each if it is there; the other fields are not used.
    pub options: Options,
    /// SACK blocks, the most important first: those that the option space has no room for are left out (three fit
    /// beside timestamps, else four).
    pub sack: &'a [SackBlock],
    /// Payload. With the headers at most 65,535 octets; in truth the caller keeps to the peer's MSS.
    pub payload: &'a [u8],
}

impl Template {
    /// Captures it from a frame of the connection.
    ///
    /// # Panics
    /// When the segment is not that of the frame: a bug of the caller, which no octet of a peer reaches.
    #[must_use]
    pub fn capture(frame: &[u8], segment: &Segment) -> Template {
        let link = ethernet::Header(frame.first_chunk::<{ ethernet::HEADER_LEN }>().expect("a parsed frame"));
        let mut template = Template {
            destination_mac: [0; 6],
            source_mac: [0; 6],
            tags: [0; TAGS_LEN],
            tags_len: 0,
            is_v6: segment.is_v6,
            ttl: segment.ttl,
            source: segment.source,
            destination: segment.destination,
        };
        template.destination_mac.copy_from_slice(link.destination());
        template.source_mac.copy_from_slice(link.source());
        // The first type field to the one before the last: `ip_start` is 14, 18 or 22.
        let tags = &frame[ethernet::HEADER_LEN - 2..usize::from(segment.ip_start) - 2];
        template.tags[..tags.len()].copy_from_slice(tags);
        template.tags_len = tags.len() as u8;
        template
    }

    fn ip_start(&self) -> usize {
        ethernet::HEADER_LEN + usize::from(self.tags_len)
    }

    fn tcp_start(&self) -> usize {
        self.ip_start() + if self.is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN }
    }

    /// Octets before the payload, for a segment without options: what the caller adds to an MTU's worth of payload.
    #[must_use]
    pub fn headers_len(&self) -> usize {
        self.tcp_start() + tcp::HEADER_LEN
    }
}

/// Octets of the frame that [`emit`] writes.
#[must_use]
pub fn emit_len(template: &Template, outgoing: &Outgoing<'_>) -> usize {
    template.headers_len() + OptionList::of(outgoing).len + outgoing.payload.len()
}

/// Writes a whole frame to the start of `out`, its checksums right, and returns its length. It may be shorter than the 60
/// octets of Ethernet: padding is the port's business.
///
/// # Panics
/// When `out` is shorter than [`emit_len`], or the packet longer than 65,535 octets: bugs of the caller.
pub fn emit(template: &Template, toward: Toward, outgoing: &Outgoing<'_>, out: &mut [u8]) -> usize {
    let Template { destination_mac, source_mac, source, destination, .. } = template;
    // Who is spoken for sends with its own TTL; the other side's is not known. Never fewer hops than usual: the peer
    // chose the number that was captured.
    let (macs, source, destination, ttl) = match toward {
        Toward::Receiver => ((destination_mac, source_mac), source, destination, template.ttl.max(TTL)),
        Toward::Sender => ((source_mac, destination_mac), destination, source, TTL),
    };
    let list = OptionList::of(outgoing);
    let len = emit_len(template, outgoing);
    let out = &mut out[..len];
    let (ip_start, tcp_start) = (template.ip_start(), template.tcp_start());
    let payload_start = len - outgoing.payload.len();

    ethernet::Header(chunk(out, 0)).set_addresses(macs.0, macs.1);
    out[ethernet::HEADER_LEN - 2..ip_start - 2]
        .copy_from_slice(&template.tags[..usize::from(template.tags_len)]);
    let ethertype = if template.is_v6 { ethernet::ethertype::IPV6 } else { ethernet::ethertype::IPV4 };
    out[ip_start - 2..ip_start].copy_from_slice(&ethertype.to_be_bytes());
    let payload_of_ip = len - tcp_start;
    if template.is_v6 {
        let len = u16::try_from(payload_of_ip).expect("a packet of at most 65,535 octets");
        let header = &mut ipv6::Header(chunk(out, ip_start));
        header.emit(&source.address, &destination.address, super::TCP, ttl, len);
    } else {
        let len = u16::try_from(len - ip_start).expect("a packet of at most 65,535 octets");
        let header = &mut ipv4::Header(chunk(out, ip_start));
        header.emit(v4(source), v4(destination), super::TCP, ttl, len);
    }

    let header = &mut tcp::Header(chunk(out, tcp_start));
    header.set_ports(source.port, destination.port);
    header.set_seq(outgoing.seq);
    header.set_ack(outgoing.ack);
    header.set_header_len(payload_start - tcp_start);
    header.set_flags(outgoing.flags);
    header.set_window(outgoing.window);
    header.set_checksum(0);
    header.set_urgent(0);
    out[tcp_start + tcp::HEADER_LEN..payload_start].copy_from_slice(&list.octets[..list.len]);
    out[payload_start..].copy_from_slice(outgoing.payload);
    let sum: checksum::Sum = pseudo_header(&out[ip_start..], template.is_v6, payload_of_ip);
    let sum = sum.with(&out[tcp_start..]).checksum();
    tcp::Header(chunk(out, tcp_start)).set_checksum(sum);
    len
}

fn chunk<const N: usize>(out: &mut [u8], start: usize) -> &mut [u8; N] {
    out[start..].first_chunk_mut().expect("emit_len covers every header")
}

fn v4(endpoint: &Endpoint) -> [u8; 4] {
    let [.., a, b, c, d] = endpoint.address;
    [a, b, c, d]
}

/// Options under construction, each padded in front to four octets as common stacks do.
struct OptionList {
    octets: [u8; tcp::OPTIONS_LIMIT],
    len: usize,
}

impl OptionList {
    fn of(outgoing: &Outgoing<'_>) -> OptionList {
        use tcp::kind;
        let mut list = OptionList { octets: [kind::NO_OPERATION; tcp::OPTIONS_LIMIT], len: 0 };
        let Options { mss, window_scale, sack_permitted, timestamps, .. } = outgoing.options;
        if let Some(mss) = mss {
            list.push(0, kind::MSS, &mss.to_be_bytes());
        }
        if let Some(shift) = window_scale {
            list.push(1, kind::WINDOW_SCALE, &[shift.min(tcp::WINDOW_SCALE_LIMIT)]);
        }
        if sack_permitted {
            list.push(2, kind::SACK_PERMITTED, &[]);
        }
        if let Some(timestamps) = timestamps {
            let (clocks, _) = list.push(2, kind::TIMESTAMPS, &[0; 8]).as_chunks_mut::<4>();
            clocks[0] = timestamps.value.to_be_bytes();
            clocks[1] = timestamps.echo.to_be_bytes();
        }
        let room = (tcp::OPTIONS_LIMIT - list.len).saturating_sub(4) / SackBlock::LEN;
        let count = outgoing.sack.len().min(room);
        if count > 0 {
            let zeros = [0; tcp::OPTIONS_LIMIT];
            let (words, _) = list
                .push(2, kind::SACK, &zeros[..count * SackBlock::LEN])
                .as_chunks_mut::<{ SackBlock::LEN }>();
            for (word, block) in words.iter_mut().zip(outgoing.sack) {
                word[..4].copy_from_slice(&block.left.to_be_bytes());
                word[4..].copy_from_slice(&block.right.to_be_bytes());
            }
        }
        list
    }

    /// Appends an option after `padding` no-operations; returns its value's place. All that [`OptionList::of`] can
    /// append fits: 4 + 4 + 4 + 12 octets, and the SACK blocks that there is room for.
    fn push(&mut self, padding: usize, kind: u8, value: &[u8]) -> &mut [u8] {
        let start = self.len + padding;
        let end = start + 2 + value.len();
        self.octets[start] = kind;
        self.octets[start + 1] = (end - start) as u8;
        self.octets[start + 2..end].copy_from_slice(value);
        self.len = end;
        &mut self.octets[start + 2..end]
    }
}

#[cfg(test)]
impl Template {
    /// One between 192.0.2.1:40000 (or 2001:db8::1) and 198.51.100.25:25 (2001:db8::25), with this many VLAN tags.
    pub(super) fn example(is_v6: bool, tag_count: usize) -> Template {
        let tags = [&[][..], &[0x81, 0, 0, 5], &[0x88, 0xa8, 0x60, 9, 0x81, 0, 0, 5]][tag_count];
        let (source, destination) =
            if is_v6 { ("2001:db8::1", "2001:db8::25") } else { ("192.0.2.1", "198.51.100.25") };
        let mut template = Template {
            destination_mac: [2, 0, 0, 0, 0, 2],
            source_mac: [2, 0, 0, 0, 0, 1],
            tags: [0; TAGS_LEN],
            tags_len: tags.len() as u8,
            is_v6,
            ttl: 61,
            source: Endpoint::new(source.parse().unwrap(), 40000),
            destination: Endpoint::new(destination.parse().unwrap(), 25),
        };
        template.tags[..tags.len()].copy_from_slice(tags);
        template
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::segment_of;
    use super::super::{Sack, Timestamps};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_template_is_small() {
        assert_eq!(size_of::<Template>(), 60);
    }

    #[test]
    fn a_refusal_to_the_letter() {
        let outgoing = Outgoing {
            seq: 1,
            ack: 2,
            flags: Flags::PSH.with(Flags::ACK),
            window: 0x1f6,
            payload: b"554 no\r\n",
            ..Outgoing::default()
        };
        let mut out = [0xee; 100];
        let len = emit(&Template::example(false, 1), Toward::Sender, &outgoing, &mut out);
        #[rustfmt::skip]
        let expected = [
            2, 0, 0, 0, 0, 1,  2, 0, 0, 0, 0, 2,  0x81, 0, 0, 5,  8, 0,
            0x45, 0, 0, 48,  0, 0, 0x40, 0,  64, 6, 0x4e, 0x7a,  198, 51, 100, 25,  192, 0, 2, 1,
            0, 25, 0x9c, 0x40,  0, 0, 0, 1,  0, 0, 0, 2,  0x50, 0x18, 0x01, 0xf6,  0x40, 0x55, 0, 0,
            b'5', b'5', b'4', b' ', b'n', b'o', b'\r', b'\n',
        ];
        assert_eq!(out[..len], expected);
        assert_eq!(out[len..], [0xee; 100][len..], "nothing beyond the frame");
    }

    #[test]
    fn as_many_blocks_as_fit() {
        let sack = [SackBlock { left: 1, right: 2 }; 5];
        let mut outgoing = Outgoing { flags: Flags::ACK, sack: &sack, ..Outgoing::default() };
        let template = Template::example(false, 0);
        assert_eq!(emit_len(&template, &outgoing), 54 + 4 + 4 * 8);
        outgoing.options.timestamps = Some(Timestamps::default());
        assert_eq!(emit_len(&template, &outgoing), 54 + 12 + 4 + 3 * 8);
        outgoing.options.mss = Some(1);
        outgoing.options.window_scale = Some(1);
        outgoing.options.sack_permitted = true;
        assert_eq!(emit_len(&template, &outgoing), 54 + 24 + 4 + 8);
    }

    fn options() -> impl Strategy<Value = Options> {
        use prop::option::of;
        (of(any::<u16>()), of(0u8..=14), any::<bool>(), of(any::<(u32, u32)>())).prop_map(
            |(mss, window_scale, sack_permitted, timestamps)| Options {
                mss,
                window_scale,
                sack_permitted,
                timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
                ..Options::default()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_and_captured(
            is_v6: bool,
            tag_count in 0usize..=2,
            is_reversed: bool,
            (seq, ack, window, flags) in any::<(u32, u32, u16, u8)>(),
            options in options(),
            sack in proptest::collection::vec(any::<(u32, u32)>(), 0..=4),
            payload in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let template = Template::example(is_v6, tag_count);
            let flags = Flags(flags);
            let options = if flags.syn() { options } else { Options { timestamps: options.timestamps, ..Options::default() } };
            let sack: Vec<_> = sack.into_iter().map(|(left, right)| SackBlock { left, right }).collect();
            let sack = if flags.syn() { Vec::new() } else { sack };
            let outgoing = Outgoing { seq, ack, flags, window, options, sack: &sack, payload: &payload };
            let toward = if is_reversed { Toward::Sender } else { Toward::Receiver };
            let mut frame = vec![0xee; emit_len(&template, &outgoing)];
            prop_assert_eq!(emit(&template, toward, &outgoing, &mut frame), frame.len());

            let segment = segment_of(&frame);
            prop_assert_eq!(segment.payload(&frame), &payload[..]);
            prop_assert_eq!((segment.seq, segment.ack, segment.flags, segment.window), (seq, ack, flags, window));
            prop_assert_eq!((segment.urgent, segment.ttl), (0, 64));
            prop_assert_eq!(Options { sack: Sack::default(), ..segment.options }, options);
            let blocks: Vec<_> = segment.sack_blocks(&frame).collect();
            prop_assert_eq!(&blocks[..], &sack[..blocks.len()]);
            prop_assert!(blocks.len() == sack.len() || !blocks.is_empty());

            let captured = Template::capture(&frame, &segment);
            let (macs, ends) = ((captured.destination_mac, captured.source_mac), (captured.source, captured.destination));
            let expected = ((template.destination_mac, template.source_mac), (template.source, template.destination));
            if is_reversed {
                prop_assert_eq!((macs, ends), ((expected.0.1, expected.0.0), (expected.1.1, expected.1.0)));
            } else {
                prop_assert_eq!(captured, Template { ttl: 64, ..template });
            }

            // An independent reader finds the same, checksums included.
            let sliced = etherparse::SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
            let checksum = match sliced.net {
                Some(etherparse::NetSlice::Ipv4(ip)) => {
                    prop_assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                    tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()).unwrap()
                }
                Some(etherparse::NetSlice::Ipv6(ip)) => {
                    tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()).unwrap()
                }
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(tcp.checksum(), checksum);
            prop_assert_eq!(tcp.payload(), &payload[..]);
            prop_assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (seq, ack));
        }
    }
}
