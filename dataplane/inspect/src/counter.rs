//! Counters of one worker: one row each.
//!
//! Plain integers that only their worker adds to; published outside the hot loop.

use artifact::settings::SIGNATURES;

use crate::anomaly::Anomaly;
use crate::event::EndReason;
use crate::unit::PortId;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $help:literal;)*) => {
        /// Counters of one worker since its start.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Counters {
            $(#[doc = $help] pub $field: u64,)*
            /// By [`Anomaly`], in the order of [`Anomaly::ALL`].
            pub anomalies: [u64; Anomaly::ALL.len()],
            /// Refusals by [`artifact::settings::SIGNATURES`], in their order.
            pub signatures: [u64; SIGNATURES.len()],
            /// Sessions ended, by [`EndReason`], in the order of [`EndReason::ALL`].
            pub flows_ended: [u64; EndReason::ALL.len()],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($field: 0,)*
                    anomalies: [0; Anomaly::ALL.len()],
                    signatures: [0; SIGNATURES.len()],
                    flows_ended: [0; EndReason::ALL.len()],
                }
            }
        }

        impl Counters {
            /// Name, help and value of every plain counter, in order.
            pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($field), $help, self.$field),)*].into_iter()
            }

            /// Adds those of another worker.
            pub fn add(&mut self, other: &Counters) {
                $(self.$field += other.$field;)*
                for (mine, theirs) in self.anomalies.iter_mut().zip(other.anomalies) {
                    *mine += theirs;
                }
                for (mine, theirs) in self.signatures.iter_mut().zip(other.signatures) {
                    *mine += theirs;
                }
                for (mine, theirs) in self.flows_ended.iter_mut().zip(other.flows_ended) {
                    *mine += theirs;
                }
            }
        }
    };
}

counters! {
    frames_received_a: "Frames received on the first port.";
    frames_received_b: "Frames received on the second port.";
    bytes_received_a: "Octets received on the first port.";
    bytes_received_b: "Octets received on the second port.";
    frames_transmitted_a: "Frames handed to the first port.";
    frames_transmitted_b: "Frames handed to the second port.";
    bytes_transmitted_a: "Octets handed to the first port.";
    bytes_transmitted_b: "Octets handed to the second port.";
    frames_forwarded: "Frames forwarded as received.";
    frames_rewritten: "Frames forwarded with octets overwritten or cut off.";
    frames_generated: "Frames the gateway made itself.";
    frames_held: "Frames held because octets before them are missing.";
    dropped_malformed: "Frames dropped: not well-formed.";
    dropped_checksum: "Frames dropped: wrong checksum.";
    dropped_fragment: "Frames dropped: IP fragments of no datagram that can be put together.";
    dropped_policy: "Frames dropped: no policy lets them through.";
    dropped_state: "Frames dropped: they do not fit their connection.";
    dropped_waiting: "Segments cut or dropped until the peer has answered.";
    dropped_premature: "Acknowledgements left out: the gateway has said the same, or they end within what the sender was told had come out of order.";
    dropped_closing: "Frames dropped: their session is being closed.";
    dropped_no_frame: "Frames that could not be made: no free chunk.";
    dropped_no_memory: "Segments cut because what was sent and not acknowledged has reached its limit.";
    dropped_flow_table: "Sessions refused: the flow table is full.";
    dropped_draining: "Sessions refused: the gateway is stopping.";
    dropped_sessions_maximum: "Sessions refused: their class has as many as it may have.";
    dropped_host_blocked: "Sessions refused: their host is blocked after too many half-open ones.";
    untracked_hosts: "Sessions to hosts beyond those whose half-open sessions are counted.";
    retransmitted_segments: "Segments whose octets had been forwarded before.";
    repaired_segments: "Segments sent again by the gateway, because they waited here and were lost behind it.";
    repairs_given_up: "Receivers that answered to none of these: their own words pass to the sender again.";
    retransmitted_bytes_restored: "Octets of retransmissions overwritten with what was forwarded first.";
    copied_bytes: "Remembered octets copied out of their frames because frames were short.";
    out_of_order_segments: "Segments that arrived before octets that precede them.";
    fragments_received: "IP fragments received.";
    datagrams_reassembled: "Datagrams put together from fragments.";
    datagrams_evicted: "Datagrams given up because too many fragments wait.";
    datagrams_expired: "Datagrams given up because the rest of them did not come.";
    flows_created: "Sessions begun.";
    flows_picked_up: "Sessions let through uninspected because their beginning was not seen.";
    exchanges_begun: "Exchanges of protocols other than TCP begun under an inspect class.";
    exchanges_evicted: "Exchanges forgotten early because too many are remembered.";
    exchange_answers: "Frames let back because they answer such an exchange.";
    flows_active: "Sessions there are now.";
    flows_half_open: "Sessions not yet established.";
    smtp_commands: "SMTP command lines.";
    smtp_replies: "SMTP replies (a multi-line reply is one).";
    smtp_commands_auth: "Command lines with this verb.";
    smtp_commands_bdat: "Command lines with this verb.";
    smtp_commands_data: "Command lines with this verb.";
    smtp_commands_ehlo: "Command lines with this verb.";
    smtp_commands_helo: "Command lines with this verb.";
    smtp_commands_mail: "Command lines with this verb.";
    smtp_commands_quit: "Command lines with this verb.";
    smtp_commands_rcpt: "Command lines with this verb.";
    smtp_commands_rset: "Command lines with this verb.";
    smtp_commands_starttls: "Command lines with this verb.";
    smtp_commands_other: "Command lines with this verb.";
    smtp_replies_2xx: "Replies of this class.";
    smtp_replies_3xx: "Replies of this class.";
    smtp_replies_4xx: "Replies of this class.";
    smtp_replies_5xx: "Replies of this class.";
    smtp_messages: "Messages whose end of data the server accepted.";
    smtp_content_bytes: "Octets of message content inspected.";
    smtp_masked_commands: "Commands overwritten.";
    smtp_masked_keywords: "EHLO keywords overwritten.";
    smtp_closed: "Sessions refused with a reply.";
    smtp_opaque: "Sessions that became opaque (STARTTLS).";
    scans: "Calls of the pattern matcher.";
    scanned_bytes: "Octets given to the pattern matcher.";
    scan_hits: "Criteria found by the pattern matcher.";
    records_lost: "Event records lost because nobody took them out in time.";
}

impl Counters {
    /// Counts a received frame.
    pub fn received(&mut self, port: PortId, len: usize) {
        match port {
            PortId::A => {
                self.frames_received_a += 1;
                self.bytes_received_a += len as u64;
            }
            PortId::B => {
                self.frames_received_b += 1;
                self.bytes_received_b += len as u64;
            }
        }
    }

    /// Counts a frame handed to a port.
    pub fn transmitted(&mut self, port: PortId, len: usize) {
        match port {
            PortId::A => {
                self.frames_transmitted_a += 1;
                self.bytes_transmitted_a += len as u64;
            }
            PortId::B => {
                self.frames_transmitted_b += 1;
                self.bytes_transmitted_b += len as u64;
            }
        }
    }

    /// Counts a frame that was let through.
    pub fn forwarded(&mut self, edited: bool) {
        if edited {
            self.frames_rewritten += 1;
        } else {
            self.frames_forwarded += 1;
        }
    }

    /// Counts a refusal by a signature.
    pub fn signature(&mut self, id: u16) {
        if let Some(index) = SIGNATURES.iter().position(|row| row.id == id) {
            self.signatures[index] += 1;
        }
    }

    /// Counts an anomaly.
    pub fn anomaly(&mut self, anomaly: Anomaly) {
        self.anomalies[anomaly as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_every_counter_once() {
        let mut counters = Counters { smtp_masked_commands: 3, ..Counters::default() };
        counters.add(&counters.clone());
        let rows: Vec<_> = counters.rows().collect();
        assert!(rows.iter().any(|row| row.0 == "smtp_masked_commands" && row.2 == 6));
        assert!(rows.iter().all(|row| row.1.ends_with('.')), "help is a sentence");
    }
}
